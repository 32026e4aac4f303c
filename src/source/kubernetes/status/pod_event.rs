//! Events about the pod that strait runs in.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};

use super::object::REQUEST;

/// The least time between two Events.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest note that the API accepts, in bytes.
const MAX_NOTE: usize = 1024;
/// The name of the program that reports.
const CONTROLLER: &str = "strait.dev/gateway";

/// Writes Events about the pod that strait runs in. Cloning is cheap.
#[derive(Clone)]
pub struct PodReporter {
    client: Client,
    name: Arc<str>,
    uid: Arc<str>,
    queue: Arc<Mutex<NextEvent>>,
}

/// The Event that is to be written: the newest one alone.
#[derive(Default)]
struct NextEvent {
    /// The time of the last Event that was written.
    last: Option<Instant>,
    /// A reason and a note.
    next: Option<(&'static str, String)>,
    /// True while a task writes what is next.
    is_served: bool,
}

impl PodReporter {
    /// A reporter about `pod`, a name and a UID as the service account's token has them.
    pub(in crate::source::kubernetes) fn new(client: Client, pod: &str) -> Option<Self> {
        let (name, uid) = pod.split_once('_')?;
        Some(Self {
            client,
            name: name.into(),
            uid: uid.into(),
            queue: Arc::default(),
        })
    }

    /// Writes a warning, 10 s after the last one. Of those that come meanwhile the newest is written. Without the
    /// right to create Events, or an API that answers, it is lost; a line of the log at debug says so.
    pub async fn warn(self, reason: &'static str, note: String) {
        {
            let mut queue = self.queue();
            if queue.next.replace((reason, note)).is_some() {
                tracing::debug!(
                    reason,
                    "an Event about this pod was left out: they come too often"
                );
            }
            if std::mem::replace(&mut queue.is_served, true) {
                return;
            }
        }
        loop {
            let due = self.queue().last.map(|last| last + PAUSE);
            if let Some(due) = due {
                sleep_until(due).await;
            }
            let next = {
                let mut queue = self.queue();
                let next = queue.next.take();
                queue.is_served = next.is_some();
                next
            };
            let Some((reason, note)) = next else { return };
            self.write(reason, note).await;
        }
    }

    async fn write(&self, reason: &'static str, note: String) {
        let event = self.event(reason, note);
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let params = PostParams::default();
        let written = timeout(REQUEST, api.create(&params, &event)).await;
        let error = match written {
            Ok(Ok(_)) => {
                self.queue().last = Some(Instant::now());
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API did not answer in time".to_owned(),
        };
        tracing::debug!(reason, error, "an Event about this pod was not written");
    }

    fn queue(&self) -> MutexGuard<'_, NextEvent> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, reason: &'static str, mut note: String) -> Event {
        note.truncate(note.floor_char_boundary(MAX_NOTE));
        let namespace = self.client.default_namespace();
        let now = Timestamp::now();
        Event {
            metadata: ObjectMeta {
                // As the Events of others are named.
                name: Some(format!("{}.{:x}", self.name, now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Reload".to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(note),
            type_: Some("Warning".to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(self.name.to_string()),
                uid: Some(self.uid.to_string()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.name.to_string()),
            ..Event::default()
        }
    }
}

impl fmt::Debug for PodReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodReporter")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
