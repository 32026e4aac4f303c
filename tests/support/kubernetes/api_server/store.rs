//! The objects, their versions and what has happened to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::resources::{self, Resource};

/// Events that are remembered; a real server keeps some hundreds a resource.
const HISTORY: usize = 100_000;

/// Namespace and name, below the plural.
type Key = (String, String, String);

pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: Vec<Event>,
    /// The newest version whose event is forgotten.
    forgotten: u64,
    /// The rest of lists that were given in part, by their token.
    continued: HashMap<String, (u64, Vec<Arc<Value>>)>,
}

/// A change of an object.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) plural: &'static str,
    pub(super) what: &'static str,
    pub(super) object: Arc<Value>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            // No real server's counter begins at 0.
            version: 1000,
            objects: BTreeMap::new(),
            history: Vec::new(),
            forgotten: 0,
            continued: HashMap::new(),
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn key(resource: &Resource, object: &Value) -> Key {
    let namespace = if resource.namespaced {
        match text(object, "/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        }
    } else {
        ""
    };
    let name = text(object, "/metadata/name");
    assert!(!name.is_empty(), "an object without a name: {object}");
    (resource.plural.into(), namespace.into(), name.into())
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Events after `version`, and where to go on from.
    pub(super) fn events_after(&self, version: u64) -> &[Event] {
        let from = self
            .history
            .partition_point(|event| event.version <= version);
        &self.history[from..]
    }

    pub(super) fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.objects.get(&key).map(|object| &**object)
    }

    /// All of a namespace; of every one when that is empty.
    pub(super) fn all<'a>(
        &'a self,
        plural: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.shared(plural, namespace).map(|object| &**object)
    }

    fn shared<'a>(
        &'a self,
        plural: &'a str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let first = (plural.to_owned(), namespace.to_owned(), String::new());
        self.objects
            .range(first..)
            .take_while(move |(key, _)| {
                key.0 == plural && (namespace.is_empty() || key.1 == namespace)
            })
            .map(|(_, object)| object)
    }

    /// A page of a list: the version, the objects, and the token for the next one.
    pub(super) fn page(
        &mut self,
        plural: &str,
        namespace: &str,
        limit: Option<usize>,
        token: Option<&str>,
    ) -> Option<(u64, Vec<Arc<Value>>, Option<String>)> {
        let (version, mut objects) = match token {
            Some(token) => self.continued.remove(token)?,
            None => {
                let all = self.shared(plural, namespace).cloned().collect();
                (self.version, all)
            }
        };
        let rest = objects.split_off(limit.unwrap_or(usize::MAX).min(objects.len()));
        let next = (!rest.is_empty()).then(|| {
            let token = format!("{version}.{plural}.{}", self.continued.len() + rest.len());
            self.continued.insert(token.clone(), (version, rest));
            token
        });
        Some((version, objects, next))
    }

    /// Does in one step what a person with kubectl and a controller that writes the status do.
    pub(super) fn put(&mut self, mut object: Value) -> String {
        let resource = resources::of_kind(text(&object, "/kind"));
        let key = key(resource, &object);
        let before = self.objects.get(&key).cloned();
        object["metadata"]["namespace"] = match resource.namespaced {
            true => json!(key.1),
            false => Value::Null,
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|_, value| !value.is_null());
        }
        self.store(resource, key, object, before.as_deref())
    }

    /// Fills in the fields that the server sets, and remembers the event. An update without a change
    /// makes no event.
    fn store(
        &mut self,
        resource: &'static Resource,
        key: Key,
        mut object: Value,
        before: Option<&Value>,
    ) -> String {
        let metadata = &mut object["metadata"];
        let of_before = |field: &str| {
            before
                .and_then(|before| before["metadata"].get(field))
                .cloned()
        };
        let created =
            || json!(humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string());
        if metadata.get("creationTimestamp").is_none() {
            metadata["creationTimestamp"] = of_before("creationTimestamp").unwrap_or_else(created);
        }
        metadata["uid"] =
            of_before("uid").unwrap_or_else(|| json!(format!("uid-{}", self.version)));
        let generation = of_before("generation")
            .and_then(|value| value.as_u64())
            .unwrap_or(1);
        metadata["generation"] = json!(generation);
        metadata["resourceVersion"] = of_before("resourceVersion").unwrap_or_default();
        metadata["managedFields"] = json!([{
            "manager": "test", "operation": "Update", "apiVersion": "v1",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:metadata": { "f:labels": { ".": {} } } },
        }]);
        if before == Some(&object) {
            return text(&object, "/metadata/resourceVersion").to_owned();
        }
        if before.is_some_and(|before| before.get("spec") != object.get("spec")) {
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let what = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.version += 1;
        let version = self.version.to_string();
        object["metadata"]["resourceVersion"] = json!(version);
        let object = Arc::new(object);
        self.objects.insert(key, object.clone());
        self.remember(resource.plural, what, object);
        version
    }

    fn remember(&mut self, plural: &'static str, what: &'static str, object: Arc<Value>) {
        self.history.push(Event {
            version: self.version,
            plural,
            what,
            object,
        });
        if self.history.len() > HISTORY {
            self.forgotten = self.history[HISTORY / 2].version;
            self.history.drain(..=HISTORY / 2);
        }
    }

    pub(super) fn delete(&mut self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = (*self.objects.remove(&key)?).clone();
        self.version += 1;
        // The event's object has the version of its deletion.
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let resource = resources::named(plural);
        self.remember(resource.plural, "DELETED", Arc::new(object.clone()));
        Some(object)
    }

    pub(super) fn delete_all(&mut self, plural: &str) {
        let keys: Vec<Key> = self
            .objects
            .keys()
            .filter(|key| key.0 == plural)
            .cloned()
            .collect();
        for (plural, namespace, name) in keys {
            self.delete(&plural, &namespace, &name);
        }
    }

    pub(super) fn forget(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.history.clear();
        self.continued.clear();
    }

    /// A write by a client, of the object or of its status alone.
    ///
    /// # Errors
    /// The HTTP status and the reason.
    pub(super) fn write(
        &mut self,
        resource: &'static Resource,
        (namespace, name): (&str, &str),
        write: Write<'_>,
    ) -> Result<Value, (u16, &'static str)> {
        let key = (
            resource.plural.to_owned(),
            namespace.to_owned(),
            name.to_owned(),
        );
        let before = self.objects.get(&key).cloned();
        let asked = text(write.body, "/metadata/resourceVersion");
        match (&before, write.kind) {
            (Some(_), WriteKind::Create) => return Err((409, "AlreadyExists")),
            (None, WriteKind::Create | WriteKind::Apply) => {}
            (None, _) => return Err((404, "NotFound")),
            (Some(before), _)
                if !asked.is_empty() && asked != text(before, "/metadata/resourceVersion") =>
            {
                return Err((409, "Conflict"));
            }
            (Some(_), WriteKind::Update) if asked.is_empty() && resource.plural != "leases" => {
                // As custom resources demand it of an update.
                return Err((422, "Invalid"));
            }
            (Some(_), _) => {}
        }
        let mut object = match (&before, write.kind) {
            (Some(before), WriteKind::Merge | WriteKind::Apply) => {
                let mut object = (**before).clone();
                merge(&mut object, write.body);
                object
            }
            _ => write.body.clone(),
        };
        if let Some(before) = &before {
            // Each of the two halves ignores what is the other's.
            let (taken, kept) = (object.clone(), (**before).clone());
            object = if write.status {
                kept.clone()
            } else {
                taken.clone()
            };
            let status = if write.status {
                taken.get("status")
            } else {
                kept.get("status")
            };
            if let Some(status) = status.cloned() {
                object["status"] = status;
            }
            object["metadata"]["namespace"] = before["metadata"]["namespace"].clone();
        } else {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object["metadata"]["name"] = json!(name);
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|_, value| !value.is_null());
        }
        self.store(resource, key, object, before.as_deref());
        self.get(resource.plural, namespace, name)
            .cloned()
            .ok_or((500, "InternalError"))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) kind: WriteKind,
    pub(super) status: bool,
    pub(super) body: &'a Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteKind {
    Create,
    Update,
    Merge,
    Apply,
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(object) = into.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut into[key], value);
        }
    }
}
