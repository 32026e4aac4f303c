//! The cost of a large cluster, printed for `docs/src/kubernetes.md`:
//!
//! `cargo test --release --lib translate::tests::cost -- --ignored --nocapture`

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fixtures::*;
use crate::source::kubernetes::records::SliceEndpoint;
use crate::source::kubernetes::translate::Translator;

const SERVICES: usize = 10_000;
const PODS: usize = 10;
const RUNS: usize = 21;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.unwrap().split_whitespace();
    words.rev().nth(1).unwrap().parse().unwrap()
}

fn name(service: usize) -> String {
    format!("team-{}/service-{service}", service % 100)
}

fn pod_name(service: usize, pod: usize) -> String {
    format!("service-{service}-6d4cf56db6-abc{pod:02}")
}

fn slice_of(service: usize, ready: bool) -> Object {
    let endpoint = |pod: usize| SliceEndpoint {
        ready: ready || pod > 0,
        zone: Some(format!("zone-{}", pod % 3).into()),
        node: Some(format!("node-{}", (service + pod) % 500).into()),
        ..endpoint(
            &format!("10.{}.{}.{pod}", service / 250, service % 250),
            &pod_name(service, pod),
        )
    };
    let slice_name = format!("{}.x", name(service));
    slice(
        &slice_name,
        &[("https", 8443)],
        (0..PODS).map(endpoint).collect(),
    )
}

fn pods_of(service: usize) -> impl Iterator<Item = Object> {
    (0..PODS).map(move |number| {
        let at = format!("team-{}/{}", service % 100, pod_name(service, number));
        let app = format!("service-{service}");
        let labels = [
            SIDECAR,
            ("app.kubernetes.io/name", &app),
            ("pod-template-hash", "6d4cf56db6"),
            ("service.istio.io/canonical-name", &app),
            ("service.istio.io/canonical-revision", "latest"),
        ];
        pod(&at, &labels)
    })
}

/// Objects one by one, so that the temporary memory of a whole list is not counted.
fn objects() -> impl Iterator<Item = Object> {
    let service_of = |number| service(&name(number), &[("https", 443)]);
    (0..SERVICES).flat_map(move |number| {
        let both = [service_of(number), slice_of(number, true)];
        both.into_iter().chain(pods_of(number))
    })
}

/// The median of some runs.
fn timed(mut run: impl FnMut(usize)) -> Duration {
    let mut times: Vec<Duration> = Vec::new();
    for number in 0..RUNS {
        let start = Instant::now();
        run(number);
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[test]
#[ignore = "it prints figures, for a release build"]
fn ten_thousand_services_of_ten_pods() {
    let before = resident_kib();
    let mut translator = Translator::new(Arc::new(mesh_policy()));
    let found = translator
        .apply(listed().chain(objects().map(set)))
        .unwrap();
    let per_thousand = (resident_kib() - before) / (SERVICES as u64 / 1000);
    println!("1,000 services with 10,000 endpoints: {per_thousand} KiB");
    let endpoints: usize = found.endpoints.values().map(|list| list.len()).sum();
    assert_eq!(endpoints, SERVICES * PODS);
    assert_eq!(found.routing.exports.len(), SERVICES);
    drop(found);

    let mut changed_count = 0;
    let one = timed(|number| {
        // The endpoint is removed and comes back.
        let changed = slice_of(number / 2, number % 2 == 1);
        changed_count += usize::from(translator.apply([set(changed)]).is_some());
    });
    assert_eq!(changed_count, RUNS);
    println!("one endpoint of {SERVICES} services: {one:?}");
    let route = timed(|number| {
        translator.apply([set(service(&format!("new/s{number}"), &[("https", 443)]))]);
    });
    println!("one more service: {route:?}");
    let all = timed(|number| {
        let disabled = Some(number % 2 == 0);
        let policy = peer_authentication("istio-system/default", 0, &[], disabled, &[]);
        translator.apply([set(policy)]);
    });
    println!("a policy of the whole mesh: {all:?}");
}
