//! A change costs what it changes: the way of an event from a record to the tables that workers read.
//!
//! `benches/events` prints the CPU time of each kind of event, for some numbers of Services. This test runs it with a
//! few of them, and looks at what each event leaves as it is.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::change::Change;
use crate::app::fixture::{World, discovering, publishing};
use crate::app::plan::Plan;
use crate::clock::cpu_time;
use crate::proxy::Shared;
use crate::server_name::ServerName;
use crate::source::kubernetes::records::{
    Labels, ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord, SliceEndpoint, SliceRecord,
};
use crate::source::kubernetes::{ClusterChange, Kind, Record, Translator};

/// The numbers of Services, each with ten pods.
const SERVICES: &str = "STRAIT_EVENT_SERVICES";
const PODS: usize = 10;
/// Pods of the headless Service.
const HEADLESS_PODS: usize = 50;
/// Events of each kind that are measured.
const EVENTS: usize = 400;

fn key(number: usize, suffix: &str) -> ObjectKey {
    ObjectKey {
        namespace: format!("team-{}", number % 100).into(),
        name: format!("service-{number}{suffix}").into(),
    }
}

fn service(number: usize, kind: ServiceKind, ports: &[u16], version: &str) -> ClusterChange {
    let port = |port: &u16| ServicePortRecord {
        name: format!("p{port}").into(),
        port: *port,
        target: None,
        target_name: None,
    };
    let record = ServiceRecord {
        resource_version: version.into(),
        labels: Labels::default(),
        annotations: Labels::default(),
        kind,
        ports: ports.iter().map(port).collect(),
        export_to: Box::default(),
        addresses: Box::default(),
        ipv6_first: false,
        selector: Labels::default(),
    };
    ClusterChange::Set(key(number, ""), Record::Service(record))
}

fn slice(number: usize, pods: usize, all_ready: bool) -> ClusterChange {
    let endpoint = |pod: usize| SliceEndpoint {
        address: format!("10.{}.{}.{pod}", number / 250, number % 250)
            .parse()
            .unwrap(),
        ready: all_ready || pod > 0,
        serving: true,
        terminating: false,
        zone: None,
        node: None,
        hostname: Some(format!("pod-{pod}").into()),
        pod: Some(format!("service-{number}-{pod}").into()),
    };
    let port = |port: u16| (format!("p{port}").into(), 8000 + port);
    let record = SliceRecord {
        service: key(number, "").name,
        ports: [80, 443].into_iter().map(port).collect(),
        endpoints: (0..pods).map(endpoint).collect(),
    };
    ClusterChange::Set(key(number, ".x"), Record::Slice(record))
}

/// A gateway with a source that a test feeds.
pub(super) struct Feed {
    translator: Translator,
    world: World,
}

/// The time of an event, by its part of the way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    translate: Duration,
    plan: Duration,
    commit: Duration,
}

impl Cost {
    fn all(&self) -> Duration {
        self.translate + self.plan + self.commit
    }
}

impl Feed {
    pub(super) async fn new(services: usize) -> Self {
        let file = discovering();
        let policy = file.kubernetes.clone().unwrap();
        let mut feed = Self {
            translator: Translator::new(policy),
            world: World::with(&file).await,
        };
        let listed = Kind::ALL.iter();
        let listed = listed.map(|kind| ClusterChange::All(*kind, Vec::new()));
        let objects = (0..services).flat_map(|number| {
            let (kind, pods) = match number {
                0 => (ServiceKind::Headless, HEADLESS_PODS),
                1 => (ServiceKind::ExternalName, PODS),
                _ => (ServiceKind::Balanced, PODS),
            };
            [service(number, kind, &[80], "1"), slice(number, pods, true)]
        });
        feed.event(listed.chain(objects).collect()).await;
        feed
    }

    /// Puts the changes into force.
    pub(super) async fn event(&mut self, changes: Vec<ClusterChange>) -> Cost {
        let start = Instant::now();
        let found = self.translator.apply(changes);
        let translate = start.elapsed();
        let Some(discovered) = found else {
            return Cost {
                translate,
                ..Cost::default()
            };
        };
        let change = Change::Found(Arc::new(publishing(discovered)));
        let start = Instant::now();
        let mut plan = Plan::new(&self.world.state, &change).await.unwrap();
        plan.resolve(&self.world.state).await;
        let planned = start.elapsed();
        let control = self.world.state.control.clone();
        if let Some(forgotten) = plan.commit(&mut self.world.state) {
            forgotten.forget(&control).await;
        }
        drop(change);
        Cost {
            translate,
            plan: planned,
            commit: start.elapsed() - planned,
        }
    }

