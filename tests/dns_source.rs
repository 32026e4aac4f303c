//! The DNS source against a real DNS server on loopback: what it asks, what it takes, what it
//! keeps, and what it refuses.

mod support {
    pub mod dns_server;
}

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use strait::config::{
    AddressKind, ConnectPolicy, DnsConfig, DnsQuery, EjectionPolicy, ResolverConfig, TcpOptions,
    UpstreamConfig, UpstreamSource,
};
use strait::metrics::Metrics;
use strait::server_name::ServerName;
use strait::source::dns::{Answer, DnsError, OwnAddresses, Resolver, SourceTask, resolve, spawn};
use strait::upstream::Upstream;
use support::dns_server::{DnsServer, Reply, absolute, alias, eventually};

const NAME: &str = "svcb.apps.example";
const SERVICE: &str = "_https._tcp.example";
/// Long enough for a loaded machine, short enough to wait for where a server is silent.
const TIMEOUT: Duration = Duration::from_millis(400);
const MIN_TTL: Duration = Duration::from_millis(20);
const MAX_TTL: Duration = Duration::from_millis(60);

fn name(text: &str) -> ServerName {
    ServerName::parse(text.as_bytes()).unwrap()
}

fn addresses_of(text: &str) -> DnsConfig {
    DnsConfig {
        query: DnsQuery::Address {
            name: name(text),
            port: 8443,
        },
        min_ttl: MIN_TTL,
        max_ttl: MAX_TTL,
        max_endpoints: 2000,
        allow: Vec::new(),
    }
}

fn service_of(text: &str) -> DnsConfig {
    DnsConfig {
        query: DnsQuery::Service { name: name(text) },
        ..addresses_of(text)
    }
}

fn resolver(servers: &[&DnsServer]) -> Resolver {
    Resolver::new(&ResolverConfig {
        servers: servers.iter().map(|server| server.address).collect(),
        timeout: TIMEOUT,
    })
    .unwrap()
}

fn no_listener() -> OwnAddresses {
    OwnAddresses::new(Vec::new())
}

async fn ask(server: &DnsServer, config: &DnsConfig) -> Result<Answer, DnsError> {
    resolve(&resolver(&[server]), config, &no_listener()).await
}

fn texts(answer: &Answer) -> Vec<String> {
    let address = |endpoint: &strait::config::EndpointSpec| endpoint.address.to_string();
    answer.endpoints.iter().map(address).collect()
}

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

    fn answers(&self, result: &str) -> u64 {
        self.metrics.source_answers("u", result).get()
    }

    /// Waits until `more` further answers with `result` were counted.
    async fn until_answers(&self, result: &str, more: u64) {
        let wanted = self.answers(result) + more;
        let what = format!("{wanted} answers with result {result}");
        eventually(&what, || self.answers(result) >= wanted).await;
    }

    fn stale(&self) -> bool {
        self.metrics.source_stale("u").get() == 1
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
            attempts: 3,
        },
        ejection: EjectionPolicy {
            consecutive_failures: 0,
            base: second,
            max: second,
        },
        tcp: TcpOptions {
            keepalive_time: second,
            keepalive_interval: second,
            keepalive_probes: 1,
            user_timeout: second,
        },
    }
}

#[tokio::test]
async fn both_families_make_one_set() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.2", "10.0.0.1", "2001:db8::1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    source
        .until(&["10.0.0.1:8443", "10.0.0.2:8443", "[2001:db8::1]:8443"])
        .await;
    eventually("counted", || source.answers("success") > 0).await;
    assert!(!source.stale());
    assert!(source.metrics.source_last_answer("u").get() > 1.7e9);
    assert_eq!(source.last_error(), None);
    assert!(source.upstream.answered());
}

