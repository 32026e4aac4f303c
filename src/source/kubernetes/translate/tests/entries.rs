//! Tests of ServiceEntries: hosts that are no Services, and endpoints that are no pods.

use std::sync::Arc;

use super::fixtures::*;
use crate::config::{ExportMode, OptIn, ServiceSelector};
use crate::source::kubernetes::cluster::{ClusterChange, Kind, Record};
use crate::source::kubernetes::records::entry::{
    EntryPortRecord, ServiceEntryRecord, WorkloadAddress, WorkloadRecord,
};
use crate::source::kubernetes::records::{ClientTls, RuleTls};
use crate::source::kubernetes::translate::{Translator, WantedName};

const DB: &str = "vms/db.mesh.local:5432";

/// The ServiceEntry `vms/db` of the host `db.mesh.local`, with a port and a VM with a sidecar.
fn db(edit: impl FnOnce(&mut ServiceEntryRecord)) -> Object {
    entry("vms/db", "db.mesh.local", &[("tcp", 5432)], |entry| {
        entry.endpoints = [vm("192.0.2.1", &[SIDECAR])].into();
        edit(entry);
    })
}

fn endpoints(edit: impl FnOnce(&mut ServiceEntryRecord)) -> Vec<String> {
    find(mesh_policy(), vec![db(edit)]).endpoints(DB)
}

#[test]
fn a_host_of_a_service_entry_has_a_route_for_each_port_and_none_by_its_plain_name() {
    let found = find(
        mesh_policy(),
        vec![db(|entry| {
            entry.ports = [
                entry_port("tcp", 5432, None),
                entry_port("admin", 80, Some(8080)),
            ]
            .into();
        })],
    );
    let routes = [
        "outbound_.5432_._.db.mesh.local -> vms/db.mesh.local:5432",
        "outbound_.80_._.db.mesh.local -> vms/db.mesh.local:80",
    ];
    assert_eq!(found.routes(), routes);
    assert_eq!(found.endpoints(DB), ["192.0.2.1:5432"]);
    assert_eq!(found.endpoints("vms/db.mesh.local:80"), ["192.0.2.1:8080"]);
    let one = find(mesh_policy(), vec![db(|_| {})]);
    assert_eq!(one.routes(), routes[..1]);
}

#[test]
fn an_endpoints_own_port_comes_before_the_entrys_target_port() {
    let edit = |entry: &mut ServiceEntryRecord| {
        entry.ports = [entry_port("tcp", 5432, Some(6000))].into();
        let mut other = vm("192.0.2.2", &[SIDECAR]);
        other.ports = [("tcp".into(), 7000), ("x".into(), 1)].into();
        entry.endpoints = [vm("192.0.2.1", &[SIDECAR]), other].into();
    };
    assert_eq!(endpoints(edit), ["192.0.2.1:6000", "192.0.2.2:7000"]);
}

#[test]
fn only_endpoints_with_mutual_tls_get_connections_that_must_have_it() {
    let objects = || {
        vec![db(|entry| {
            let account = |address, labels: &[(&str, &str)]| WorkloadRecord {
                has_account: true,
                ..vm(address, labels)
            };
            entry.endpoints = [
                vm("192.0.2.1", &[]),
                account("192.0.2.2", &[]),
                account("192.0.2.3", &[("security.istio.io/tlsMode", "disabled")]),
                vm("192.0.2.4", &[SIDECAR, ("app", "off")]),
            ]
            .into();
        })]
    };
    let found = find(mesh_policy(), objects());
    assert_eq!(found.endpoints(DB), ["192.0.2.2:5432", "192.0.2.4:5432"]);
    assert_eq!(find(policy(), objects()).endpoints(DB).len(), 4);
    let with = |object| {
        let mut all = objects();
        all.push(object);
        find(mesh_policy(), all).endpoints(DB)
    };
    let off = peer_authentication("vms/off", 0, &[("app", "off")], Some(true), &[]);
    assert_eq!(with(off), ["192.0.2.2:5432"]);
    let plain = rule("vms/r", "db.mesh.local", |rule| {
        rule.tls = Some(RuleTls {
            mode: Some(ClientTls::Disable),
            ..RuleTls::default()
        });
    });
    assert_eq!(with(plain), [""; 0]);
}

