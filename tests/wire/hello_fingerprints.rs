//! The description of clients' software in the access log and the metrics. It stays a closed set.

use std::io::Write;

use strait::client_hello::vectors::{HelloBuilder, vector_u16};
use strait::tools::records::LogLine;

use crate::support::SERVICE;
use crate::support::client::connect;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly};

/// The record of a connection with this hello.
fn record(gateway: &TestGateway, hello: &HelloBuilder, record_len: usize) -> LogLine {
    let wire = hello.wire_in_records_of(record_len);
    let mut client = connect(gateway.address());
    client.write_all(&wire[..1]).unwrap();
    client.write_all(&wire[1..]).unwrap();
    assert_eq!(read_exactly(&mut client, wire.len()), wire);
    drop(client);
    gateway.record()
}

#[test]
fn a_record_tells_what_the_hello_offers() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let gateway = TestGateway::start(&config);
    // X25519MLKEM768, one that nobody knows, and X25519.
    let groups = vector_u16(&[0x11, 0xec, 0xff, 0x01, 0x00, 0x1d]);
    let modern = HelloBuilder::bare(0x0303)
        .extension(43, [6, 0x1a, 0x1a, 3, 4, 3, 3])
        .extension(10, groups)
        .server_name(SERVICE);
    let plain = record(&gateway, &modern, 16_384);
    assert_eq!(plain.tls_versions.as_deref(), Some("1.3,1.2"));
    assert_eq!(plain.pq_groups.as_deref(), Some("X25519MLKEM768"));
    assert_eq!(plain.ja4, None, "it costs, so it must be asked for");

    let old = HelloBuilder::bare(0x0302).server_name(SERVICE);
    let old = record(&gateway, &old, 3);
    assert_eq!(old.tls_versions.as_deref(), Some("1.1"));
    assert_eq!(old.pq_groups, None);

    let hellos = |version, post_quantum| {
        let labels = [("tls_version", version), ("post_quantum", post_quantum)];
        gateway.metric("strait_hellos_total", &labels)
    };
    assert_eq!(hellos("1.3", "yes"), 1.0);
    assert_eq!(hellos("1.1", "no"), 1.0);
    assert_eq!(gateway.metric("strait_hellos_total", &[]), 2.0);
    let series = gateway.samples();
    let series = series
        .iter()
        .filter(|(key, _)| key.starts_with("strait_hellos_total"));
    assert_eq!(series.count(), 10, "five versions, with and without");
}

#[test]
fn ja4_is_logged_when_the_config_asks_for_it() {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]);
    let on = config.clone().top("access_log: { fingerprint: ja4 }");
    let gateway = TestGateway::start(&on);
    let hello = HelloBuilder::tls13().server_name(SERVICE).alpn(&["istio"]);
    // The same however the hello comes.
    for record_len in [16_384, 7] {
        let record = record(&gateway, &hello, record_len);
        assert_eq!(
            record.ja4.as_deref(),
            Some("t13d0506io_e133e205ac38_c959eabeb08b")
        );
    }
    gateway.reload(&config).unwrap();
    assert_eq!(record(&gateway, &hello, 16_384).ja4, None);
    gateway.reload(&on).unwrap();
    assert!(record(&gateway, &hello, 16_384).ja4.is_some());
}
