//! Tests of WorkloadEntries, and of the pods that ServiceEntries select.

use super::fixtures::*;
use crate::source::kubernetes::cluster::{ClusterChange, Kind};
use crate::source::kubernetes::records::entry::{
    ServiceEntryRecord, WorkloadAddress, WorkloadEntryRecord, WorkloadRecord,
};
use crate::source::kubernetes::records::{ServiceKind, ServiceRecord, SliceEndpoint};

const UPSTREAM: &str = "apps/svcb:80";
const DB: &str = "apps/db.mesh.local:5432";
const APP: (&str, &str) = ("app", "svcb");

/// The Service of [`svcb`] with a selector, and a pod with a sidecar.
fn selecting(edit: impl FnOnce(&mut ServiceRecord)) -> Vec<Object> {
    let mut objects = svcb([pod("apps/a", &[SIDECAR, APP])]);
    objects.push(service_with("apps/svcb", &[("http", 80)], |record| {
        record.selector = labels(&[APP]);
        edit(record);
    }));
    objects
}

fn entry_of(at: &str, workload: WorkloadRecord) -> Object {
    workload_entry(at, |entry| entry.workload = workload)
}

#[test]
fn a_service_also_selects_workload_entries_of_its_namespace_that_have_mutual_tls() {
    let mut objects = selecting(|_| {});
    objects.extend([
        entry_of("apps/vm", vm("192.0.2.1", &[SIDECAR, APP])),
        entry_of("apps/plain", vm("192.0.2.2", &[APP])),
        entry_of("apps/other", vm("192.0.2.3", &[SIDECAR, ("app", "other")])),
        entry_of("other/vm", vm("192.0.2.4", &[SIDECAR, APP])),
    ]);
    let found = find(mesh_policy(), objects.clone());
    assert_eq!(found.endpoints(UPSTREAM), ["10.0.0.1:8080", "192.0.2.1:80"]);
    let found = find(policy(), objects.clone());
    assert_eq!(found.endpoints(UPSTREAM).len(), 3);
    // As in istiod, a headless Service has its pods alone, and one without a selector has none of them.
    for edit in [
        (|record: &mut ServiceRecord| record.kind = ServiceKind::Headless) as fn(&mut _),
        |record| record.selector = labels(&[]),
    ] {
        objects.extend(selecting(edit));
        let found = find(mesh_policy(), objects.clone());
        assert_eq!(found.endpoints(UPSTREAM), ["10.0.0.1:8080"]);
    }
}

#[test]
fn every_endpoint_says_from_which_objects_it_comes() {
    let mut objects = selecting(|_| {});
    let addresses = ["10.0.0.9"].map(|address| endpoint(address, ""));
    objects.extend([
        slice("apps/svcb.y", &[("http", 8080)], addresses.into()),
        entry_of("apps/vm", vm("192.0.2.1", &[SIDECAR, APP])),
        entry(
            "apps/more",
            "svcb.apps.svc.cluster.local",
            &[("http", 80)],
            |entry| {
                entry.endpoints = [vm("192.0.2.2", &[SIDECAR])].into();
            },
        ),
        db(|entry| entry.selector = Some(labels(&[APP]))),
    ]);
    let mut named = policy();
    for (cluster, suffix) in [(None, ""), (Some("c1"), " of cluster c1")] {
        named.cluster = cluster.map(Into::into);
        let found = find(named.clone(), objects.clone());
        let of_service = [
            "pod a, EndpointSlice apps/svcb.x",
            "EndpointSlice apps/svcb.y",
            "WorkloadEntry apps/vm",
            "ServiceEntry apps/more",
        ];
        let of_entry = ["pod a, ServiceEntry apps/db", "WorkloadEntry apps/vm"];
        for (upstream, wanted) in [(UPSTREAM, &of_service[..]), (DB, &of_entry)] {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|text| format!("{text}{suffix}"))
                .collect();
            assert_eq!(found.origins(upstream), wanted, "{upstream}");
        }
    }
}