#[test]
fn a_subset_selects_endpoints_by_their_labels_and_what_istiod_adds_to_them() {
    let mut policy = mesh_policy();
    policy.network = Some("network1".into());
    let mut objects = vec![db(|entry| {
        let mut here = vm("192.0.2.1", &[SIDECAR, ("version", "v1")]);
        here.locality = Some("r1/z1/s1".into());
        let mut there = vm("192.0.2.2", &[SIDECAR, ("version", "v2")]);
        there.locality = Some("r1/z2".into());
        entry.endpoints = [here, there].into();
    })];
    objects.push(rule("vms/r", "*.mesh.local", |rule| {
        rule.subsets = [
            subset("v1", &[("version", "v1")]),
            subset("z2", &[("topology.kubernetes.io/zone", "z2")]),
            subset("net", &[("topology.istio.io/network", "network1")]),
            subset("r2", &[("topology.kubernetes.io/region", "r2")]),
        ]
        .into();
    }));
    let found = find(policy, objects);
    let of = |subset: &str| found.endpoints(&format!("{DB}/{subset}"));
    assert_eq!(of("v1"), ["192.0.2.1:5432 in z1"]);
    assert_eq!(of("z2"), ["192.0.2.2:5432 in z2"]);
    assert_eq!(of("net").len(), 2);
    assert_eq!(of("r2"), [""; 0]);
}

#[test]
fn endpoints_of_another_network_that_drain_or_have_no_usable_address_are_left_out_with_the_reason()
{
    let mut policy = mesh_policy();
    policy.network = Some("network1".into());
    let entry = db(|entry| {
        let mut far = vm("192.0.2.1", &[SIDECAR]);
        far.network = Some("network2".into());
        let mut near = vm("192.0.2.2", &[SIDECAR]);
        near.network = Some("network1".into());
        near.weight = 7;
        let name = WorkloadRecord {
            address: WorkloadAddress::Name("vm.example.com".into()),
            ..vm("192.0.2.9", &[SIDECAR])
        };
        let none = WorkloadRecord {
            address: WorkloadAddress::None,
            ..vm("192.0.2.9", &[SIDECAR])
        };
        entry.endpoints = [
            far,
            near,
            vm("192.0.2.3", &[SIDECAR, ("istio.io/draining", "true")]),
            name,
            none,
        ]
        .into();
    });
    let found = find(policy.clone(), vec![entry]);
    assert_eq!(found.endpoints(DB), ["192.0.2.2:5432"]);
    assert_eq!(found.0.endpoints[DB][0].weight.get(), 7);
    // Addresses of the gateway's own host, by which an entry could reach its admin port, and of metadata services, in any
    // form.
    for address in [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "0.1.2.3",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::5",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
    ] {
        let entry = db(|entry| entry.endpoints = [vm(address, &[SIDECAR])].into());
        let found = find(policy.clone(), vec![entry]);
        let why = "1 endpoint of a ServiceEntry at an address that no workload has \
                   (loopback, link-local, multicast, a metadata service)";
        assert_eq!(found.endpoints(DB), [""; 0], "{address}");
        assert_eq!(found.why_empty(DB), Some(why));
    }
}

