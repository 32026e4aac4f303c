//! The Lease that decides which replica writes statuses.
//!
//! The rules are those of Kubernetes' own components (client-go's `leaderelection`). Clocks of two
//! nodes are never compared: a holder counts as gone when its Lease has not changed for the Lease's
//! duration by *our* clock, and a holder stops by *its* clock well before that. Writes carry the
//! Lease's version, so if two replicas take it at once, one gets a conflict.
//!
//! The crate `kube-lease-manager` 0.13 does this with kube 5, and is not used: it compares clocks of
//! nodes, takes a Lease over by a patch without a version, and goes on saying that it leads while the
//! API does not answer.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// The times of a Lease.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTiming {
    /// The time after which a Lease that was not renewed is free; in whole seconds, at least 1.
    pub duration: Duration,
    /// The time after which a holder that could not renew stops. It is below `duration`, so that it has
    /// stopped before another one starts.
    pub give_up: Duration,
    /// The time between two attempts. Each is up to a fifth longer.
    pub period: Duration,
}

impl LeaseTiming {
    /// The times that replicas of strait use.
    pub const DEFAULT: Self = Self {
        duration: Duration::from_secs(15),
        give_up: Duration::from_secs(10),
        period: Duration::from_secs(3),
    };
}

/// The Lease and the replica that asks for it.
#[derive(Debug, Clone)]
pub struct LeaseHolder {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// A name that no other replica has. A container that restarts in its pod keeps the name if the pod
    /// is known, and so has the Lease at once.
    pub identity: String,
    /// The times of the Lease.
    pub timing: LeaseTiming,
}

/// The time until which this replica leads. `None` or a time in the past: it does not lead.
pub(super) type Leadership = Option<Instant>;

/// The next action on the Lease.
#[derive(Debug, Clone, PartialEq)]
enum LeaseStep {
    Create(Lease),
    Replace(Lease),
    Wait,
}

/// The knowledge of this replica about the Lease.
#[derive(Debug)]
struct Election {
    holder: LeaseHolder,
    /// The version last seen, and the time when it was first seen.
    seen: Option<(Option<String>, Instant)>,
}

impl Election {
    fn new(holder: LeaseHolder) -> Self {
        Self { holder, seen: None }
    }

    /// The next action for `lease`, which was read a moment ago.
    fn step(&mut self, lease: Option<Lease>, now: Instant, time: Timestamp) -> LeaseStep {
        let Some(mut lease) = lease else {
            let metadata = ObjectMeta {
                name: Some(self.holder.name.clone()),
                ..ObjectMeta::default()
            };
            let spec = Some(self.held(None, time));
            return LeaseStep::Create(Lease { metadata, spec });
        };
        let version = &lease.metadata.resource_version;
        let since = match &self.seen {
            Some((seen, since)) if seen == version => *since,
            _ => {
                self.seen = Some((version.clone(), now));
                now
            }
        };
        let spec = lease.spec.as_ref();
        let holder = spec
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
        let good_for = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let good_for = good_for.map_or(self.holder.timing.duration, Duration::from_secs);
        let is_free = holder.is_empty() || holder == self.holder.identity;
        if !is_free && now.duration_since(since) < good_for {
            return LeaseStep::Wait;
        }
        lease.spec = Some(self.held(lease.spec.take(), time));
        LeaseStep::Replace(lease)
    }

    /// The Lease with this replica as its holder.
    fn held(&self, before: Option<LeaseSpec>, time: Timestamp) -> LeaseSpec {
        let mut spec = before.unwrap_or_default();
        let identity = Some(self.holder.identity.clone());
        if spec.holder_identity != identity {
            spec.lease_transitions = Some(
                spec.lease_transitions
                    .map_or(0, |count| count.saturating_add(1)),
            );
            spec.holder_identity = identity;
            spec.acquire_time = Some(MicroTime(time));
        }
        let seconds = self.holder.timing.duration.as_secs().max(1);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(time));
        spec
    }
}

