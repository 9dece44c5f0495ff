//! What the API says when it says no: Kubernetes' `Status` object with its code, reason and causes.
//!
//! One type for every refusal, so that a client sees the same shape wherever it came from. It deliberately words nothing
//! by itself: each constructor follows the sentence that a real API server gives for that case.

use serde_json::{Value, json};

/// A request that was not carried out, as it is answered on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' one-word reason, e.g. `Conflict`; empty where a real server gives none.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// `details` of the `Status`: name, group, kind, uid, causes, retryAfterSeconds.
    pub details: Value,
}

/// One field that is wrong, as it stands in `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) field: String,
    pub(crate) message: String,
    /// Where the rule stands that was broken, if it names another field than that.
    pub(crate) rule_at: Option<String>,
}

impl Cause {
    pub(crate) fn new(reason: &'static str, field: &str, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.to_owned(),
            message: message.into(),
            rule_at: None,
        }
    }

    /// A value that is not allowed: `Invalid value: <value>: <why>`.
    pub(crate) fn invalid(field: &str, value: &Value, why: &str) -> Self {
        let shown = if value.is_object() || value.is_array() {
            value.to_string()
        } else {
            serde_json::to_string(value).unwrap_or_default()
        };
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {shown}: {why}"),
        )
    }

    /// A value that must be there.
    pub(crate) fn required(field: &str, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self::new("FieldValueRequired", field, message)
    }

    /// A value that must not be there or must not change.
    pub(crate) fn forbidden(field: &str, why: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    /// True when the same was wrong before and the write did not touch it: a stricter schema judges changes only.
    pub(crate) fn stood_before(&self, old: &Value, new: &Value) -> bool {
        let place = match &self.rule_at {
            Some(place) => place,
            None if self.reason == "FieldValueRequired" => {
                self.field.rsplit_once('.').map_or("", |(parent, _)| parent)
            }
            None => self.field.as_str(),
        };
        match (at(old, place), at(new, place)) {
            (Some(before), Some(after)) => before == after,
            _ => false,
        }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn not_found(resource: &str, group: &str, name: &str) -> Self {
        let mut refusal = Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", dotted(resource, group)),
        );
        refusal.details = details(resource, group, name);
        refusal
    }

    /// What a real server gives no reason for.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// A path of a group that is not served: no API answers there, so neither is it answered as an API would.
    pub(crate) fn no_such_page() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// A path that names nothing this server has.
    pub(crate) fn no_such_path() -> Self {
        let why = "the server could not find the requested resource";
        let mut refusal = Self::new(404, "NotFound", why);
        refusal.details = json!({});
        refusal
    }

    pub(crate) fn already_exists(resource: &str, group: &str, name: &str) -> Self {
        let mut refusal = Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", dotted(resource, group)),
        );
        refusal.details = details(resource, group, name);
        refusal
    }

    pub(crate) fn conflict(resource: &str, group: &str, name: &str, why: &str) -> Self {
        let mut refusal = Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {why}",
                dotted(resource, group)
            ),
        );
        refusal.details = details(resource, group, name);
        refusal
    }

    pub(crate) fn forbidden(resource: &str, group: &str, name: &str, why: &str) -> Self {
        let mut refusal = Self::new(
            403,
            "Forbidden",
            format!("{} \"{name}\" is forbidden: {why}", dotted(resource, group)),
        );
        refusal.details = details(resource, group, name);
        refusal
    }

    /// 403 for what is new in a namespace that ends.
    pub(crate) fn terminating(resource: &str, group: &str, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut refusal = Self::forbidden(resource, group, name, &why);
        let cause = Cause::new(
            "NamespaceTerminating",
            "metadata.namespace",
            format!("namespace {namespace} is being terminated"),
        );
        refusal.details["causes"] = json!([cause.json()]);
        refusal
    }

    /// 422 with every cause, worded as the API server words an aggregate.
    pub(crate) fn invalid(kind: &str, group: &str, name: &str, causes: &[Cause]) -> Self {
        let said: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        let all = match said.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut refusal = Self::new(
            422,
            "Invalid",
            format!("{} \"{name}\" is invalid: {all}", dotted(kind, group)),
        );
        let listed: Vec<Value> = causes.iter().map(Cause::json).collect();
        refusal.details = details(kind, group, name);
        refusal.details["causes"] = json!(listed);
        refusal
    }

    /// 410: the version asked for is no longer kept.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 429: a disruption that a budget does not allow now.
    pub(crate) fn disruption_budget(budget: &str, why: &str) -> Self {
        let mut refusal = Self::new(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
        refusal.details = json!({"causes": [{
            "reason": "DisruptionBudget",
            "message": format!("The disruption budget {budget} {why}"),
        }]});
        refusal
    }

    /// The `Status` object of this refusal.
    #[must_use]
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

/// The value at a path like `spec.members[2].name`; the object itself for an empty one.
pub(crate) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut place = object;
    for step in path.split(['.', '[']).filter(|s| !s.is_empty()) {
        place = match step.strip_suffix(']') {
            Some(index) => match index.parse::<usize>() {
                Ok(index) => place.get(index)?,
                Err(_) => place.get(index.trim_matches('"'))?,
            },
            None => place.get(step)?,
        };
    }
    Some(place)
}

/// The `Status` that answers a deletion that is complete.
pub(crate) fn success(resource: &str, group: &str, name: &str, uid: &str) -> Value {
    let mut named = details(resource, group, name);
    named["uid"] = json!(uid);
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": named})
}

fn details(resource: &str, group: &str, name: &str) -> Value {
    let parts = [("name", name), ("group", group), ("kind", resource)];
    let said = parts.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(key, value)| (key.to_owned(), json!(value)))
        .collect()
}

fn dotted(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}