#[test]
fn hosts_outside_of_the_mesh_hidden_ones_and_those_that_the_policy_leaves_out_have_no_route() {
    let host = "db.mesh.local";
    let why = |policy, edit: &dyn Fn(&mut ServiceEntryRecord)| {
        let found = find(policy, vec![db(|entry| edit(entry))]);
        assert_eq!(found.routes(), [""; 0]);
        found.why_unrouted(host).map(str::to_owned)
    };
    assert_eq!(why(mesh_policy(), &|entry| entry.external = true), None);
    let hidden = why(mesh_policy(), &|entry| {
        entry.export_to = ["apps".into()].into();
    });
    assert_eq!(
        hidden.as_deref(),
        Some("its exportTo keeps it from gateways")
    );
    let opted_out = why(mesh_policy(), &|entry| {
        entry.annotations = labels(&[("export", "false")]);
    });
    let text = "the ServiceEntry's annotation strait.dev/export says \"false\"";
    assert_eq!(opted_out.as_deref(), Some(text));
    let selected = |selector| {
        let mut policy = mesh_policy();
        policy.export.mode = ExportMode::Selected(selector);
        policy
    };
    let by_namespace = selected(ServiceSelector {
        namespaces: vec!["apps".into()],
        ..ServiceSelector::default()
    });
    let text = "namespace vms is not selected for export";
    assert_eq!(why(by_namespace, &|_| {}).as_deref(), Some(text));
    let by_name = selected(ServiceSelector {
        names: vec!["db".into()],
        ..ServiceSelector::default()
    });
    let text = "the host is not among the names that are selected for export";
    assert_eq!(why(by_name, &|_| {}).as_deref(), Some(text));
    let mut exported = mesh_policy();
    exported.export.opt_in = OptIn::ServiceExport;
    let text = "the ServiceEntry has no ServiceExport";
    assert_eq!(why(exported, &|_| {}).as_deref(), Some(text));
    let by_host = selected(ServiceSelector {
        names: vec![host.into()],
        ..ServiceSelector::default()
    });
    assert_eq!(find(by_host, vec![db(|_| {})]).routes().len(), 1);
}

#[test]
fn a_host_that_belongs_to_others_or_that_istios_gateway_would_not_serve_is_skipped_with_the_reason()
{
    for (host, why) in [
        ("db.example.com", "only hosts below .local are served"),
        ("*.mesh.local", "no client asks for a wildcard"),
        (
            "web.apps.svc.cluster.local",
            "the host belongs to namespace apps",
        ),
        (
            "p.web.apps.svc.cluster.local",
            "the host belongs to namespace apps",
        ),
        (
            "web.vms.svc.clusterset.local",
            "ServiceExports make the hosts below clusterset.local",
        ),
    ] {
        let found = find(
            mesh_policy(),
            vec![db(|entry| entry.hosts = [host.into()].into())],
        );
        assert_eq!(found.routes(), [""; 0], "{host}");
        let text = format!("ServiceEntry vms/db: host {host}: {why}");
        assert_eq!(found.skipped(), [&*text]);
    }
}

#[test]
fn a_service_has_its_host_and_gets_the_endpoints_of_entries_of_its_namespace() {
    let same = |at: &str| {
        entry(
            at,
            "svcb.apps.svc.cluster.local",
            &[("http", 80)],
            |entry| {
                entry.endpoints = [vm("192.0.2.1", &[SIDECAR])].into();
            },
        )
    };
    let pod = || pod("apps/a", &[SIDECAR]);
    let upstream = "apps/svcb:80";
    let mut world = world(mesh_policy(), svcb([pod()]));
    assert_eq!(world.found.endpoints(upstream), ["10.0.0.1:8080"]);
    world.apply([set(same("apps/same"))]);
    assert_eq!(
        world.found.endpoints(upstream),
        ["10.0.0.1:8080", "192.0.2.1:80"]
    );
    world.apply([ClusterChange::Removed(Kind::ServiceEntry, key("apps/same"))]);
    world.apply([set(same("other/same"))]);
    assert_eq!(world.found.endpoints(upstream), ["10.0.0.1:8080"]);
    // Without the Service the entry has the host, and loses it again.
    let entry_upstream = "apps/svcb.apps.svc.cluster.local:80";
    world.apply([
        set(same("apps/same")),
        ClusterChange::Removed(Kind::Service, key("apps/svcb")),
    ]);
    assert_eq!(world.found.endpoints(entry_upstream), ["192.0.2.1:80"]);
    assert_eq!(world.found.routes().len(), 1);
    let (at, mut record) = service("apps/svcb", &[("http", 80)]);
    world.apply([set((at.clone(), record.clone()))]);
    assert!(!world.found.0.routing.upstreams.contains_key(entry_upstream));
    // A Service that gateways do not see leaves the host to the entry.
    let Record::Service(hidden) = &mut record else {
        panic!("a Service");
    };
    hidden.export_to = ["~".into()].into();
    world.apply([set((at, record))]);
    assert_eq!(world.found.endpoints(entry_upstream), ["192.0.2.1:80"]);
}

