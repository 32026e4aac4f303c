//! Lines of the access log besides that at the end of every connection: of open ones, of a sample, in a format of
//! one's own.

use std::io::Write;
use std::net::TcpStream;

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, read_to_eof};
use crate::support::{SERVICE, wait_until};

/// A gateway in front of an echo, with these keys of its access log.
fn gateway(keys: &str) -> (TestGateway, Server) {
    let echo = Server::echo();
    let config = ConfigText::to(&[echo.address]).top(&format!("access_log: {{ {keys} }}"));
    (TestGateway::start(&config), echo)
}

/// A connection that relays, and whose hello has come back.
fn relayed(gateway: &TestGateway) -> TcpStream {
    let mut client = connect(gateway.address());
    let hello = hello(SERVICE, &["h2"]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    client
}

/// A connection without a route, refused to the end.
fn refused(gateway: &TestGateway) {
    let mut client = connect(gateway.address());
    client.write_all(&hello("nowhere.example", &[])).unwrap();
    read_to_eof(&mut client);
}

#[test]
fn a_connection_has_a_line_when_it_opens_in_each_interval_and_at_its_end() {
    let (gateway, echo) = gateway("open: true, interval: 1s");
    let mut client = relayed(&gateway);
    let source = client.local_addr().unwrap();
    let open = gateway.record_of(source);
    assert_eq!(open.event.as_deref(), Some("open"), "{open:?}");
    assert_eq!(open.server_name.as_deref(), Some(SERVICE));
    assert_eq!(open.endpoint, Some(echo.address));
    assert!(open.upstream_local.is_some(), "{open:?}");
    assert_eq!((&*open.outcome, open.to_downstream), ("", 0));
    client.write_all(&[7; 1000]).unwrap();
    read_exactly(&mut client, 1000);
    let sent = (hello(SERVICE, &["h2"]).len() + 1000) as u64;
    let (mut lines, mut complete) = (0, 0);
    while complete < 2 {
        lines += 1;
        assert!(lines < 20, "no line has all bytes");
        let interval = gateway.record_of(source);
        assert_eq!(interval.event.as_deref(), Some("interval"), "{interval:?}");
        assert_eq!(interval.connection, open.connection);
        assert!(interval.duration_ms >= 1000.0, "{interval:?}");
        // A line from before the bytes had come back has fewer, on a machine that stood still meanwhile.
        if interval.to_downstream == sent {
            assert_eq!(interval.to_upstream, sent, "{interval:?}");
            complete += 1;
        }
    }
    drop(client);
    let end = loop {
        let line = gateway.record_of(source);
        if line.event.is_none() {
            break line;
        }
    };
    assert_eq!((&*end.outcome, end.connection), ("ok", open.connection));
}

#[test]
fn connections_outside_of_the_sample_have_lines_only_if_they_fail() {
    let (gateway, _echo) = gateway("open: true, sample_ok: 0");
    drop(relayed(&gateway));
    wait_until("it has ended", || gateway.closed("ok") == 1.0);
    refused(&gateway);
    let record = gateway.record();
    assert_eq!((&*record.outcome, record.sampled), ("no_route", None));
}

#[test]
fn a_line_of_the_sample_says_so() {
    let (gateway, _echo) = gateway("open: true, sample_ok: 0.999999");
    drop(relayed(&gateway));
    for _ in 0..2 {
        assert_eq!(gateway.record().sampled, Some(0.999_999));
    }
}

#[test]
fn a_line_in_a_format_of_ones_own_has_the_addresses_of_both_ends() {
    let format = "%ACCESS_LOG_TYPE% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
                  %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %RESPONSE_FLAGS%";
    let (gateway, echo) = gateway(&format!("open: true, format: '{format}'"));
    let client = relayed(&gateway);
    let (source, here) = (client.local_addr().unwrap(), gateway.address());
    drop(client);
    for event in ["TcpUpstreamConnected", "TcpConnectionEnd"] {
        let expected = format!("{event} {source} {here} {} 127.0.0.1 -\n", echo.address);
        assert_eq!(gateway.line(), expected);
    }
    refused(&gateway);
    let line = gateway.line();
    assert!(line.starts_with("TcpConnectionEnd 127.0.0.1:"), "{line}");
    assert!(line.ends_with(" - - - NR\n"), "{line}");
}

#[test]
fn a_reload_changes_the_lines() {
    let echo = Server::echo();
    let config = |keys: &str, at| {
        let config = ConfigText::to(&[echo.address]).top(&format!("access_log: {{ {keys} }}"));
        match at {
            Some(at) => config.bind(at),
            None => config,
        }
    };
    let gateway = TestGateway::start(&config("open: true", None));
    let first = relayed(&gateway);
    assert_eq!(gateway.record().event.as_deref(), Some("open"));
    let at = Some(gateway.address());
    let own = "format: '%STRAIT(event)% %STRAIT(outcome)%', interval: 1s";
    gateway.reload(&config(own, at)).unwrap();
    let second = relayed(&gateway);
    assert_eq!(gateway.line(), "interval -\n", "the first line after it");
    gateway
        .reload(&config("format: off, open: true, interval: 1s", at))
        .unwrap();
    drop((first, second));
    wait_until("both have ended", || gateway.closed("ok") == 2.0);
}
