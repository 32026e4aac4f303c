//! The result of one round of DNS queries: families, SRV, aliases, servers, and refused addresses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{RData, Record, RecordType};
use strait::config::{AddressKind, DnsConfig};
use strait::source::dns::{DnsError, OwnAddresses, resolve};

use crate::dns_server::{DnsServer, Reply, absolute, alias};
use crate::dns_upstream::{
    LONG, NAME, SERVICE, SHORT, addresses_of, ask, name, no_listener, resolver, searching,
    service_of, texts,
};

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
async fn a_silent_server_is_given_up_in_time() {
    let server = DnsServer::start().await;
    server.fail(Reply::Silence);
    let search: Vec<_> = (0..32).map(|n| name(&format!("d{n}.example"))).collect();
    let resolver = searching(&[&server], SHORT, &search);
    let start = Instant::now();
    let error = resolve(&resolver, &addresses_of(NAME), &no_listener())
        .await
        .unwrap_err();
    let took = start.elapsed();
    assert!(matches!(error, DnsError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("timed out"), "{error}");
    // Twice the timeout whatever the length of the search list, and time to notice. Each of its names would take one.
    assert!(took < SHORT * 16, "{took:?}");
}

#[tokio::test]
async fn another_server_is_asked_when_one_fails() {
    for reply in [Reply::Code(ResponseCode::ServFail), Reply::Silence] {
        let (dead, alive) = (DnsServer::start().await, DnsServer::start().await);
        dead.fail(reply);
        alive.set_addresses(NAME, 60, &["10.0.0.1"]);
        // What the dead one takes of the time for both leaves this much to a machine that stands still.
        let resolver = resolver(&[&dead, &alive], Duration::from_secs(3));
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
    let resolver = resolver(&[&server], LONG);
    let answer = resolve(&resolver, &config, &own).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:8443"]);
    let loopback = SocketAddr::from(([127, 0, 0, 1], 8443));
    assert_eq!(answer.refused, [(loopback, AddressKind::OwnListener)]);

    own.replace(vec!["[::]:15443".parse().unwrap()]);
    let answer = resolve(&resolver, &config, &own).await.unwrap();
    assert_eq!(answer.endpoints.len(), 2, "another port is no loop");
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
        .map(|spec| (spec.address.to_string(), spec.weight.get()))
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
async fn a_search_domain_that_fails_does_not_hide_the_name() {
    let server = DnsServer::start().await;
    server.set_addresses(NAME, 60, &["10.0.0.1"]);
    for family in [RecordType::A, RecordType::AAAA] {
        let failure = Reply::Code(ResponseCode::ServFail);
        server.set(&format!("{NAME}.corp.example"), family, failure);
    }
    let resolver = searching(&[&server], LONG, &[name("corp.example")]);
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
        RData::SRV(SRV::new(0, 1, 80, absolute("a.example"))),
    ));
    server.set(SERVICE, RecordType::SRV, Reply::Records(records));
    let answer = ask(&server, &service_of(SERVICE)).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.2:80"]);
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
}
