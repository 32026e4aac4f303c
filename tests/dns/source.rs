//! The DNS source at work on an upstream: what it keeps, when it asks again, what it tells.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use strait::config::{
    Attempts, Balance, ConnectPolicy, DnsConfig, EjectionPolicy, KeepaliveInterval, KeepaliveTime,
    TcpOptions, UpstreamConfig, UpstreamLimits, UpstreamSource, UpstreamTimeouts,
};
use strait::metrics::{Metrics, RefusedAddress, SourceResult};
use strait::source::dns::{NameWatch, Resolver, SourceTask, spawn};
use strait::upstream::Upstream;

use crate::dns_server::{DnsServer, Reply, eventually};
use crate::dns_upstream::{
    LONG, MAX_TTL, MIN_TTL, NAME, SERVICE, SHORT, addresses_of, name, no_listener, resolver,
    searching, service_of,
};

/// An upstream with its source at work.
struct Source {
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    task: SourceTask,
}

impl Source {
    fn start(resolver: Resolver, config: DnsConfig) -> Self {
        let upstream = Arc::new(Upstream::new(Arc::new(upstream_config(config)), None, None));
        let metrics = Arc::new(Metrics::new().unwrap());
        let task = spawn(upstream.clone(), resolver, no_listener(), metrics.clone());
        Self {
            upstream,
            metrics,
            task,
        }
    }

    fn endpoints(&self) -> BTreeSet<String> {
        let set = self.upstream.endpoints();
        set.iter()
            .map(|endpoint| endpoint.spec.address.to_string())
            .collect()
    }

    async fn until(&self, endpoints: &[&str]) {
        let wanted: BTreeSet<String> = endpoints.iter().map(ToString::to_string).collect();
        eventually(&format!("{wanted:?}"), || self.endpoints() == wanted).await;
    }

    fn answers(&self, result: SourceResult) -> u64 {
        self.metrics.source_answers(&"u".into(), result).get()
    }

    /// Waits until `more` further answers with `result` were counted.
    async fn until_answers(&self, result: SourceResult, more: u64) {
        let wanted = self.answers(result) + more;
        let what = format!("{wanted} answers with result {result:?}");
        eventually(&what, || self.answers(result) >= wanted).await;
    }

    fn stale(&self) -> bool {
        self.metrics.source_stale(&"u".into()).get() == 1
    }

    fn last_error(&self) -> Option<String> {
        self.upstream.source_report().last_error
    }
}

fn upstream_config(config: DnsConfig) -> UpstreamConfig {
    let second = Duration::from_secs(1);
    UpstreamConfig {
        name: "u".into(),
        source: UpstreamSource::Dns(config),
        connect: ConnectPolicy {
            timeout: second,
            attempts: Attempts::saturating(3),
            hedge: None,
            source_addresses: Vec::new(),
        },
        proxy_protocol: None,
        balance: Balance::LeastConnections,
        slow_start: None,
        check: None,
        ejection: EjectionPolicy {
            consecutive_failures: 0,
            first_byte: Duration::from_secs(2),
            refused_sources: 5,
            max_percent: 50,
            panic_percent: 50,
            base: second,
            max: second,
        },
        limits: UpstreamLimits::OFF,
        limits_per_endpoint: UpstreamLimits::OFF,
        tcp: TcpOptions {
            keepalive_time: KeepaliveTime::new(1).unwrap(),
            keepalive_interval: KeepaliveInterval::new(1).unwrap(),
            keepalive_probes: 1,
            user_timeout: second,
            send_buffer: None,
            receive_buffer: None,
            unsent: None,
            mss: None,
        },
        timeouts: UpstreamTimeouts::OFF,
    }
}

#[tokio::test]
async fn both_families_make_one_set() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.2", "10.0.0.1", "2001:db8::1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source
        .until(&["10.0.0.1:8443", "10.0.0.2:8443", "[2001:db8::1]:8443"])
        .await;
    eventually("counted", || source.answers(SourceResult::Success) > 0).await;
    assert!(!source.stale());
    assert!(source.metrics.source_last_answer(&"u".into()).get() > 1.7e9);
    assert_eq!(source.last_error(), None);
    assert!(source.upstream.answered());
}

#[tokio::test]
async fn a_family_that_fails_keeps_what_it_had() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1", "2001:db8::1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source.until(&["10.0.0.1:8443", "[2001:db8::1]:8443"]).await;

    server.set_addresses(NAME, 60, &["10.0.0.2"]);
    let failure = Reply::Code(ResponseCode::ServFail);
    server.set(NAME, RecordType::AAAA, failure);
    source.until(&["10.0.0.2:8443", "[2001:db8::1]:8443"]).await;
    eventually("stale", || source.stale()).await;
    let error = source.last_error().unwrap();
    assert!(
        error.contains("AAAA of svcb.apps.example.: SERVFAIL"),
        "{error}"
    );

    server.set_addresses(NAME, 60, &["10.0.0.2"]);
    source.until(&["10.0.0.2:8443"]).await;
    eventually("fresh", || !source.stale()).await;
    assert_eq!(source.answers(SourceResult::Failure), 0);
}

