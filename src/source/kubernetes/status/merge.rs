//! The merge of a wanted status into an object's present one.
//!
//! Parts that are not ours stay as they are: conditions of other types, entries of other controllers. A
//! condition keeps the time of its last transition until its `status` changes.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::condition::{Condition, ConditionKind};
use super::statuses::{ListenerStatus, ParentStatus, Status, UNSUPPORTED_CLASS};
use crate::source::kubernetes::records::gateway::{GROUP, ParentRef};

/// The data that every merge needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merging<'a> {
    /// The `controllerName` of entries that are ours.
    pub(super) controller: &'a str,
    /// The namespace of the object; a reference without a namespace means this one.
    pub(super) namespace: &'a str,
    /// The generation that the status is about.
    pub(super) generation: i64,
    /// The current time as the API writes it (RFC 3339, in seconds).
    pub(super) now: &'a str,
}

impl Merging<'_> {
    /// The fields of `before`, the object's status, that must be replaced, with their new content.
    /// `None` if `before` already says all that `wanted` says.
    pub(super) fn changes(&self, before: &Value, wanted: &Status) -> Option<Value> {
        let fields = match wanted {
            Status::Class {
                conditions,
                features,
            } => {
                let features: Vec<Value> = features
                    .iter()
                    .map(|feature| json!({ "name": feature }))
                    .collect();
                vec![
                    ("conditions", self.conditions(before, conditions)),
                    ("supportedFeatures", features.into()),
                ]
            }
            Status::UnservedClass { .. } if is_answered(before) => Vec::new(),
            Status::UnservedClass { accepted } => {
                let accepted = std::slice::from_ref(accepted);
                vec![("conditions", self.conditions(before, accepted))]
            }
            Status::Gateway {
                conditions,
                addresses,
                listeners,
            } => vec![
                ("conditions", self.conditions(before, conditions)),
                ("addresses", addresses.iter().map(address).collect()),
                ("listeners", self.listeners(before, listeners)),
            ],
            Status::Route { parents, others } => {
                vec![("parents", self.parents(before, parents, others))]
            }
        };
        let differ = |(field, value): &(&str, Value)| match before.get(field) {
            None | Some(Value::Null) => value.as_array().is_none_or(|list| !list.is_empty()),
            Some(before) => before != value,
        };
        let changed = fields.into_iter().filter(differ);
        let changed: Map<String, Value> = changed
            .map(|(field, value)| (field.to_owned(), value))
            .collect();
        (!changed.is_empty()).then_some(Value::Object(changed))
    }

    /// Whether `before` is about a later generation than we know of. Then we must not change it.
    pub(super) fn is_late(&self, before: &Value) -> bool {
        let own = list(before, "parents")
            .iter()
            .filter(|entry| self.is_own(entry));
        let conditions = own.flat_map(|entry| list(entry, "conditions"));
        let mut conditions = list(before, "conditions").iter().chain(conditions);
        conditions.any(|condition| {
            is_managed(condition)
                && condition["observedGeneration"]
                    .as_i64()
                    .is_some_and(|of| of > self.generation)
        })
    }

    fn is_own(&self, entry: &Value) -> bool {
        entry["controllerName"] == self.controller
    }

    /// The conditions: `wanted` replaces those of the same type in `before` and follows those that are
    /// not ours.
    fn conditions(&self, before: &Value, wanted: &[Condition]) -> Value {
        let before = list(before, "conditions");
        let mut conditions = Vec::with_capacity(wanted.len());
        for condition in before {
            let wanted = wanted
                .iter()
                .find(|wanted| condition["type"] == wanted.kind.text());
            match wanted {
                Some(wanted) => conditions.push(self.condition(Some(condition), wanted)),
                None if is_managed(condition) => {}
                None => conditions.push(condition.clone()),
            }
        }
        for wanted in wanted {
            if !before
                .iter()
                .any(|condition| condition["type"] == wanted.kind.text())
            {
                conditions.push(self.condition(None, wanted));
            }
        }
        conditions.into()
    }

    fn condition(&self, before: Option<&Value>, wanted: &Condition) -> Value {
        let status = if wanted.holds { "True" } else { "False" };
        let before = before.filter(|before| before["status"] == status);
        let since = before.and_then(|before| before["lastTransitionTime"].as_str());
        json!({
            "type": wanted.kind.text(),
            "status": status,
            "reason": wanted.reason,
            "message": wanted.message,
            "observedGeneration": self.generation,
            "lastTransitionTime": since.unwrap_or(self.now),
        })
    }

    fn listeners(&self, before: &Value, wanted: &[ListenerStatus]) -> Value {
        let before = list(before, "listeners");
        let listeners = wanted.iter().map(|wanted| {
            let same = before
                .iter()
                .find(|listener| listener["name"] == *wanted.name);
            let kinds = match wanted.takes_tls_routes {
                true => json!([{ "group": GROUP, "kind": "TLSRoute" }]),
                false => json!([]),
            };
            json!({
                "name": wanted.name,
                "supportedKinds": kinds,
                "attachedRoutes": wanted.attached_routes,
                "conditions": self.conditions(same.unwrap_or(&Value::Null), &wanted.conditions),
            })
        });
        listeners.collect()
    }

    fn parents(&self, before: &Value, wanted: &[ParentStatus], others: &[ParentRef]) -> Value {
        let before = list(before, "parents");
        let mut parents = Vec::with_capacity(wanted.len());
        for entry in before {
            let about = |parent: &ParentRef| self.is_about(entry, parent);
            if !self.is_own(entry) || others.iter().any(about) {
                parents.push(entry.clone());
            } else if let Some(wanted) = wanted.iter().find(|wanted| about(&wanted.parent)) {
                parents.push(self.parent(entry, wanted));
            }
        }
        for wanted in wanted {
            let is_same =
                |entry: &Value| self.is_own(entry) && self.is_about(entry, &wanted.parent);
            if !before.iter().any(is_same) {
                parents.push(self.parent(&Value::Null, wanted));
            }
        }
        parents.into()
    }

    /// Whether an entry of `parents` is about `parent`.
    fn is_about(&self, entry: &Value, parent: &ParentRef) -> bool {
        let of = &entry["parentRef"];
        let text = |field: &str| of[field].as_str().unwrap_or_default();
        let or =
            |text: &'static str, of: &Option<Arc<str>>| of.as_deref().unwrap_or(text).to_owned();
        let namespace = of["namespace"].as_str().unwrap_or(self.namespace);
        of["group"].as_str().unwrap_or(GROUP) == or(GROUP, &parent.group)
            && of["kind"].as_str().unwrap_or("Gateway") == or("Gateway", &parent.kind)
            && namespace == parent.namespace.as_deref().unwrap_or(self.namespace)
            && text("name") == &*parent.name
            && text("sectionName") == or("", &parent.section_name)
            && of["port"].as_u64() == parent.port.map(u64::from)
    }

    fn parent(&self, before: &Value, wanted: &ParentStatus) -> Value {
        let parent = &wanted.parent;
        let mut of = json!({
            "group": parent.group.as_deref().unwrap_or(GROUP),
            "kind": parent.kind.as_deref().unwrap_or("Gateway"),
            "name": parent.name,
        });
        if let Some(namespace) = &parent.namespace {
            of["namespace"] = json!(namespace);
        }
        if let Some(section) = parent
            .section_name
            .as_ref()
            .filter(|section| !section.is_empty())
        {
            of["sectionName"] = json!(section);
        }
        if let Some(port) = parent.port {
            of["port"] = json!(port);
        }
        json!({
            "parentRef": of,
            "controllerName": self.controller,
            "conditions": self.conditions(before, &wanted.conditions),
        })
    }
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether an install that serves the class of this status has answered. The API itself gives a new class
/// the status `Unknown`.
fn is_answered(status: &Value) -> bool {
    let mut conditions = list(status, "conditions").iter();
    let accepted = conditions.find(|condition| condition["type"] == ConditionKind::Accepted.text());
    accepted.is_some_and(|accepted| {
        accepted["status"] != "Unknown" && accepted["reason"] != UNSUPPORTED_CLASS
    })
}

fn is_managed(condition: &Value) -> bool {
    ConditionKind::ALL
        .iter()
        .any(|kind| condition["type"] == kind.text())
}

fn address(value: &Arc<str>) -> Value {
    let kind = match value.parse::<IpAddr>() {
        Ok(_) => "IPAddress",
        Err(_) => "Hostname",
    };
    json!({ "type": kind, "value": value })
}

#[cfg(test)]
mod tests;