    /// The state that workers share.
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.world.state.control.shared.clone()
    }

    /// Prints the times of a kind of event.
    async fn measure(&mut self, services: usize, name: &str, event: Event) {
        let mut costs = Vec::new();
        let start = cpu_time();
        for turn in 0..EVENTS {
            costs.push(self.event(vec![event(services, turn)]).await);
        }
        let mean = (cpu_time() - start) / u32::try_from(EVENTS).unwrap();
        costs.sort_by_key(Cost::all);
        let at = |percent: usize| costs[(costs.len() - 1) * percent / 100];
        let Cost {
            translate,
            plan,
            commit,
        } = at(50);
        println!(
            "{services:>6} Services, {name:<30} CPU {mean:>9.1?}, p50 {:>9.1?} (translate {translate:.1?}, plan {plan:.1?}, commit {commit:.1?}), p99 {:>9.1?}",
            at(50).all(),
            at(99).all(),
        );
    }

    /// The routes in force, by address: one that stays as it is has the same.
    fn routes(&self) -> HashSet<usize> {
        let state = self.world.state.listeners.state_of("first").unwrap();
        let routes = state.routes.routes();
        routes.map(|route| Arc::as_ptr(route) as usize).collect()
    }
}

/// An event by the number of Services and its turn.
type Event = fn(usize, usize) -> ClusterChange;

/// A Service comes, or the one before goes.
pub(super) fn event_of_a_service(services: usize, turn: usize) -> ClusterChange {
    match turn % 2 {
        0 => service(services + turn, ServiceKind::Balanced, &[80], "1"),
        _ => ClusterChange::Removed(Kind::Service, key(services + turn - 1, "")),
    }
}

/// The name of the Service that comes or goes.
pub(super) fn server_name(services: usize, turn: usize) -> ServerName {
    let ObjectKey { namespace, name } = key(services + turn - turn % 2, "");
    ServerName::parse(format!("{name}.{namespace}.svc.cluster.local").as_bytes()).unwrap()
}

/// The kinds of events. Each is made for any number of times, and takes back what it has done with every other.
fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("a Service comes, or goes", event_of_a_service),
        ("an endpoint goes, or comes", |services, turn| {
            slice(services / 2, PODS, turn % 2 == 1)
        }),
        ("a port comes, or goes", |services, turn| {
            let ports: &[u16] = if turn % 2 == 0 { &[80, 443] } else { &[80] };
            service(services / 3, ServiceKind::Balanced, ports, "1")
        }),
        ("a headless pod comes, or goes", |_, turn| {
            slice(0, HEADLESS_PODS + 1 - turn % 2, true)
        }),
        ("a Service that has no route", |services, turn| {
            match turn % 2 {
                0 => service(services + turn, ServiceKind::ExternalName, &[80], "1"),
                _ => ClusterChange::Removed(Kind::Service, key(services + turn - 1, "")),
            }
        }),
        ("another write to a Service", |services, turn| {
            let version = (turn + 2).to_string();
            service(services / 4, ServiceKind::Balanced, &[80], &version)
        }),
    ]
}

#[tokio::test]
async fn a_change_of_one_service_touches_no_route_of_another() {
    let asked = std::env::var(SERVICES).ok();
    let sizes = asked.as_deref().unwrap_or("300");
    for services in sizes.split(' ').map(|size| size.parse::<usize>().unwrap()) {
        let mut feed = Box::pin(Feed::new(services)).await;
        assert!(feed.routes().len() >= services);
        for (name, event) in events() {
            for turn in 0..4 {
                let before = feed.routes();
                feed.event(vec![event(services, turn)]).await;
                let after = feed.routes();
                let (gone, new) = (before.difference(&after), after.difference(&before));
                // Names of pods are one route.
                let most = if name.contains("pod") { 0 } else { 2 };
                assert!(gone.count() <= most && new.count() <= most, "{name}");
            }
            if asked.is_some() {
                feed.measure(services, name, event).await;
            }
        }
    }
}