#[tokio::test]
async fn an_outage_keeps_the_last_good_answer() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server], SHORT), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;

    for reply in [
        Reply::Code(ResponseCode::ServFail),
        Reply::Code(ResponseCode::Refused),
        Reply::Silence,
    ] {
        server.fail(reply);
        source.until_answers(SourceResult::Failure, 2).await;
        source.until(&["10.0.0.1:8443"]).await;
        assert!(source.stale());
        assert!(source.last_error().is_some());
    }

    server.recover();
    source.until_answers(SourceResult::Success, 1).await;
    eventually("fresh", || !source.stale()).await;
    assert_eq!(source.last_error(), None);
    server.set_addresses(NAME, 60, &["10.0.0.9"]);
    source.until(&["10.0.0.9:8443"]).await;
}

#[tokio::test]
async fn an_empty_answer_keeps_the_last_good_one() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;

    server.set_addresses(NAME, 60, &[]);
    source.until_answers(SourceResult::Empty, 2).await;
    server.fail(Reply::Code(ResponseCode::NXDomain));
    source.until_answers(SourceResult::Empty, 2).await;
    server.recover();
    server.set_addresses(NAME, 60, &["169.254.169.254"]);
    source.until_answers(SourceResult::Empty, 2).await;

    source.until(&["10.0.0.1:8443"]).await;
    assert!(source.stale());
    assert_eq!(source.answers(SourceResult::Failure), 0);
    let refused = source
        .metrics
        .source_refused_addresses(&"u".into(), RefusedAddress::Metadata);
    assert!(refused.get() >= 1);
    let error = source.last_error().unwrap();
    assert!(error.contains("169.254.169.254:8443"), "{error}");
    assert!(error.contains("`allow: [metadata]`"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_gone_for_long_enough_has_no_endpoints() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    let config = DnsConfig {
        gone_after: Some(Duration::from_millis(500)),
        ..addresses_of(NAME)
    };
    let source = Source::start(resolver(&[&server], LONG), config);
    source.until(&["10.0.0.1:8443"]).await;
    // An outage says nothing of the name, nor does an address that the policy refuses.
    let began = Instant::now();
    server.fail(Reply::Code(ResponseCode::ServFail));
    source.until_answers(SourceResult::Failure, 2).await;
    server.recover();
    server.set_addresses(NAME, 60, &["169.254.169.254"]);
    eventually("long enough", || began.elapsed() > Duration::from_secs(1)).await;
    source.until_answers(SourceResult::Empty, 2).await;
    source.until(&["10.0.0.1:8443"]).await;

    server.fail(Reply::Code(ResponseCode::NXDomain));
    source.until(&[]).await;
    assert!(source.last_error().is_some());
    server.recover();
    server.set_addresses(NAME, 60, &["10.0.0.2"]);
    source.until(&["10.0.0.2:8443"]).await;
}

#[tokio::test]
async fn a_first_answer_that_is_a_failure_is_an_answer() {
    let server = DnsServer::start().await;
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    eventually("answered", || source.upstream.answered()).await;
    assert_eq!(
        source.last_error().unwrap(),
        "`svcb.apps.example` has no A or AAAA record"
    );
    assert!(source.upstream.endpoints().is_empty());
}

#[tokio::test]
async fn ttl_0_is_not_asked_more_often_than_the_bound() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 0, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source.until_answers(SourceResult::Success, 8).await;
    let asked = server.asked_for(NAME, RecordType::A);
    for pair in asked.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= MIN_TTL, "{gap:?}");
    }
}

#[tokio::test]
async fn a_large_ttl_is_not_waited_for_longer_than_the_bound() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, u32::MAX >> 1, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;
    server.set_addresses(NAME, u32::MAX >> 1, &["10.0.0.2"]);
    source.until(&["10.0.0.2:8443"]).await;
    for pair in server.asked_for(NAME, RecordType::A).windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= MAX_TTL.mul_f64(0.9), "{gap:?}");
    }
}

