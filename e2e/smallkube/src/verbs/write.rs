//! Create and update: what a write must pass before it is committed.
//!
//! The order is the real one: identity, preconditions, the part it may touch, unknown fields, defaults, validation, CEL,
//! generation, owners of fields. A write that changes nothing commits nothing. It deliberately calls no webhook.

use super::{Objects, Part, Target, Unknown, Writing, Written, welcome};
use crate::apply::{self, managers::Who};
use crate::built_in;
use crate::object::Object;
use crate::refusal::{Cause, Refusal};
use crate::schema::cel::Rules;
use crate::schema::{defaults, prune, validate};
use crate::store::State;
use crate::volumes;
use serde_json::{Value, json};
use std::sync::Arc;

impl Objects {
    /// Creates an object; its name may come from `generateName`.
    pub(crate) fn create(
        &self,
        target: &Target,
        object: Value,
        writing: &Writing,
    ) -> Result<Written, Refusal> {
        let now = self.now_text();
        self.store.with(|state| {
            let mut target = target.clone();
            if object.name().is_empty() && !object.text("/metadata/generateName").is_empty() {
                target.name = format!(
                    "{}{}",
                    object.text("/metadata/generateName"),
                    state.new_suffix()
                );
            } else if target.name.is_empty() {
                object.name().clone_into(&mut target.name);
            }
            let target = &target;
            Edit {
                state,
                target,
                writing,
                now,
            }
            .create(object)
        })
    }

    /// Replaces an object.
    pub(crate) fn update(
        &self,
        target: &Target,
        object: Value,
        writing: &Writing,
    ) -> Result<Written, Refusal> {
        let now = self.now_text();
        self.store.with(|state| {
            let live = state.one(&target.key()).ok_or_else(|| target.not_found())?;
            let unconditional = object.text("/metadata/resourceVersion").is_empty();
            if target.kind.custom && unconditional {
                let cause = Cause::new(
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update",
                );
                let (plural, group) = (&target.kind.plural, &target.kind.group);
                return Err(Refusal::invalid(plural, group, &target.name, &[cause]));
            }
            Edit {
                state,
                target,
                writing,
                now,
            }
            .update(&live, object)
        })
    }
}

/// One write under the lock.
pub(super) struct Edit<'a> {
    pub(super) state: &'a mut State,
    pub(super) target: &'a Target,
    pub(super) writing: &'a Writing,
    pub(super) now: String,
}