#[test]
fn the_oldest_entry_that_gateways_see_has_a_host_and_entries_like_it_add_their_ports() {
    let at = |at: &str, created, port: (&str, u16), edit: &dyn Fn(&mut ServiceEntryRecord)| {
        entry(at, "db.mesh.local", &[port], |entry| {
            entry.created = created;
            entry.endpoints = [vm("192.0.2.1", &[SIDECAR])].into();
            edit(entry);
        })
    };
    let tcp = ("tcp", 5432);
    let plain = |_: &mut ServiceEntryRecord| {};
    let older = at("vms/a", 1, tcp, &plain);
    let more = at("vms/b", 2, ("admin", 80), &plain);
    let unlike = at("vms/c", 2, ("x", 81), &|entry| {
        entry.labels = labels(&[("a", "b")]);
    });
    let foreign = at("other/a", 0, tcp, &|entry| {
        entry.export_to = ["other".into()].into();
    });
    let found = find(mesh_policy(), vec![older.clone(), more, unlike, foreign]);
    let routes = found.routes();
    let ports: Vec<&str> = routes.iter().map(|route| &route[..16]).collect();
    assert_eq!(ports, ["outbound_.5432_.", "outbound_.80_._."]);

    let mut world = world(mesh_policy(), vec![older]);
    world.apply([set(at("other/a", 0, tcp, &plain))]);
    assert_eq!(
        world.found.endpoints("other/db.mesh.local:5432"),
        ["192.0.2.1:5432"]
    );
    let text = "ServiceEntry vms/a: host db.mesh.local: ServiceEntry other/a, which is older or meant for \
                gateways alone, has it";
    assert_eq!(world.found.skipped(), [text]);
    world.apply([ClusterChange::Removed(Kind::ServiceEntry, key("other/a"))]);
    assert_eq!(world.found.endpoints(DB), ["192.0.2.1:5432"]);
    assert_eq!(world.found.skipped(), [""; 0]);
}

#[test]
fn a_route_that_another_entry_has_now_says_so() {
    let at = |at: &str| {
        entry(at, "db.mesh.local", &[("tcp", 5432)], |entry| {
            entry.endpoints = [vm("192.0.2.1", &[SIDECAR])].into();
        })
    };
    let mut world = world(mesh_policy(), vec![at("vms/a")]);
    world.apply([
        set(at("vms/b")),
        ClusterChange::Removed(Kind::ServiceEntry, key("vms/a")),
    ]);
    let routes = &world.found.0.routing.exports;
    let origin = routes.iter().next().map(|route| route.origin.to_string());
    let wanted = "ServiceEntry vms/b (resourceVersion 1)";
    assert_eq!(origin.as_deref(), Some(wanted));
}

fn entry_port(name: &str, port: u16, target: Option<u16>) -> EntryPortRecord {
    EntryPortRecord {
        name: name.into(),
        port,
        target: target.and_then(std::num::NonZeroU16::new),
    }
}