#[tokio::test]
async fn a_family_that_has_no_record_is_no_failure() {
    let server = DnsServer::start().await;
    server.set_addresses("v4.example", 60, &["10.0.0.1"]);
    server.set_addresses("v6.example", 60, &["2001:db8::1"]);
    let nothing = Reply::Code(ResponseCode::NXDomain);
    server.set("v6.example", RecordType::A, nothing);
    let v4 = ask(&server, &addresses_of("v4.example")).await.unwrap();
    assert_eq!(texts(&v4), ["10.0.0.1:8443"]);
    assert_eq!(v4.problem, None);
    let v6 = ask(&server, &addresses_of("v6.example")).await.unwrap();
    assert_eq!(texts(&v6), ["[2001:db8::1]:8443"]);
    assert_eq!(v6.problem, None);
}

#[tokio::test]
async fn a_family_that_fails_keeps_what_it_had() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1", "2001:db8::1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
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
    assert_eq!(source.answers("failure"), 0);
}

#[tokio::test]
async fn an_outage_keeps_the_last_good_answer() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;

    for reply in [
        Reply::Code(ResponseCode::ServFail),
        Reply::Code(ResponseCode::Refused),
        Reply::Silence,
    ] {
        server.fail(reply);
        source.until_answers("failure", 2).await;
        source.until(&["10.0.0.1:8443"]).await;
        assert!(source.stale());
        assert!(source.last_error().is_some());
    }

    server.recover();
    source.until_answers("success", 1).await;
    eventually("fresh", || !source.stale()).await;
    assert_eq!(source.last_error(), None);
    server.set_addresses(NAME, 60, &["10.0.0.9"]);
    source.until(&["10.0.0.9:8443"]).await;
}

#[tokio::test]
async fn an_empty_answer_keeps_the_last_good_one() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;

    server.set_addresses(NAME, 60, &[]);
    source.until_answers("empty", 2).await;
    server.fail(Reply::Code(ResponseCode::NXDomain));
    source.until_answers("empty", 2).await;
    server.recover();
    server.set_addresses(NAME, 60, &["169.254.169.254"]);
    source.until_answers("empty", 2).await;

    source.until(&["10.0.0.1:8443"]).await;
    assert!(source.stale());
    assert_eq!(source.answers("failure"), 0);
    let refused = source.metrics.source_refused_addresses("u", "metadata");
    assert!(refused.get() >= 1);
    let error = source.last_error().unwrap();
    assert!(error.contains("169.254.169.254:8443"), "{error}");
    assert!(error.contains("`allow: [metadata]`"), "{error}");
}

