//! Server-side apply, and who owns what after any write.
//!
//! An apply owns exactly the fields it sets: what it set before and sets no more goes, unless another manager owns it too;
//! what another manager owns with a different value is a conflict, unless forced. An update owns what it changed. A write
//! that changes nothing changes no owner either. It deliberately follows the published behaviour and none of its code.

pub(crate) mod fields;
pub(crate) mod managers;
pub(crate) mod typed;

use crate::object::Object;
use crate::refusal::Refusal;
use crate::schema::Schema;
use fields::FieldSet;
use managers::{Entry, Who};
use serde_json::{Value, json};

/// Fields that the server owns itself; no manager ever does.
const NOBODYS: [&[&str]; 10] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// The object as managers see it: without the server's own fields.
pub(crate) fn owned_part(object: &Value) -> Value {
    let mut part = object.clone();
    for path in NOBODYS {
        part.take_away(path);
    }
    for path in [
        &["metadata", "deletionTimestamp"][..],
        &["metadata", "deletionGracePeriodSeconds"],
    ] {
        part.take_away(path);
    }
    if part["metadata"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty)
    {
        part.take_away(&["metadata"]);
    }
    part
}

/// One apply: who, what and when.
pub(crate) struct Apply<'a> {
    pub(crate) schema: Option<&'a Schema>,
    pub(crate) who: Who,
    pub(crate) force: bool,
    pub(crate) now: String,
}

impl Apply<'_> {
    /// The live object with the applied one merged in and its managers up to date, before defaults and validation.
    pub(crate) fn to(&self, live: &Value, applied: &Value) -> Result<Value, Refusal> {
        let applied = owned_part(applied);
        let mut entries = managers::read(live);
        if entries.is_empty() && live.get("metadata").is_some_and(|m| m.get("uid").is_some()) {
            entries.push(self.before_first_apply(live));
        }
        let set = typed::fields_of(self.schema, &applied);
        let before = self.split(&mut entries);
        let merged = typed::merge(self.schema, live, &applied);
        let merged = self.drop_abandoned(merged, &before, &set, &entries);
        let change = typed::compare(self.schema, &owned_part(live), &owned_part(&merged));
        let touched = change.added.union(&change.modified);
        self.settle_conflicts(&mut entries, &touched)?;
        for entry in &mut entries {
            entry.fields = entry.fields.minus(&change.removed);
        }
        // Who applies what stands there already changes no object, and its entry gets no new time: a first one gets none.
        let time = match &before {
            _ if self.touches(&change) => self.now.clone(),
            Some(entry) => entry.time.clone(),
            None => String::new(),
        };
        entries.push(Entry {
            who: self.who.clone(),
            time,
            fields: set,
        });
        let mut result = merged;
        managers::write(&mut result, entries);
        Ok(result)
    }

    fn touches(&self, change: &typed::Difference) -> bool {
        [&change.added, &change.modified, &change.removed]
            .iter()
            .any(|set| !set.is_empty())
    }

    /// Takes this applier's own entry out of the others.
    fn split(&self, entries: &mut Vec<Entry>) -> Option<Entry> {
        let at = entries.iter().position(|e| {
            e.who.applies
                && e.who.manager == self.who.manager
                && e.who.subresource == self.who.subresource
        })?;
        Some(entries.remove(at))
    }

    /// What stood there before anybody's ownership was written down.
    fn before_first_apply(&self, live: &Value) -> Entry {
        Entry {
            who: Who {
                manager: "before-first-apply".to_owned(),
                applies: false,
                subresource: String::new(),
                ..self.who.clone()
            },
            time: self.now.clone(),
            fields: typed::fields_of(self.schema, &owned_part(live)),
        }
    }

    /// Removes what this manager applied before, applies no more, and nobody else owns.
    fn drop_abandoned(
        &self,
        merged: Value,
        before: &Option<Entry>,
        set: &FieldSet,
        others: &[Entry],
    ) -> Value {
        let Some(before) = before else {
            return merged;
        };
        let everyone = others
            .iter()
            .fold(set.clone(), |all, e| all.union(&e.fields));
        let abandoned = keep_parents(&before.fields.minus(&everyone), &everyone);
        if abandoned.is_empty() {
            return merged;
        }
        let identity = merged.clone();
        let mut left = typed::take_out(self.schema, &merged, &abandoned).unwrap_or(Value::Null);
        for path in [&["apiVersion"][..], &["kind"], &["metadata"]] {
            if left.pointer(&format!("/{}", path.join("/"))).is_none() {
                let pointer = format!("/{}", path.join("/"));
                let value = identity.pointer(&pointer).cloned();
                left.put(path, value.unwrap_or(Value::Null));
            }
        }
        left
    }

    /// Other managers lose what this apply changes: by force, or not at all.
    fn settle_conflicts(&self, entries: &mut [Entry], touched: &FieldSet) -> Result<(), Refusal> {
        let mut lost = Vec::new();
        for entry in entries.iter_mut() {
            let taken = entry.fields.both(touched);
            if !taken.is_empty() {
                lost.push((entry.who.clone(), taken.clone()));
                entry.fields = entry.fields.minus(&taken);
            }
        }
        if self.force || lost.is_empty() {
            return Ok(());
        }
        Err(conflict(&lost))
    }
}

