//! The status page of a running gateway, as HTML, as text and as JSON.

use std::io::Write;
use std::net::TcpStream;

use strait::admin::overview::{Overview, TroubleLevel};

use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly, refusing_address};
use crate::support::{SERVICE, wait_until};

/// A connection with this server name, from which the echo has come back.
fn call(gateway: &TestGateway, server_name: &str) -> TcpStream {
    let mut client = connect(gateway.address());
    let hello = hello(server_name, &["istio"]);
    client.write_all(&hello).unwrap();
    read_exactly(&mut client, hello.len());
    client
}

/// A connection with this server name, which the gateway ends.
fn refused_call(gateway: &TestGateway, server_name: &str) {
    let mut client = connect(gateway.address());
    client.write_all(&hello(server_name, &["istio"])).unwrap();
    let _ = std::io::Read::read_to_end(&mut client, &mut Vec::new());
}

fn overview(gateway: &TestGateway, query: &str) -> Overview {
    let (status, text) = gateway.admin("GET", &format!("/status{query}"));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// A gateway with two routes, one to an echo and one to an endpoint that refuses.
fn gateway() -> (TestGateway, Server) {
    let (echo, closed) = (Server::echo(), refusing_address());
    let text = format!(
        "
sources:
  - {{ name: local, cidrs: [127.0.0.0/8], limits: {{ connections: 10 }} }}
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes:
      - {{ name: good, sni: good.example, alpn: any, upstream: good }}
      - {{ name: bad, sni: bad.example, alpn: any, upstream: bad }}
upstreams:
  good: {{ endpoints: ['{}'] }}
  bad: {{ endpoints: ['{closed}'] }}
",
        echo.address
    );
    let gateway = TestGateway::start(&ConfigText::verbatim(&text));
    gateway.wait_ready();
    (gateway, echo)
}

#[test]
fn a_program_reads_the_state_with_the_types_of_strait() {
    let (gateway, echo) = gateway();
    let before = overview(&gateway, "");
    assert_eq!(before.troubles.rows, [], "nothing is wrong");
    assert!(before.state.ready);
    assert_eq!(before.identity.version, env!("CARGO_PKG_VERSION"));
    assert!(before.identity.pod.is_some());
    assert_eq!(before.traffic.connections, 0);
    assert_eq!(
        before.configuration.listeners[0].bound,
        Some(gateway.address())
    );
    assert!(before.configuration.loaded.is_some());
    assert_eq!(before.configuration.generation, Some(1));

    let open: Vec<TcpStream> = (0..8).map(|_| call(&gateway, "good.example")).collect();
    let names = ["bad.example"; 3].into_iter().chain(["goood.example"; 2]);
    for name in names {
        refused_call(&gateway, name);
        // It keeps its place until both sides have closed it, and the group has two places left.
        wait_until("it has ended", || {
            let now = overview(&gateway, "");
            (now.connections.all, now.limits.rows[0].used) == (8, 8)
        });
    }
    let now = overview(&gateway, "");
    assert_eq!(now.traffic.connections, 13);
    let route = |name: &str| {
        let mut rows = now.routes.rows.iter();
        rows.find(|row| row.route == name).unwrap()
    };
    assert_eq!((route("good").open, route("good").total), (8, 8));
    assert_eq!(
        (route("good").state.as_str(), route("good").ready_endpoints),
        ("ok", 1)
    );
    assert_eq!((route("bad").total, route("bad").failed), (3, 3));
    assert_eq!(now.routes.rows[0].route, "bad", "troubled ones first");
    assert_eq!(now.routes.all, 2);
    let good = now
        .endpoints
        .rows
        .iter()
        .find(|row| row.upstream == "good")
        .unwrap();
    assert_eq!(good.address, Some(echo.address));
    assert_eq!((good.active, good.connections), (8, 8));
    let outcome = |name: &str| {
        let mut rows = now.outcomes.iter();
        rows.find(|row| row.outcome == name).unwrap()
    };
    assert_eq!(outcome("connect_refused").total, 3);
    assert_eq!(outcome("connect_refused").place.as_deref(), Some("bad"));
    assert_eq!(outcome("no_route").now, 2);
    let alike: Vec<(&str, usize)> = now
        .failures
        .rows
        .iter()
        .map(|row| (&*row.outcome, row.alike))
        .collect();
    assert_eq!(alike, [("no_route", 2), ("connect_refused", 3)]);
    let no_route = now
        .failures
        .rows
        .iter()
        .find(|row| row.outcome == "no_route")
        .unwrap();
    assert_eq!(no_route.server_name.as_deref(), Some("goood.example"));
    assert_eq!(no_route.group, "local");
    assert_eq!(
        no_route.detail.as_deref(),
        Some("spelled most like good.example")
    );
    assert_eq!(now.slow_connects.rows.len(), 8);
    assert!(
        now.slow_connects
            .rows
            .is_sorted_by(|one, other| one.took_ms >= other.took_ms)
    );
    assert!(
        now.slow_connects
            .rows
            .iter()
            .all(|row| row.endpoint == Some(echo.address))
    );
    let files = now
        .limits
        .rows
        .iter()
        .find(|row| row.limit == "open_files")
        .unwrap();
    assert!(files.used > 16 && files.used < files.most, "{files:?}");
    assert_eq!(now.connections.all, 8);
    assert_eq!(now.connections.rows.len(), 8);
    assert_eq!(now.connections.rows[0].endpoint, Some(echo.address));
    let limit = &now.limits.rows[0];
    assert_eq!(
        (limit.scope.as_str(), limit.used, limit.most),
        ("source_group", 8, 10)
    );
    assert_eq!(now.groups[0].group, "local");
    assert_eq!(now.groups[0].total, 13);

    let level = |level| {
        let mut rows = now.troubles.rows.iter();
        rows.find(|trouble| trouble.level == level).unwrap()
    };
    let failing = level(TroubleLevel::Failing);
    assert_eq!(failing.title, "Every call to bad fails: connect_refused");
    assert_eq!(failing.search.as_deref(), Some("bad"));
    let near = level(TroubleLevel::NearLimit);
    assert!(
        near.title.contains("source group local: 8 of 10"),
        "{near:?}"
    );
    drop(open);
}

#[test]
fn a_question_narrows_sorts_and_pages_the_tables() {
    let (gateway, _echo) = gateway();
    let _open = call(&gateway, "good.example");
    refused_call(&gateway, "bad.example");
    wait_until("the call has failed and ended", || {
        let now = overview(&gateway, "");
        (now.failures.all, now.connections.all) == (1, 1)
    });
    let found = overview(&gateway, "?q=BAD");
    let names: Vec<&str> = found.routes.rows.iter().map(|row| &*row.route).collect();
    assert_eq!(names, ["bad"]);
    assert_eq!((found.routes.all, found.routes.matched), (2, 1));
    assert_eq!(found.endpoints.matched, 1);
    assert_eq!(found.connections.rows, []);
    let second = overview(&gateway, "?rows=1&page=2");
    assert_eq!((second.routes.first, second.routes.rows.len()), (1, 1));
    assert_eq!(second.routes.rows[0].route, "good");
    let other = overview(&gateway, "?group=other");
    assert_eq!(other.traffic.connections, 0);
    assert_eq!(other.connections.rows, []);
    for wrong in [
        "?sort=x",
        "?rows=0",
        "?rows=1001",
        "?page=x",
        "?no_such_key=1",
    ] {
        let (status, text) = gateway.admin("GET", &format!("/status{wrong}"));
        assert_eq!((status, text.lines().count()), (400, 1), "{wrong}: {text}");
    }
}

#[test]
fn an_upstream_without_endpoints_that_is_called_comes_first() {
    let gateway = TestGateway::start(&ConfigText::to(&[refusing_address()]));
    gateway.wait_ready();
    let quiet = overview(&gateway, "");
    assert_eq!(quiet.troubles.rows, []);
    (0..3).for_each(|_| refused_call(&gateway, SERVICE));
    wait_until("the endpoint is the trouble", || {
        let now = overview(&gateway, "");
        now.endpoints.rows[0].state != "ready"
            && now
                .troubles
                .rows
                .first()
                .is_some_and(|trouble| trouble.title.starts_with("Every call"))
    });
}