#[tokio::test]
async fn a_first_answer_that_is_a_failure_is_an_answer() {
    let server = DnsServer::start().await;
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    eventually("answered", || source.upstream.answered()).await;
    assert_eq!(
        source.last_error().unwrap(),
        "`svcb.apps.example` has no A or AAAA record"
    );
    assert!(source.upstream.endpoints().is_empty());
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let server = DnsServer::start().await;
    server.fail(Reply::Silence);
    let search = [name("a.example"), name("b.example"), name("c.example")];
    let resolver = resolver(&[&server]).with_search_list(&search, 5);
    let start = Instant::now();
    let error = resolve(&resolver, &addresses_of(NAME), &no_listener())
        .await
        .unwrap_err();
    let took = start.elapsed();
    assert!(matches!(error, DnsError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("timed out"), "{error}");
    // Twice the timeout whatever the length of the search list, and time to notice.
    assert!(took < TIMEOUT * 3, "{took:?}");
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails() {
    for reply in [Reply::Code(ResponseCode::ServFail), Reply::Silence] {
        let (dead, alive) = (DnsServer::start().await, DnsServer::start().await);
        dead.fail(reply);
        alive.set_addresses(NAME, 60, &["10.0.0.1"]);
        let resolver = resolver(&[&dead, &alive]);
        for _ in 0..3 {
            let answer = resolve(&resolver, &addresses_of(NAME), &no_listener()).await;
            let answer = answer.unwrap();
            assert_eq!(texts(&answer), ["10.0.0.1:8443"]);
            assert_eq!(answer.problem, None);
        }
        let asked = dead.asked_for(NAME, RecordType::A).len();
        // Once by the first question, repeats of a lost packet aside.
        assert!(
            (1..=2).contains(&asked),
            "{asked} questions to the dead one"
        );
    }
}

#[tokio::test]
async fn ttl_is_held_within_its_bounds() {
    let server = DnsServer::start().await;
    let config = DnsConfig {
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_secs(300),
        ..addresses_of(NAME)
    };
    for (ttl, expected) in [(0, 5), (60, 60), (86_400, 300)] {
        server.set_addresses(NAME, ttl, &["10.0.0.1"]);
        let answer = ask(&server, &config).await.unwrap();
        assert_eq!(answer.ttl, Duration::from_secs(expected));
    }
    server.set_addresses(NAME, 60, &["10.0.0.1", "2001:db8::1"]);
    let record = Record::from_rdata(absolute(NAME), 30, RData::A(A::new(10, 0, 0, 2)));
    server.set(NAME, RecordType::A, Reply::Records(vec![record]));
    let answer = ask(&server, &config).await.unwrap();
    assert_eq!(answer.ttl, Duration::from_secs(30), "the smallest counts");
}

#[tokio::test]
async fn ttl_0_is_not_asked_more_often_than_the_bound() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 0, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    source.until_answers("success", 8).await;
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
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
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
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    eventually("endpoints", || source.endpoints().len() == 4).await;
    let set = source.upstream.endpoints();
    for _ in 0..4 {
        addresses.rotate_left(1);
        server.set_addresses(NAME, 0, &addresses);
        source.until_answers("success", 2).await;
    }
    assert!(Arc::ptr_eq(&set, &source.upstream.endpoints()));
}

#[tokio::test]
async fn kinds_of_address_are_refused_unless_allowed_by_name() {
    let server = DnsServer::start().await;
    for (ip, kind) in [
        ("127.0.0.1", AddressKind::Loopback),
        ("::1", AddressKind::Loopback),
        ("::ffff:127.0.0.1", AddressKind::Loopback),
        ("169.254.1.1", AddressKind::LinkLocal),
        ("fe80::1", AddressKind::LinkLocal),
        ("169.254.169.254", AddressKind::Metadata),
        ("::ffff:169.254.169.254", AddressKind::Metadata),
        ("fd00:ec2::254", AddressKind::Metadata),
        ("0.0.0.0", AddressKind::Unspecified),
        ("::", AddressKind::Unspecified),
        ("224.0.0.1", AddressKind::Multicast),
        ("ff02::1", AddressKind::Multicast),
    ] {
        server.set_addresses(NAME, 60, &["10.0.0.1", ip]);
        let mut config = addresses_of(NAME);
        let answer = ask(&server, &config).await.unwrap();
        assert_eq!(texts(&answer), ["10.0.0.1:8443"], "{ip}");
        assert_eq!(answer.refused.len(), 1, "{ip}");
        assert_eq!(answer.refused[0].1, kind, "{ip}");
        config.allow = vec![kind];
        let answer = ask(&server, &config).await.unwrap();
        assert_eq!(answer.endpoints.len(), 2, "{ip}");
        assert!(answer.refused.is_empty(), "{ip}");
    }
}

#[tokio::test]
async fn a_mapped_address_is_used_as_ipv4() {
    let server = DnsServer::start().await;
    server.set_addresses(
        NAME,
        60,
        &["10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.2"],
    );
    let answer = ask(&server, &addresses_of(NAME)).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:8443", "10.0.0.2:8443"]);
}

#[tokio::test]
async fn an_answer_does_not_lead_back_into_the_gateway() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["127.0.0.1", "10.0.0.1"]);
    let own = OwnAddresses::new(vec!["[::]:8443".parse().unwrap()]);
    let mut config = addresses_of(NAME);
    config.allow = vec![AddressKind::Loopback];
    let resolver = resolver(&[&server]);
    let answer = resolve(&resolver, &config, &own).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:8443"]);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 8443));
    assert_eq!(answer.refused, [(loopback, AddressKind::OwnListener)]);

    own.replace(vec!["[::]:15443".parse().unwrap()]);
    let answer = resolve(&resolver, &config, &own).await.unwrap();
    assert_eq!(answer.endpoints.len(), 2, "another port is no loop");
}