impl Edit<'_> {
    pub(super) fn create(mut self, mut new: Value) -> Result<Written, Refusal> {
        let target = self.target;
        self.check_identity(&mut new)?;
        if !new.text("/metadata/resourceVersion").is_empty() {
            return Err(Refusal::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        welcome(self.state, target)?;
        if self.state.one(&target.key()).is_some() {
            let (plural, group) = (&target.kind.plural, &target.kind.group);
            return Err(Refusal::already_exists(plural, group, &target.name));
        }
        if target.kind.status && target.kind.custom {
            new.take_away(&["status"]);
        }
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ] {
            new.take_away(&["metadata", field]);
        }
        new.put(&["metadata", "uid"], json!(self.state.new_uid()));
        new.put(&["metadata", "creationTimestamp"], json!(self.now));
        let warnings = self.complete(&mut new)?;
        // Owners are settled before the server adds what is nobody's.
        if new.items("/metadata/managedFields").is_empty() {
            let empty = json!({"metadata": {}});
            let schema = target.kind.schema.as_ref();
            apply::record_update(schema, &empty, &mut new, &self.who(), &self.now);
        }
        built_in::before_create(self.state, target, &mut new)?;
        self.judge(&new, None)?;
        if target.kind.custom || built_in::has_generation(&target.kind.resource) {
            new.put(&["metadata", "generation"], json!(1));
        }
        let object = self.commit(new)?;
        Ok(Written {
            object,
            created: true,
            warnings,
        })
    }

    pub(super) fn update(mut self, live: &Arc<Value>, mut new: Value) -> Result<Written, Refusal> {
        self.check_identity(&mut new)?;
        self.check_preconditions(live, &new)?;
        keep_server_fields(live, &mut new);
        let mut new = self.keep_other_part(live, new);
        let warnings = self.complete(&mut new)?;
        built_in::before_update(self.target, live, &mut new)?;
        self.judge(&new, Some(live))?;
        self.bump_generation(live, &mut new);
        let schema = self.target.kind.schema.as_ref();
        apply::record_update(schema, live, &mut new, &self.who(), &self.now);
        self.finish(live, new, warnings)
    }

    /// Like an update, but of an applied object whose managers are already settled.
    pub(super) fn update_applied(
        mut self,
        live: &Arc<Value>,
        mut new: Value,
    ) -> Result<Written, Refusal> {
        self.check_identity(&mut new)?;
        keep_server_fields(live, &mut new);
        let mut new = self.keep_other_part(live, new);
        let warnings = self.complete(&mut new)?;
        built_in::before_update(self.target, live, &mut new)?;
        self.judge(&new, Some(live))?;
        self.bump_generation(live, &mut new);
        self.finish(live, new, warnings)
    }

    fn finish(
        mut self,
        live: &Arc<Value>,
        new: Value,
        warnings: Vec<String>,
    ) -> Result<Written, Refusal> {
        let object = if new == **live {
            live.clone()
        } else if new.ends() && new.finalizers().is_empty() && !waits_for_agent(&new) {
            self.remove(new)?
        } else {
            self.commit(new)?
        };
        Ok(Written {
            object,
            created: false,
            warnings,
        })
    }

    pub(super) fn who(&self) -> Who {
        Who {
            manager: self.writing.manager.clone(),
            applies: false,
            api_version: self.target.kind.api_version(),
            subresource: self.target.part.name().to_owned(),
        }
    }

    /// The body must be of the kind, name and namespace that the path says.
    fn check_identity(&self, new: &mut Value) -> Result<(), Refusal> {
        let target = self.target;
        if !new.is_object() {
            return Err(Refusal::bad_request("the body of the request is no object"));
        }
        let (api_version, kind) = (target.kind.api_version(), &target.kind.kind);
        let said = (
            new.text("/apiVersion").to_owned(),
            new.text("/kind").to_owned(),
        );
        if !said.0.is_empty() && said.0 != api_version || !said.1.is_empty() && said.1 != *kind {
            return Err(Refusal::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {kind}: \
                 the object is {}, {} but the path is of {api_version}, {kind}",
                said.1, said.0, said.0, said.1
            )));
        }
        new.put(&["apiVersion"], json!(api_version));
        new.put(&["kind"], json!(kind));
        if target.name.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(self.invalid(&[cause]));
        }
        let name = new.name().to_owned();
        if !name.is_empty() && name != target.name {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
        let namespace = new.namespace().to_owned();
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        new.put(&["metadata", "name"], json!(target.name));
        if !target.namespace.is_empty() {
            new.put(&["metadata", "namespace"], json!(target.namespace));
        }
        Ok(())
    }

    fn check_preconditions(&self, live: &Value, new: &Value) -> Result<(), Refusal> {
        let version = new.text("/metadata/resourceVersion");
        if !version.is_empty() && version != live.text("/metadata/resourceVersion") {
            return Err(self.target.conflict(
                "the object has been modified; please apply your changes to the latest version and try again",
            ));
        }
        if !new.uid().is_empty() && new.uid() != live.uid() {
            return Err(self.target.conflict(&format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                new.uid(),
                live.uid()
            )));
        }
        Ok(())
    }

    /// A write to one part leaves the others as they are.
    fn keep_other_part(&self, live: &Value, mut new: Value) -> Value {
        let keep = |from: &Value, to: &mut Value| match from.get("status") {
            Some(status) => to.put(&["status"], status.clone()),
            None => {
                to.take_away(&["status"]);
            }
        };
        match self.target.part {
            Part::Main if self.target.kind.status => {
                keep(live, &mut new);
                new
            }
            Part::Main | Part::Scale => new,
            Part::Status => {
                let mut kept = live.clone();
                keep(&new, &mut kept);
                let managers = new["metadata"]["managedFields"].take();
                kept.put(&["metadata", "managedFields"], managers);
                kept
            }
        }
    }

    /// Drops unknown fields and fills defaults; answers the warnings for the client.
    fn complete(&mut self, new: &mut Value) -> Result<Vec<String>, Refusal> {
        let kind = &self.target.kind;
        built_in::drop_empty(&kind.resource, new);
        let Some(schema) = &kind.schema else {
            built_in::fill_defaults(&kind.resource, new);
            return Ok(Vec::new());
        };
        let unknown = prune::prune(schema, new);
        let warnings: Vec<String> = unknown
            .iter()
            .map(|field| format!("unknown field \"{field}\""))
            .collect();
        if self.writing.unknown == Unknown::Refuse && !warnings.is_empty() {
            return Err(Refusal::bad_request(format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                kind.kind,
                kind.version,
                kind.kind,
                warnings.join(", ")
            )));
        }
        defaults::fill(schema, new);
        built_in::fill_defaults(&kind.resource, new);
        if self.writing.unknown == Unknown::Ignore {
            return Ok(Vec::new());
        }
        Ok(warnings)
    }

    fn judge(&self, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
        let kind = &self.target.kind;
        let mut causes = built_in::metadata_causes(new, old);
        if let Some(schema) = &kind.schema {
            let mut found = validate::check(schema, new);
            if let (false, Some(wrong)) = (
                kind.custom,
                found.iter().find(|c| c.reason == "FieldValueTypeInvalid"),
            ) {
                return Err(Refusal::bad_request(format!(
                    "{} in version \"{}\" cannot be handled as a {}: json: {}: {}",
                    kind.kind, kind.version, kind.kind, wrong.field, wrong.message
                )));
            }
            if let Some(old) = old {
                found.retain(|cause| !cause.stood_before(old, new));
            }
            causes.extend(found);
        }
        if let Some(rules) = &kind.rules {
            let mut broken = rule_causes(rules, new, old, &causes);
            if let Some(old) = old {
                broken.retain(|cause| !cause.stood_before(old, new));
            }
            causes.extend(broken);
        }
        causes.extend(built_in::causes(kind, new, old));
        if !causes.is_empty() {
            return Err(self.invalid(&causes));
        }
        match old {
            Some(old) if kind.resource == volumes::CLAIMS => {
                volumes::expansion::admit(self.state, new, old)
            }
            _ => Ok(()),
        }
    }

    fn invalid(&self, causes: &[Cause]) -> Refusal {
        let kind = &self.target.kind;
        Refusal::invalid(&kind.kind, &kind.group, &self.target.name, causes)
    }

    fn bump_generation(&self, live: &Value, new: &mut Value) {
        let desired = |object: &Value| {
            let mut desired = object.clone();
            for root in ["metadata", "status"] {
                desired.take_away(&[root]);
            }
            desired
        };
        let Some(generation) = live.number("/metadata/generation") else {
            return;
        };
        if desired(live) != desired(new) {
            new.put(&["metadata", "generation"], json!(generation + 1));
        }
    }

    fn commit(&mut self, new: Value) -> Result<Arc<Value>, Refusal> {
        if self.writing.dry_run {
            return Ok(Arc::new(new));
        }
        let kinds = built_in::kinds_after(self.state, self.target, &new)
            .map_err(|cause| self.invalid(&[cause]))?;
        if let Some(kinds) = kinds {
            self.state.kinds = Arc::new(kinds);
        }
        Ok(self.state.commit(&self.target.key(), new))
    }

    fn remove(&mut self, new: Value) -> Result<Arc<Value>, Refusal> {
        if self.writing.dry_run {
            return Ok(Arc::new(new));
        }
        // The write that lets it go is its end: watchers see one deletion and no change before it.
        let removed = super::delete::remove(self.state, self.target);
        let mut last = new;
        if let Some(removed) = removed {
            let version = removed["metadata"]["resourceVersion"].clone();
            last.put(&["metadata", "resourceVersion"], version);
        }
        Ok(Arc::new(last))
    }
}

/// What the rules find, unless the object is so wrong that they cannot be asked.
fn rule_causes(rules: &Rules, new: &Value, old: Option<&Value>, before: &[Cause]) -> Vec<Cause> {
    const BLOCKING: [&str; 3] = [
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTypeInvalid",
    ];
    if before.iter().any(|cause| BLOCKING.contains(&cause.reason)) {
        return vec![Cause::new(
            "FieldValueInvalid",
            "<nil>",
            "Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation",
        )];
    }
    rules.check(new, old)
}

/// Fields that the server alone writes come from the live object.
fn keep_server_fields(live: &Value, new: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
        "selfLink",
    ] {
        match live["metadata"].get(field) {
            Some(value) => new.put(&["metadata", field], value.clone()),
            None => {
                new.take_away(&["metadata", field]);
            }
        }
    }
}

/// A pod that still has time to end is removed by its agent and by nobody else.
pub(super) fn waits_for_agent(object: &Value) -> bool {
    object
        .number("/metadata/deletionGracePeriodSeconds")
        .is_some_and(|grace| grace > 0)
}