#[test]
fn an_endpoint_by_name_is_each_of_the_addresses_that_dns_gives() {
    let addresses = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
    let by_name = |entry: &mut ServiceEntryRecord| {
        let mut endpoint = vm("192.0.2.1", &[SIDECAR]);
        endpoint.address = WorkloadAddress::Name("vm.example".into());
        endpoint.weight = 3;
        entry.endpoints = [endpoint, vm("192.0.2.9", &[SIDECAR])].into();
        entry.by_dns = true;
    };
    let mut world = world(mesh_policy(), vec![db(by_name)]);
    let vm: Arc<str> = "vm.example".into();
    assert_eq!(world.found.endpoints(DB), ["192.0.2.9:5432"]);
    let wanted = WantedName {
        name: vm.clone(),
        namespaces: [Arc::from("vms")].into(),
    };
    assert_eq!(world.translator.take_names(), Some(vec![wanted]));
    assert_eq!(world.translator.take_names(), None);

    world
        .translator
        .resolve(&vm, addresses(&["192.0.2.2", "192.0.2.1"]));
    assert!(world.apply([]));
    let three = ["192.0.2.1:5432", "192.0.2.2:5432", "192.0.2.9:5432"];
    assert_eq!(world.found.endpoints(DB), three);
    let weights = world.found.0.endpoints[DB]
        .iter()
        .map(|one| one.weight.get());
    assert!(weights.eq([3, 3, 1]));
    assert_eq!(world.found.origins(DB), ["ServiceEntry vms/db"; 3]);
    // Nobody asks for the name any more, since others have its place.
    assert!(!world.translator.forget_names(|name| name == "vm.example"));
    assert!(world.translator.forget_names(|_| false));
    assert!(world.apply([]));
    assert_eq!(world.found.endpoints(DB), ["192.0.2.9:5432"]);
    // The gateway's own host, whatever DNS says.
    world
        .translator
        .resolve(&vm, addresses(&["127.0.0.1", "169.254.169.254"]));
    world.apply([]);
    assert_eq!(world.found.endpoints(DB), ["192.0.2.9:5432"]);

    // Another policy takes the addresses over.
    world.translator.resolve(&vm, addresses(&["192.0.2.1"]));
    let mut next = Translator::new(Arc::new(mesh_policy()));
    for (name, found) in world.translator.resolved() {
        next.resolve(&name, found);
    }
    let found = Found(next.apply(world.translator.cluster().changes()).unwrap());
    assert_eq!(found.endpoints(DB).len(), 2);

    world.apply([ClusterChange::Removed(Kind::ServiceEntry, key("vms/db"))]);
    assert_eq!(world.translator.take_names(), Some(Vec::new()));
    assert!(world.translator.resolved().is_empty());
}

#[test]
fn nobody_has_names_asked_for_by_a_host_that_is_not_exported() {
    let by_name = |entry: &mut ServiceEntryRecord| {
        let mut endpoint = vm("192.0.2.1", &[SIDECAR]);
        endpoint.address = WorkloadAddress::Name("vm.example".into());
        entry.endpoints = [endpoint].into();
    };
    let mut closed = mesh_policy();
    closed.export.mode = ExportMode::None;
    for (policy, external) in [(closed, false), (mesh_policy(), true)] {
        let entry = db(|entry| {
            by_name(entry);
            entry.external = external;
        });
        let mut world = world(policy, vec![entry]);
        assert_eq!(world.translator.take_names(), None, "{external}");
    }
    // After a policy that needed the name, it is forgotten.
    let mut closed = mesh_policy();
    closed.export.mode = ExportMode::None;
    let mut next = Translator::new(Arc::new(closed));
    next.announce_names();
    let addresses = [std::net::IpAddr::from([192, 0, 2, 1])];
    next.resolve(&"vm.example".into(), addresses.into());
    next.apply(listed().chain([set(db(by_name))]));
    assert_eq!(next.take_names(), Some(Vec::new()));
    assert!(next.resolved().is_empty());

    let mut world = world(mesh_policy(), vec![db(by_name)]);
    assert!(world.translator.take_names().is_some());
    let why = world.found.why_empty(DB).unwrap();
    assert!(why.contains("DNS name that has no address"), "{why}");
}

#[test]
fn names_with_many_addresses_do_not_multiply_the_endpoints_of_a_host() {
    let by_name = |port: u16| {
        let mut endpoint = vm("192.0.2.1", &[SIDECAR]);
        endpoint.address = WorkloadAddress::Name("vm.example".into());
        endpoint.ports = [("tcp".into(), port)].into();
        endpoint
    };
    let entry = |at: &str, first: u16| {
        entry(at, "db.mesh.local", &[("tcp", 5432)], |entry| {
            let endpoints = (first..first + 100).map(by_name);
            let by_address = std::iter::once(vm("192.0.2.9", &[SIDECAR]));
            entry.endpoints = endpoints.chain(by_address).collect();
            entry.by_dns = true;
        })
    };
    let (one, two) = (entry("vms/db", 1000), entry("vms/db-2", 2000));
    let mut world = world(mesh_policy(), vec![one, two]);
    let addresses = (1..=64).map(|last| std::net::IpAddr::from([198, 51, 100, last]));
    world
        .translator
        .resolve(&"vm.example".into(), addresses.collect());
    world.apply([]);
    // Those by address are there in any case.
    assert_eq!(world.found.endpoints(DB).len(), 4096 + 1);
}
