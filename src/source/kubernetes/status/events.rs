//! Notices as Events of the API. There are few; each is written once while it holds, and none delays a
//! status.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, timeout};

use super::notice::{Notice, Notices};
use super::object::{ObjectWriter, REQUEST};
use super::statuses::Statuses;
use crate::metrics::{StatusWrite, WrittenObject};
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::records::gateway::GROUP;

/// The lifetime of an Event in the API server (`--event-ttl`). A notice that still holds is written
/// again after it.
const AGAIN: Duration = Duration::from_secs(3600);
/// The wait after an Event that the API refused.
const RETRY: Duration = Duration::from_secs(600);
/// The number of Events that may be written without a pause.
const BURST: u32 = 10;
/// The time between two Events after that.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest name of a reporter that the API accepts.
const MAX_INSTANCE: usize = 128;
/// The longest part of an object's name in an Event's name. An Event's name may have 253 bytes.
const MAX_NAME: usize = 200;

/// The notices that were written already.
#[derive(Debug)]
pub(super) struct Events {
    /// The name of the replica that writes.
    instance: String,
    /// The time at which a notice may be written again.
    said: BTreeMap<Notice, Instant>,
    /// The number of Events that may be written now, and the time from which further ones are counted.
    left: u32,
    since: Instant,
    /// True if the log said that the API refuses Events.
    complained: bool,
}

impl Events {
    pub(super) fn new(instance: &str) -> Self {
        let mut instance = instance.to_owned();
        instance.truncate(instance.floor_char_boundary(MAX_INSTANCE));
        Self {
            instance,
            said: BTreeMap::new(),
            left: BURST,
            since: Instant::now(),
            complained: false,
        }
    }

    /// The time at which [`Events::write`] has something to do next.
    pub(super) fn next_due(&self, notices: &Notices) -> Option<Instant> {
        let due = |notice: &Notice| self.said.get(notice).copied().unwrap_or(self.since);
        let due = notices.iter().map(due).min()?;
        let free = if self.left > 0 {
            self.since
        } else {
            self.since + PAUSE
        };
        Some(due.max(free))
    }

    /// Writes the notices that are new or due, as far as the rate allows. Asks `is_leading` before
    /// each.
    pub(super) async fn write(
        &mut self,
        objects: &ObjectWriter,
        statuses: &Statuses,
        is_leading: impl Fn() -> bool,
    ) {
        self.said
            .retain(|notice, _| statuses.notices.contains(notice));
        while let Some(notice) = self.next(&statuses.notices, Instant::now()) {
            if !is_leading() {
                return;
            }
            let wait = self.say(objects, statuses, &notice).await;
            self.said.insert(notice, Instant::now() + wait);
        }
    }

    /// The next notice that may be written at this moment. It uses up one Event.
    fn next(&mut self, notices: &Notices, now: Instant) -> Option<Notice> {
        let more = now.duration_since(self.since).as_secs() / PAUSE.as_secs();
        if more > 0 {
            self.left = self
                .left
                .saturating_add(u32::try_from(more).unwrap_or(BURST))
                .min(BURST);
            self.since = now;
        }
        if self.left == 0 {
            return None;
        }
        let is_due = |notice: &&Notice| self.said.get(notice).is_none_or(|again| *again <= now);
        let notice = notices.iter().find(is_due)?.clone();
        self.left -= 1;
        Some(notice)
    }