#[tokio::test]
async fn a_thousand_records_come_over_tcp_and_are_bounded() {
    let server = DnsServer::start().await;
    let record = |n: u16| {
        let [high, low] = n.to_be_bytes();
        Record::from_rdata(absolute(NAME), 60, RData::A(A::new(10, 1, high, low)))
    };
    let mut records: Vec<Record> = (0..1000).map(record).collect();
    server.set(NAME, RecordType::A, Reply::Records(records.clone()));
    let mut config = addresses_of(NAME);
    let answer = ask(&server, &config).await.unwrap();
    assert_eq!(answer.endpoints.len(), 1000);
    assert_eq!(answer.too_many, 0);
    let asked = server.asked_for(NAME, RecordType::A);
    let over_tcp: Vec<bool> = asked.iter().map(|asked| asked.over_tcp).collect();
    assert_eq!(over_tcp, [false, true]);

    config.max_endpoints = 100;
    let some = ask(&server, &config).await.unwrap();
    assert_eq!((some.endpoints.len(), some.too_many), (100, 900));
    records.reverse();
    server.set(NAME, RecordType::A, Reply::Records(records));
    let same = ask(&server, &config).await.unwrap();
    assert_eq!(some.endpoints, same.endpoints);

    let source = Source::start(resolver(&[&server]), config);
    eventually("endpoints", || source.endpoints().len() == 100).await;
    let too_many = source.metrics.source_refused_addresses("u", "too_many");
    assert!(too_many.get() >= 900);
}

#[tokio::test]
async fn services_give_ports_and_weights() {
    let server = DnsServer::start().await;
    server.set_addresses("a.example", 60, &["10.0.0.1", "2001:db8::1"]);
    server.set_addresses("b.example", 20, &["10.0.0.2"]);
    server.set_addresses("c.example", 1, &["10.0.0.3"]);
    server.set_services(
        SERVICE,
        30,
        &[
            (10, 0, 1001, "a.example"),
            (10, 7, 1002, "b.example"),
            (20, 9, 1003, "c.example"),
        ],
    );
    let config = DnsConfig {
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
        ..service_of(SERVICE)
    };
    let answer = ask(&server, &config).await.unwrap();
    let weights: Vec<_> = answer
        .endpoints
        .iter()
        .map(|spec| (spec.address.to_string(), spec.weight))
        .collect();
    assert_eq!(
        weights,
        [
            ("10.0.0.1:1001".to_owned(), 1),
            ("10.0.0.2:1002".to_owned(), 7),
            ("[2001:db8::1]:1001".to_owned(), 1),
        ]
    );
    assert_eq!(answer.ttl, Duration::from_secs(20), "of the records used");
    assert_eq!(server.asked_for("c.example", RecordType::A).len(), 0);
}

#[tokio::test]
async fn the_next_priority_is_used_when_no_target_of_the_first_resolves() {
    let server = DnsServer::start().await;
    server.set_addresses("loop.example", 60, &["127.0.0.1"]);
    server.set_addresses("b.example", 60, &["10.0.0.2"]);
    server.set_services(
        SERVICE,
        30,
        &[
            (1, 1, 1001, "gone.example"),
            (2, 1, 1002, "loop.example"),
            (3, 1, 1003, "b.example"),
        ],
    );
    let answer = ask(&server, &service_of(SERVICE)).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.2:1003"]);
    assert_eq!(answer.refused.len(), 1);
    assert_eq!(answer.problem, None);
}

#[tokio::test]
async fn a_service_that_says_it_is_not_there_gives_nothing() {
    let server = DnsServer::start().await;
    server.set_services(SERVICE, 30, &[(0, 0, 0, ".")]);
    let answer = ask(&server, &service_of(SERVICE)).await.unwrap();
    assert!(answer.endpoints.is_empty());
    let name = SERVICE.to_owned();
    assert_eq!(answer.problem, Some(DnsError::NotAvailable { name }));
    assert_eq!(server.asked().len(), 1, "the root is not asked for");
}

