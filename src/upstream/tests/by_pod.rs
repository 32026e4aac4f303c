//! Upstreams whose connections ask for a pod by its name.

use super::*;

/// Pods with these hostnames, at addresses that end with 1, 2 and so on.
fn named(hostnames: &[&str]) -> Upstream {
    let UpstreamSource::Kubernetes(port) = pods("db") else {
        panic!("a port of a Service");
    };
    let by_pod = true;
    let config = UpstreamConfig {
        ejection: ejecting_at_once(Duration::from_secs(60)),
        ..samples::upstream(UpstreamSource::Kubernetes(ServicePort { by_pod, ..port }))
    };
    let upstream = Upstream::new(Arc::new(config), None, None);
    upstream.replace_endpoints((1..).zip(hostnames).map(|(last, hostname)| EndpointSpec {
        hostname: Some((*hostname).into()),
        ..spec(last, None, 1)
    }));
    upstream.source_answered();
    upstream
}

fn ties(upstream: &Upstream, name: Option<&str>) -> Ties {
    let name = name.map(|name| ServerName::parse(name.as_bytes()).unwrap());
    upstream.ties_of([10, 9, 9, 9].into(), name.as_ref())
}

#[test]
fn a_connection_goes_to_the_pod_that_its_name_begins_with() {
    let upstream = named(&["db-0", "db-1", "db-2", "db-1"]);
    for (name, endpoints) in [
        (Some("db-0.db.apps.svc.cluster.local"), &[1][..]),
        (Some("DB-1.db.apps.svc.cluster.local"), &[2, 4]),
        (Some("outbound_.80_._.db-2.db.apps.svc.cluster.local"), &[3]),
        (Some("db-3.db.apps.svc.cluster.local"), &[]),
        (Some("db-0"), &[]),
        (None, &[]),
    ] {
        let ties = ties(&upstream, name);
        let mut tried = Vec::new();
        while let Ok(picked) = upstream.pick(&tried, &ties) {
            tried.push(picked.endpoint());
        }
        let mut found: Vec<u8> = tried
            .iter()
            .map(|address| match address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => 0,
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, endpoints, "{name:?}");
        assert!(ties.no_endpoint().is_some());
    }
}

#[test]
fn an_ejected_pod_is_still_the_only_one_of_its_name() {
    let upstream = named(&["db-0", "db-1"]);
    eject(&upstream, 1, Duration::from_secs(60));
    let ties = ties(&upstream, Some("db-0.db.apps.svc.cluster.local"));
    let picked = upstream.pick(&[], &ties).unwrap();
    assert_eq!(picked.endpoint(), spec(1, None, 1).address);
}

#[test]
fn other_upstreams_look_at_no_hostname() {
    let upstream = upstream(vec![spec(1, None, 1)], None);
    let ties = ties(&upstream, Some("db-0.db.apps.svc.cluster.local"));
    assert!(upstream.pick(&[], &ties).is_ok());
    assert_eq!(ties.no_endpoint(), None);
}