/// A keyed item whose own path is abandoned, but below which somebody owns a field, stays.
fn keep_parents(abandoned: &FieldSet, owned: &FieldSet) -> FieldSet {
    let mut kept = FieldSet {
        here: abandoned.here && owned.is_empty(),
        ..FieldSet::default()
    };
    let nothing = FieldSet::default();
    for (step, child) in &abandoned.children {
        let below = owned.children.get(step).unwrap_or(&nothing);
        kept.add(step.clone(), keep_parents(child, below));
    }
    kept
}

fn conflict(lost: &[(Who, FieldSet)]) -> Refusal {
    let mut causes = Vec::new();
    let mut groups = Vec::new();
    for (who, fields) in lost {
        let name = shown(who);
        let paths = fields.paths();
        for path in &paths {
            causes.push(json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {name}"),
                "field": path,
            }));
        }
        groups.push((name, paths));
    }
    let message = match groups.as_slice() {
        [(name, paths)] if paths.len() == 1 => {
            format!(
                "Apply failed with 1 conflict: conflict with {name}: {}",
                paths[0]
            )
        }
        many => {
            let listed = many
                .iter()
                .map(|(name, paths)| format!("conflicts with {name}:\n- {}", paths.join("\n- ")));
            let listed: Vec<String> = listed.collect();
            format!(
                "Apply failed with {} conflicts: {}",
                causes.len(),
                listed.join("\n")
            )
        }
    };
    let mut refusal = Refusal::new(409, "Conflict", message);
    refusal.details = json!({ "causes": causes });
    refusal
}

/// A manager as conflicts name it: appliers by name, others with what tells them apart.
fn shown(who: &Who) -> String {
    let mut shown = format!("{:?}", who.manager);
    if !who.subresource.is_empty() {
        shown += &format!(" with subresource {:?}", who.subresource);
    }
    if !who.applies {
        shown += &format!(" using {}", who.api_version);
    }
    shown
}

/// Notes in `new` what an update by `who` changed against `live`.
pub(crate) fn record_update(
    schema: Option<&Schema>,
    live: &Value,
    new: &mut Value,
    who: &Who,
    now: &str,
) {
    let sent = managers::read(new);
    let mut entries = if sent.is_empty() {
        managers::read(live)
    } else {
        sent
    };
    if entries.is_empty() && !live.uid().is_empty() {
        // An object that has no owners yet gets its first by an apply.
        return;
    }
    let change = typed::compare(schema, &owned_part(live), &owned_part(new));
    let built_in = is_built_in(&who.api_version);
    let touched = trimmed(change.added, built_in).union(&change.modified);
    for entry in &mut entries {
        let lost = change.removed.union(&touched);
        if entry.who != *who {
            entry.fields = entry.fields.minus(&lost);
        } else {
            entry.fields = entry.fields.minus(&change.removed);
        }
    }
    if !touched.is_empty() {
        match entries.iter_mut().find(|e| e.who == *who) {
            Some(own) => {
                own.fields = own.fields.union(&touched);
                own.time = now.to_owned();
            }
            None => entries.push(Entry {
                who: who.clone(),
                time: now.to_owned(),
                fields: touched,
            }),
        }
    }
    managers::write(new, entries);
}

/// Custom groups are domains of somebody else; Kubernetes' own are plain words or below `k8s.io`.
fn is_built_in(api_version: &str) -> bool {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Nodes that every object of its kind has from the start are nobody's, also when something first appears below them.
fn trimmed(mut set: FieldSet, built_in: bool) -> FieldSet {
    let field = |name: &str| fields::Step::Field(name.to_owned());
    let mut clear = |path: &[&str]| {
        let mut place = &mut set;
        for name in path {
            match place.children.get_mut(&field(name)) {
                Some(below) if !below.children.is_empty() => place = below,
                _ => return,
            }
        }
        place.here = false;
    };
    clear(&["metadata"]);
    if built_in {
        clear(&["spec"]);
        clear(&["status"]);
        clear(&["spec", "containers"]);
        clear(&["spec", "resources"]);
        clear(&["spec", "names"]);
    }
    set
}

#[cfg(test)]
mod tests;