#[test]
fn the_port_of_a_workload_entry_is_its_own_of_that_name_or_the_services_target() {
    let with_port = |name: &str| WorkloadRecord {
        ports: [(name.into(), 7000)].into(),
        ..vm("192.0.2.1", &[SIDECAR, APP])
    };
    let number = |record: &mut ServiceRecord| {
        record.ports[0].target = std::num::NonZeroU16::new(8080);
    };
    let name = |record: &mut ServiceRecord| record.ports[0].target_name = Some("web".into());
    type Case = (fn(&mut ServiceRecord), &'static str, Option<u16>);
    let cases: [Case; 6] = [
        (|_| {}, "x", Some(80)),
        (number, "x", Some(8080)),
        (number, "http", Some(7000)),
        (name, "web", Some(7000)),
        (name, "http", None),
        (name, "x", None),
    ];
    for (edit, own, wanted) in cases {
        let mut objects = selecting(edit);
        objects.push(entry_of("apps/vm", with_port(own)));
        let found = find(mesh_policy(), objects);
        let vm = wanted.map(|port| format!("192.0.2.1:{port}"));
        let all: Vec<String> = ["10.0.0.1:8080".to_owned()].into_iter().chain(vm).collect();
        assert_eq!(found.endpoints(UPSTREAM), all, "{own}");
    }
}

#[test]
fn a_workload_entry_that_gets_no_connection_is_counted_with_the_reason() {
    let mut policy = mesh_policy();
    policy.network = Some("network1".into());
    let usual = || vm("192.0.2.1", &[SIDECAR, APP]);
    let far = WorkloadRecord {
        network: Some("network2".into()),
        ..usual()
    };
    let named = WorkloadRecord {
        address: WorkloadAddress::Name("vm.example.com".into()),
        ..usual()
    };
    let draining = vm("192.0.2.1", &[SIDECAR, APP, ("istio.io/draining", "true")]);
    let unhealthy = workload_entry("apps/vm", |entry: &mut WorkloadEntryRecord| {
        entry.workload = usual();
        entry.unhealthy = true;
    });
    for (object, reason) in [
        (unhealthy, "1 WorkloadEntry not healthy (condition Healthy)"),
        (
            entry_of("apps/vm", named),
            "1 WorkloadEntry with a DNS name that has no address (see the log of the gateway)",
        ),
        (
            entry_of("apps/vm", draining),
            "1 WorkloadEntry draining (label istio.io/draining)",
        ),
        (
            entry_of("apps/vm", vm("127.0.0.1", &[SIDECAR, APP])),
            "1 WorkloadEntry at an address that no workload has (loopback, link-local, multicast, a metadata service)",
        ),
        (
            entry_of("apps/vm", far),
            "1 WorkloadEntry of another network than this gateway (label topology.istio.io/network of \
             the pod or of Istio's namespace)",
        ),
    ] {
        let mut service = service_with("apps/svcb", &[("http", 80)], |_| {});
        if let crate::source::kubernetes::cluster::Record::Service(record) = &mut service.1 {
            record.selector = labels(&[APP]);
        }
        let found = find(policy.clone(), vec![service, object]);
        assert_eq!(found.endpoints(UPSTREAM), [""; 0]);
        assert_eq!(found.why_empty(UPSTREAM), Some(reason));
    }
}

/// A ServiceEntry of `db.mesh.local` that selects workloads.
fn db(edit: impl FnOnce(&mut ServiceEntryRecord)) -> Object {
    entry("apps/db", "db.mesh.local", &[("tcp", 5432)], |entry| {
        entry.selector = Some(labels(&[("app", "db")]));
        edit(entry);
    })
}

#[test]
fn a_service_entry_selects_workload_entries_and_pods_whose_address_a_slice_says() {
    let of_db = |more: &[(&'static str, &'static str)]| [&[SIDECAR, ("app", "db")], more].concat();
    let not_ready = SliceEndpoint {
        ready: false,
        ..endpoint("10.0.0.3", "late")
    };
    let objects = vec![
        db(|_| {}),
        entry_of("apps/vm", vm("192.0.2.1", &of_db(&[]))),
        entry_of("other/vm", vm("192.0.2.2", &of_db(&[]))),
        pod("apps/one", &of_db(&[("version", "v1")])),
        pod("apps/late", &of_db(&[])),
        pod("apps/alone", &of_db(&[])),
        pod("apps/another", &[SIDECAR, ("app", "web")]),
        slice(
            "apps/any.x",
            &[("http", 8080)],
            vec![
                endpoint("10.0.0.1", "one"),
                endpoint("10.0.0.2", "another"),
                not_ready,
            ],
        ),
        rule("apps/r", "db.mesh.local", |rule| {
            rule.subsets = [
                subset("v1", &[("version", "v1")]),
                subset("v2", &[("version", "v2")]),
            ]
            .into();
        }),
    ];
    let found = find(mesh_policy(), objects);
    assert_eq!(found.endpoints(DB), ["10.0.0.1:5432", "192.0.2.1:5432"]);
    assert_eq!(found.endpoints(&format!("{DB}/v1")), ["10.0.0.1:5432"]);
    let alone = vec![db(|_| {}), pod("apps/alone", &of_db(&[]))];
    let found = find(mesh_policy(), alone);
    let why = "1 pod of no Service, so that its address is not known";
    assert_eq!(found.why_empty(DB), Some(why));
}

#[test]
fn what_a_selector_selects_follows_each_change_of_a_workload() {
    let mut world = world(mesh_policy(), vec![db(|_| {})]);
    assert_eq!(
        world.found.why_empty(DB),
        Some("no workload is behind the ServiceEntry")
    );
    let labels = [SIDECAR, ("app", "db")];
    let vm_at = |address| set(entry_of("apps/vm", vm(address, &labels)));
    assert!(world.apply([vm_at("192.0.2.1")]));
    assert_eq!(world.found.endpoints(DB), ["192.0.2.1:5432"]);
    assert!(world.apply([vm_at("192.0.2.2")]));
    assert_eq!(world.found.endpoints(DB), ["192.0.2.2:5432"]);
    let other = entry_of("apps/vm", vm("192.0.2.2", &[SIDECAR, ("app", "web")]));
    assert!(world.apply([set(other)]));
    assert_eq!(world.found.endpoints(DB), [""; 0]);
    // The pod, and then the slice that says its address.
    world.apply([set(pod("apps/one", &labels))]);
    let slice_with = |address| {
        let endpoints = vec![endpoint(address, "one")];
        set(slice("apps/any.x", &[("http", 8080)], endpoints))
    };
    assert!(world.apply([slice_with("10.0.0.1")]));
    assert_eq!(world.found.endpoints(DB), ["10.0.0.1:5432"]);
    assert!(world.apply([slice_with("10.0.0.2")]));
    assert_eq!(world.found.endpoints(DB), ["10.0.0.2:5432"]);
    assert!(world.apply([ClusterChange::Removed(Kind::Pod, key("apps/one"))]));
    assert_eq!(world.found.endpoints(DB), [""; 0]);
    // A workload that nothing selects changes nothing.
    let nobody = entry_of("apps/nobody", vm("192.0.2.9", &[SIDECAR, ("app", "x")]));
    assert!(!world.apply([set(nobody)]));
}