#[tokio::test]
async fn a_target_that_fails_keeps_what_it_had() {
    let server = DnsServer::start().await;
    server.set_addresses("a.example", 60, &["10.0.0.1"]);
    server.set_addresses("b.example", 60, &["10.0.0.2"]);
    let services = [(0, 1, 1001, "a.example"), (0, 1, 1002, "b.example")];
    server.set_services(SERVICE, 60, &services);
    let source = Source::start(resolver(&[&server]), service_of(SERVICE));
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
    let resolver = resolver(&[&server]).with_search_list(&search, 5);
    let source = Source::start(resolver, addresses_of("svcb.apps"));
    source.until(&["10.0.0.1:8443"]).await;
    source.until_answers("success", 3).await;
    let wrong = "svcb.apps.apps.svc.example";
    assert_eq!(server.asked_for(wrong, RecordType::A).len(), 1);
    assert_eq!(server.asked_for("svcb.apps", RecordType::A).len(), 0);

    // An outage of that spelling must not let another one take its place.
    server.set_addresses("svcb.apps", 60, &["10.6.6.6"]);
    for family in [RecordType::A, RecordType::AAAA] {
        let failure = Reply::Code(ResponseCode::ServFail);
        server.set("svcb.apps.svc.example", family, failure);
    }
    source.until_answers("failure", 3).await;
    source.until(&["10.0.0.1:8443"]).await;
    assert_eq!(server.asked_for("svcb.apps", RecordType::A).len(), 0);

    // That it is gone may.
    server.set_addresses("svcb.apps.svc.example", 60, &[]);
    source.until(&["10.6.6.6:8443"]).await;
}

#[tokio::test]
async fn a_search_domain_that_fails_does_not_hide_the_name() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    for family in [RecordType::A, RecordType::AAAA] {
        let failure = Reply::Code(ResponseCode::ServFail);
        server.set(&format!("{NAME}.corp.example"), family, failure);
    }
    let resolver = resolver(&[&server]).with_search_list(&[name("corp.example")], 5);
    let config = addresses_of(NAME);
    let answer = resolve(&resolver, &config, &no_listener()).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:8443"]);

    server.set_addresses(NAME, 60, &[]);
    let answer = resolve(&resolver, &config, &no_listener()).await;
    assert!(
        matches!(answer, Err(DnsError::Failed { .. })),
        "what failed may have had it"
    );
}

#[tokio::test]
async fn aliases_are_followed_to_a_limit() {
    let server = DnsServer::start().await;
    let config = DnsConfig {
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
        ..addresses_of(NAME)
    };
    for family in [RecordType::A, RecordType::AAAA] {
        let open_end = Reply::Records(vec![alias(NAME, 7, "real.example")]);
        server.set(NAME, family, open_end);
    }
    server.set_addresses("real.example", 60, &["10.0.0.1"]);
    let answer = ask(&server, &config).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:8443"]);
    assert_eq!(answer.ttl, Duration::from_secs(7), "the alias's own");

    for family in [RecordType::A, RecordType::AAAA] {
        let there = Reply::Records(vec![alias(NAME, 7, "real.example")]);
        let and_back = Reply::Records(vec![alias("real.example", 7, NAME)]);
        server.set(NAME, family, there);
        server.set("real.example", family, and_back);
    }
    let error = ask(&server, &config).await.unwrap_err();
    assert!(matches!(error, DnsError::TooManyAliases { .. }), "{error}");

    let mut records = vec![alias(SERVICE, 60, "_x._tcp.example")];
    server.set_addresses("a.example", 60, &["10.0.0.2"]);
    records.push(Record::from_rdata(
        absolute("_x._tcp.example"),
        60,
        RData::SRV(hickory_proto::rr::rdata::SRV::new(
            0,
            1,
            80,
            absolute("a.example"),
        )),
    ));
    server.set(SERVICE, RecordType::SRV, Reply::Records(records));
    let answer = ask(&server, &service_of(SERVICE)).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.2:80"]);
}

#[tokio::test]
async fn a_dropped_source_asks_no_more() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 0, &["10.0.0.1"]);
    let source = Source::start(resolver(&[&server]), addresses_of(NAME));
    source.until(&["10.0.0.1:8443"]).await;
    let weak = Arc::downgrade(&source.upstream);
    let Source { upstream, task, .. } = source;
    drop(task);
    drop(upstream);
    eventually("the task has let go", || weak.strong_count() == 0).await;
}