/// Contends for the Lease as long as the future runs, and keeps in `leadership` until when it is held.
/// Calls `complain` with the reason when the Lease cannot be read or written.
pub(super) async fn contend(
    client: Client,
    holder: LeaseHolder,
    leadership: &watch::Sender<Leadership>,
    mut complain: impl FnMut(&kube::Error),
) {
    let api: Api<Lease> = Api::namespaced(client, &holder.namespace);
    let timing = holder.timing;
    let mut election = Election::new(holder);
    loop {
        let asked = Instant::now();
        match timeout(timing.period, attempt(&api, &mut election)).await {
            // From the time of asking, not of granting: others count from the write.
            Ok(Ok(true)) => {
                leadership.send_replace(Some(asked + timing.give_up));
            }
            Ok(Ok(false)) => {
                leadership.send_replace(None);
            }
            // A Lease that is held stays held until its time runs out.
            Ok(Err(error)) => complain(&error),
            Err(_) => {}
        }
        tokio::time::sleep(timing.period.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
    }
}

/// Reads the Lease, and takes or renews it if this replica may. Returns whether this replica holds it.
async fn attempt(api: &Api<Lease>, election: &mut Election) -> Result<bool, kube::Error> {
    let lease = api.get_opt(&election.holder.name).await?;
    let written = match election.step(lease, Instant::now(), Timestamp::now()) {
        LeaseStep::Wait => return Ok(false),
        LeaseStep::Create(lease) => api.create(&PostParams::default(), &lease).await,
        LeaseStep::Replace(lease) => {
            api.replace(&election.holder.name, &PostParams::default(), &lease)
                .await
        }
    };
    match written {
        Ok(_) => Ok(true),
        // Another replica was faster.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Frees the Lease if this replica holds it, so that another one need not wait for its end.
pub(super) async fn release(client: Client, holder: &LeaseHolder) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client, &holder.namespace);
    let Some(mut lease) = api.get_opt(&holder.name).await? else {
        return Ok(());
    };
    let Some(spec) = &mut lease.spec else {
        return Ok(());
    };
    if spec.holder_identity.as_deref() != Some(&*holder.identity) {
        return Ok(());
    }
    spec.holder_identity = None;
    api.replace(&holder.name, &PostParams::default(), &lease)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(identity: &str) -> Election {
        Election::new(LeaseHolder {
            namespace: "strait".into(),
            name: "strait-status".into(),
            identity: identity.into(),
            timing: LeaseTiming::DEFAULT,
        })
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// The Lease as the server would return it.
    fn stored(step: LeaseStep, version: &str) -> Lease {
        match step {
            LeaseStep::Create(mut lease) | LeaseStep::Replace(mut lease) => {
                lease.metadata.resource_version = Some(version.to_owned());
                lease
            }
            LeaseStep::Wait => panic!("nothing was written"),
        }
    }

    fn spec(lease: &Lease) -> (&str, i32, i32) {
        let spec = lease.spec.as_ref().unwrap();
        (
            spec.holder_identity.as_deref().unwrap_or("-"),
            spec.lease_duration_seconds.unwrap(),
            spec.lease_transitions.unwrap(),
        )
    }

    #[test]
    fn the_first_one_creates_it_and_renews_it() {
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let mut election = election("a");
        let lease = stored(election.step(None, start, time), "1");
        assert_eq!(spec(&lease), ("a", 15, 0));
        let later = Timestamp::from_second(3).unwrap();
        let renewed = stored(election.step(Some(lease), after(start, 3), later), "2");
        assert_eq!(spec(&renewed), ("a", 15, 0));
        assert_eq!(renewed.metadata.resource_version.as_deref(), Some("2"));
        let spec = renewed.spec.unwrap();
        assert_eq!(spec.renew_time, Some(MicroTime(later)));
        assert_eq!(
            spec.acquire_time,
            Some(MicroTime(time)),
            "it was ours all the time"
        );
    }

    #[test]
    fn a_holder_is_gone_when_nothing_changed_for_its_duration_by_our_clock() {
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        // This holder's clock is decades behind ours, which must not matter.
        let held = stored(election("a").step(None, start, time), "1");
        let mut other = election("b");
        for seconds in [0, 5, 14] {
            let step = other.step(Some(held.clone()), after(start, seconds), Timestamp::now());
            assert_eq!(step, LeaseStep::Wait, "after {seconds} s");
        }
        let mut renewed = held.clone();
        renewed.metadata.resource_version = Some("2".into());
        for seconds in [14, 20, 28] {
            let step = other.step(
                Some(renewed.clone()),
                after(start, seconds),
                Timestamp::now(),
            );
            assert_eq!(step, LeaseStep::Wait, "after {seconds} s, renewed at 14 s");
        }
        let taken = stored(
            other.step(Some(renewed), after(start, 29), Timestamp::now()),
            "3",
        );
        assert_eq!(spec(&taken), ("b", 15, 1));
    }

    #[test]
    fn the_duration_is_the_one_that_the_lease_says() {
        let start = Instant::now();
        let mut held = stored(election("a").step(None, start, Timestamp::now()), "1");
        held.spec.as_mut().unwrap().lease_duration_seconds = Some(60);
        let mut other = election("b");
        let mut at =
            |seconds| other.step(Some(held.clone()), after(start, seconds), Timestamp::now());
        assert_eq!(at(0), LeaseStep::Wait);
        assert_eq!(at(59), LeaseStep::Wait);
        assert!(matches!(at(60), LeaseStep::Replace(_)));
    }

    #[test]
    fn the_lease_of_the_same_pod_is_taken_at_once_and_that_of_another_pod_is_not() {
        let start = Instant::now();
        // The container was killed while it held the Lease.
        let held = stored(
            election("pod-a_uid").step(None, start, Timestamp::now()),
            "1",
        );
        let again = election("pod-a_uid").step(Some(held.clone()), start, Timestamp::now());
        assert_eq!(spec(&stored(again, "2")), ("pod-a_uid", 15, 0));
        let other = election("pod-b_uid").step(Some(held), start, Timestamp::now());
        assert_eq!(other, LeaseStep::Wait);
    }

    #[test]
    fn one_that_was_left_free_is_taken_at_once() {
        let start = Instant::now();
        let mut free = stored(election("a").step(None, start, Timestamp::now()), "1");
        for holder in [None, Some(String::new())] {
            free.spec.as_mut().unwrap().holder_identity = holder;
            let taken = election("b").step(Some(free.clone()), start, Timestamp::now());
            assert_eq!(spec(&stored(taken, "2")), ("b", 15, 1));
        }
        free.spec = None;
        let taken = election("b").step(Some(free), start, Timestamp::now());
        assert_eq!(spec(&stored(taken, "2")), ("b", 15, 0));
    }

    #[test]
    fn a_holder_stops_before_anybody_else_starts() {
        let timing = LeaseTiming::DEFAULT;
        // An attempt that is granted just as it times out was started a period before.
        assert!(timing.give_up + timing.period < timing.duration);
        assert!(
            timing.period.mul_f64(1.2) + timing.period < timing.give_up,
            "two attempts fit"
        );
    }
}
