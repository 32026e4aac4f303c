//! Tests of changes in several clusters: the result of single changes is that of a translation from scratch.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use proptest::prelude::*;

use super::changes::{any_change, any_policy, at, same, without_versions};
use super::fixtures::*;
use crate::config::{KubernetesConfig, OtherClusterConfig, samples};
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::discovered::Discovered;
use crate::source::kubernetes::records::gateway::LabelSelector;
use crate::source::kubernetes::translate::Translator;

/// The kinds that are watched in other clusters.
const OF_OTHERS: [Kind; 5] = [
    Kind::Service,
    Kind::Slice,
    Kind::Pod,
    Kind::Node,
    Kind::WorkloadEntry,
];

/// A change, of another cluster if there is a name.
type Step = (Option<&'static str>, ClusterChange);

/// Gives a record a version that follows from its content. No API shows other content by a version that it has shown
/// before, and a status names the version of its object.
fn with_version(record: &mut Record) {
    let mut hash = DefaultHasher::new();
    format!("{record:?}").hash(&mut hash);
    let version: Arc<str> = hash.finish().to_string().into();
    match record {
        Record::Service(service) => service.resource_version = version,
        Record::ServiceEntry(entry) => entry.resource_version = version,
        Record::GatewayClass(class) => class.revision.resource_version = version,
        Record::Gateway(gateway) => gateway.revision.resource_version = version,
        Record::TlsRoute(route) => route.revision.resource_version = version,
        _ => {}
    }
}

fn with_versions(mut change: ClusterChange) -> ClusterChange {
    match &mut change {
        ClusterChange::Set(_, record) => with_version(record),
        ClusterChange::All(_, records) => records.iter_mut().for_each(|(_, it)| with_version(it)),
        _ => {}
    }
    change
}

/// The objects that only several clusters and Gateways have a use for.
fn any_object_of_the_mesh() -> BoxedStrategy<Object> {
    let cluster = proptest::sample::select(&["c1", "c2", "c3"][..]);
    let by_cluster = (at(&["r1", "r2"]), cluster).prop_map(|(at, cluster)| {
        rule(&at, "a.apps.svc.cluster.local", |rule| {
            rule.subsets = [subset("v1", &[("topology.istio.io/cluster", cluster)])].into();
        })
    });
    let network = proptest::option::of(proptest::sample::select(&["n1", "n2"][..]));
    let network = network.prop_map(|network| {
        let label = network.map(|network| ("topology.istio.io/network", network));
        let with: Vec<_> = label.into_iter().collect();
        namespace("istio-system", &with)
    });
    let of_gateways = (0..4usize, 1..4u8, any::<bool>()).prop_map(|(at, version, moves)| {
        let (key, mut record) = gateway_and_route().swap_remove(at);
        let version: Arc<str> = version.to_string().into();
        match &mut record {
            Record::GatewayClass(class) => class.revision.resource_version = version,
            Record::Gateway(gateway) => {
                gateway.revision.resource_version = version;
                if moves {
                    gateway.spec.listeners[0].port = 444;
                }
            }
            Record::TlsRoute(route) => {
                route.revision.resource_version = version;
                let name = if moves { "a" } else { "b" };
                route.spec.rules[0].backend_refs[0].name = name.into();
            }
            _ => {}
        }
        (key, record)
    });
    let host = proptest::sample::select(&["a.apps.svc.cluster.local", "*.mesh.local"][..]);
    let root = proptest::sample::select(&["istio-system", "other"][..]);
    let settings = (host, root, any::<[bool; 3]>());
    let settings = settings.prop_map(|(host, root, [local, private, discovers])| {
        mesh_config(|mesh| {
            mesh.root_namespace = root.into();
            mesh.cluster_local = [(host.into(), local)].into();
            mesh.rules_are_private = private;
            if discovers {
                mesh.discovery = [LabelSelector {
                    match_labels: [("app".into(), "a".into())].into(),
                    match_expressions: Box::default(),
                }]
                .into();
            }
        })
    });
    prop_oneof![2 => by_cluster, 1 => settings, 1 => network, 6 => of_gateways].boxed()
}

// Boxed: the trees of values are too large for the stack of a test.
fn any_own_change() -> BoxedStrategy<ClusterChange> {
    let kind = || proptest::sample::select(Kind::ALL);
    let change = prop_oneof![
        12 => any_change().boxed(),
        4 => any_object_of_the_mesh().prop_map(set),
        1 => any_object_of_the_mesh()
            .prop_map(|(key, record)| ClusterChange::Removed(record.kind(), key)),
        1 => kind().prop_map(ClusterChange::NotInstalled),
        1 => kind().prop_map(|kind| ClusterChange::Forgotten(kind, "refused".into())),
        1 => kind().prop_map(|kind| ClusterChange::All(kind, Vec::new())),
    ];
    change.prop_map(with_versions).boxed()
}

fn any_step() -> impl Strategy<Value = Step> {
    let of_others = |change: &ClusterChange| OF_OTHERS.contains(&change.kind());
    let cluster = proptest::sample::select(&["c2", "c3"][..]);
    let other = any_own_change().prop_filter("of other clusters", of_others);
    prop_oneof![
        any_own_change().prop_map(|change| (None, change)),
        (cluster, other).prop_map(|(cluster, change)| (Some(cluster), change)),
    ]
}

/// A policy of cluster `c1` with the clusters `c2` and `c3`, the latter sometimes in another network.
fn any_policy_of_clusters() -> impl Strategy<Value = KubernetesConfig> {
    (any_policy(), any::<[bool; 3]>()).prop_map(|(mut policy, [far, gateways, network])| {
        let other = |name: &str, network: &str| OtherClusterConfig {
            name: name.into(),
            network: network.into(),
            kubeconfig: "/none".into(),
        };
        policy.cluster = Some("c1".into());
        policy.network = network.then(|| "n1".into());
        policy.clusters = vec![
            other("c2", "n1"),
            other("c3", if far { "n2" } else { "n1" }),
        ];
        policy.gateway_api = gateways.then(samples::gateway_api);
        policy
    })
}

/// Leaves out changes that no watch reports: single objects of a kind of which nothing is known.
#[derive(Default)]
struct Watches(BTreeSet<(Option<&'static str>, Kind)>);

impl Watches {
    fn report(&mut self, (cluster, change): &Step) -> bool {
        let kind = (*cluster, change.kind());
        match change {
            ClusterChange::Forgotten(..) => {
                self.0.insert(kind);
            }
            ClusterChange::All(..) | ClusterChange::NotInstalled(_) => {
                self.0.remove(&kind);
            }
            ClusterChange::Set(..) | ClusterChange::Removed(..) => return !self.0.contains(&kind),
            ClusterChange::Absent(..) => {}
        }
        true
    }
}

/// The translation from scratch of what a translator knows.
fn from_scratch(known: &Translator, policy: &KubernetesConfig) -> (Translator, Arc<Discovered>) {
    let mut fresh = Translator::new(Arc::new(policy.clone()));
    for (cluster, change) in known.other_changes() {
        fresh.apply_other(&cluster, change);
    }
    let found = fresh.apply(known.cluster().changes());
    let found = found.expect("the first one");
    (fresh, found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn changes_of_several_clusters_lead_to_what_a_translation_from_scratch_gives(
        policy in any_policy_of_clusters(),
        batches in proptest::collection::vec(proptest::collection::vec(any_step(), 1..6), 1..24),
    ) {
        let mut one_by_one = world(policy.clone(), Vec::new());
        for cluster in ["c2", "c3"] {
            for kind in OF_OTHERS {
                one_by_one.translator.apply_other(cluster, ClusterChange::All(kind, Vec::new()));
            }
        }
        let mut watches = Watches::default();
        for mut batch in batches {
            batch.retain(|step| watches.report(step));
            let before = one_by_one.found.clone();
            let mut own = Vec::new();
            for (cluster, change) in batch {
                match cluster {
                    Some(cluster) => one_by_one.translator.apply_other(cluster, change),
                    None => own.push(change),
                }
            }
            let changed = one_by_one.apply(own);
            prop_assert_eq!(changed, !same(&before.0, &one_by_one.found.0));
            let (fresh, found) = from_scratch(&one_by_one.translator, &policy);
            let (one, other) = (without_versions(&one_by_one.found.0), without_versions(&found));
            prop_assert_eq!(one.routing, other.routing);
            prop_assert_eq!(one.endpoints, other.endpoints);
            prop_assert_eq!(one.empty, other.empty);
            prop_assert_eq!(one.unrouted, other.unrouted);
            prop_assert_eq!(one_by_one.translator.statuses(), fresh.statuses());
        }
    }
}