    /// Writes one Event. Returns the wait until the same notice may be written again.
    async fn say(
        &mut self,
        objects: &ObjectWriter,
        statuses: &Statuses,
        notice: &Notice,
    ) -> Duration {
        let (kind, key) = &notice.about;
        let Some(wanted) = statuses.objects.get(&notice.about) else {
            return RETRY;
        };
        let read = objects.api(*kind, key, &wanted.api_version);
        let written = timeout(REQUEST, async {
            // `kubectl describe` shows Events by the object's UID.
            let uid = read.get(&key.name).await?.metadata.uid;
            let event = self.event(objects, notice, &wanted.api_version, uid);
            let api: Api<Event> = Api::namespaced(objects.client.clone(), &key.namespace);
            api.create(&PostParams::default(), &event).await
        });
        let result = match written.await {
            Ok(Ok(_)) => Ok(()),
            // An earlier leader wrote it, or we did an hour ago.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => return RETRY,
            // The object does not exist any more.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return RETRY,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err((StatusWrite::Denied, status.to_string()))
            }
            Ok(Err(error)) => Err((StatusWrite::Failed, error.to_string())),
            Err(_) => Err((
                StatusWrite::Failed,
                "the API did not answer in time".to_owned(),
            )),
        };
        match result {
            Ok(()) => {
                objects.count_of(WrittenObject::Event, StatusWrite::Written);
                AGAIN
            }
            Err((what, error)) => {
                objects.count_of(WrittenObject::Event, what);
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(
                        error,
                        "an Event about a conflict of Gateways was not written; statuses and routes are \
                         not concerned. RBAC needs create of events of events.k8s.io"
                    );
                }
                RETRY
            }
        }
    }

    fn event(
        &self,
        objects: &ObjectWriter,
        notice: &Notice,
        api_version: &str,
        uid: Option<String>,
    ) -> Event {
        let (kind, key) = &notice.about;
        let mut hash = DefaultHasher::new();
        (&uid, notice).hash(&mut hash);
        // The same name for the same notice, so that two leaders do not write it twice.
        let name = &key.name[..key.name.floor_char_boundary(MAX_NAME)];
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:016x}", hash.finish())),
                namespace: Some(key.namespace.to_string()),
                ..ObjectMeta::default()
            },
            action: Some("KeepHostname".to_owned()),
            reason: Some(notice.reason.to_owned()),
            note: Some(notice.note.clone()),
            type_: Some("Warning".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{GROUP}/{api_version}")),
                kind: Some(ApiNames::of(*kind).kind.to_owned()),
                namespace: Some(key.namespace.to_string()),
                name: Some(key.name.to_string()),
                uid,
                ..ObjectReference::default()
            }),
            reporting_controller: Some(objects.controller.to_string()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::source::kubernetes::cluster::Kind;
    use crate::source::kubernetes::records::ObjectKey;

    fn notices(count: usize) -> Notices {
        let mut notices = Notices::default();
        for number in 0..count {
            let key = ObjectKey {
                namespace: "apps".into(),
                name: format!("gw-{number:02}").into(),
            };
            notices.add((Kind::Gateway, key), "HostnameConflict", "text".to_owned());
        }
        notices
    }

    #[test]
    fn a_flood_of_notices_makes_a_trickle_of_events_each_once() {
        let mut events = Events::new("a");
        let (all, start) = (notices(30), events.since);
        let mut said = Vec::new();
        let take = |events: &mut Events, said: &mut Vec<Notice>, now| {
            let before = said.len();
            while let Some(notice) = events.next(&all, now) {
                events.said.insert(notice.clone(), now + AGAIN);
                said.push(notice);
            }
            said.len() - before
        };
        assert_eq!(take(&mut events, &mut said, start), 10);
        assert_eq!(events.next_due(&all), Some(start + PAUSE));
        assert_eq!(take(&mut events, &mut said, start + PAUSE / 2), 0);
        assert_eq!(take(&mut events, &mut said, start + PAUSE), 1);
        assert_eq!(take(&mut events, &mut said, start + PAUSE * 20), 10);
        assert_eq!(take(&mut events, &mut said, start + PAUSE * 50), 9);
        assert_eq!(
            take(&mut events, &mut said, start + PAUSE * 80),
            0,
            "each once"
        );
        said.sort();
        said.dedup();
        assert_eq!(said.len(), 30);
        assert_eq!(
            take(&mut events, &mut said, start + AGAIN),
            10,
            "it still holds"
        );
    }
}