#[tokio::test]
async fn the_same_answer_in_another_order_changes_nothing() {
    let server = DnsServer::start().await;
    let mut addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"];
    server.set_addresses(NAME, 0, &addresses);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    eventually("endpoints", || source.endpoints().len() == 4).await;
    let set = source.upstream.endpoints();
    for _ in 0..4 {
        addresses.rotate_left(1);
        server.set_addresses(NAME, 0, &addresses);
        source.until_answers(SourceResult::Success, 2).await;
    }
    assert!(Arc::ptr_eq(&set, &source.upstream.endpoints()));
}

#[tokio::test]
async fn a_target_that_fails_keeps_what_it_had() {
    let server = DnsServer::start().await;
    server.set_addresses("a.example", 60, &["10.0.0.1"]);
    server.set_addresses("b.example", 60, &["10.0.0.2"]);
    let services = [(0, 1, 1001, "a.example"), (0, 1, 1002, "b.example")];
    server.set_services(SERVICE, 60, &services);
    let source = Source::start(resolver(&[&server], LONG), service_of(SERVICE));
    source.until(&["10.0.0.1:1001", "10.0.0.2:1002"]).await;
    for family in [RecordType::A, RecordType::AAAA] {
        let failure = Reply::Code(ResponseCode::ServFail);
        server.set("a.example", family, failure);
    }
    server.set_addresses("b.example", 60, &["10.0.0.3"]);
    source.until(&["10.0.0.1:1001", "10.0.0.3:1002"]).await;
    eventually("stale", || source.stale()).await;
    // It is the record that says which targets there are.
    server.set_services(SERVICE, 60, &services[1..]);
    source.until(&["10.0.0.3:1002"]).await;
    eventually("fresh", || !source.stale()).await;
}

#[tokio::test]
async fn the_search_list_is_followed_and_what_answered_stays() {
    let server = DnsServer::start().await;
    server.set_addresses("svcb.apps.svc.example", 60, &["10.0.0.1"]);
    let search = [name("apps.svc.example"), name("svc.example")];
    let resolver = searching(&[&server], LONG, &search);
    let source = Source::start(resolver, addresses_of("svcb.apps"));
    source.until(&["10.0.0.1:8443"]).await;
    source.until_answers(SourceResult::Success, 3).await;
    let wrong = "svcb.apps.apps.svc.example";
    assert_eq!(server.asked_for(wrong, RecordType::A).len(), 1);
    assert_eq!(server.asked_for("svcb.apps", RecordType::A).len(), 0);

    // An outage of that spelling must not let another one take its place.
    server.set_addresses("svcb.apps", 60, &["10.6.6.6"]);
    for family in [RecordType::A, RecordType::AAAA] {
        let failure = Reply::Code(ResponseCode::ServFail);
        server.set("svcb.apps.svc.example", family, failure);
    }
    source.until_answers(SourceResult::Failure, 3).await;
    source.until(&["10.0.0.1:8443"]).await;
    assert_eq!(server.asked_for("svcb.apps", RecordType::A).len(), 0);

    // That it is gone may.
    server.set_addresses("svcb.apps.svc.example", 60, &[]);
    source.until(&["10.6.6.6:8443"]).await;
}

#[tokio::test]
async fn a_dropped_source_asks_no_more() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 0, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server], LONG), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;
    let weak = Arc::downgrade(&source.upstream);
    let Source { upstream, task, .. } = source;
    drop(task);
    drop(upstream);
    eventually("the task has let go", || weak.strong_count() == 0).await;
}

#[tokio::test]
async fn what_is_beyond_max_endpoints_is_counted() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let config = DnsConfig {
        max_endpoints: 2,
        ..addresses_of(NAME)
    };
    let source = Source::start(resolver(&[&server], LONG), config);
    eventually("endpoints", || source.endpoints().len() == 2).await;
    let set = source.upstream.endpoints();
    source.until_answers(SourceResult::Success, 2).await;
    let too_many = source
        .metrics
        .source_refused_addresses(&"u".into(), RefusedAddress::TooMany);
    assert_eq!(too_many.get(), source.answers(SourceResult::Success));
    assert!(Arc::ptr_eq(&set, &source.upstream.endpoints()));
}

#[tokio::test]
async fn a_name_that_is_answered_in_part_gives_its_addresses_and_then_the_problem() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 300, &["2001:db8::1"]);
    server.set(NAME, RecordType::A, Reply::Code(ResponseCode::ServFail));
    let mut watch = NameWatch::new(resolver(&[&server], LONG), name(NAME));
    let addresses = watch.next().await.unwrap();
    assert_eq!(
        addresses,
        ["2001:db8::1".parse::<std::net::IpAddr>().unwrap()]
    );
    // Without the problem it would wait for other addresses.
    let problem = tokio::time::timeout(LONG, watch.next()).await;
    let problem = problem.expect("the problem").unwrap_err().to_string();
    assert!(problem.contains(NAME), "{problem}");
}
