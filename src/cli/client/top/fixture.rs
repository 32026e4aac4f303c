//! A gateway as the tests of `strait top` show it.

use serde_json::json;

use super::ink::TopInk;
use super::model::{TopAnswers, TopModel};
use super::paint;
use super::view::TopView;
use crate::admin::overview::{
    EndpointRow, LimitRow, Overview, RouteRow, RowPage, Spans, Trouble, TroubleLevel,
};

pub(super) const ASCII: TopInk = TopInk {
    ascii: true,
    colours: false,
};

/// A text that no terminal may get: an escape sequence, a byte that begins one, and a character that turns the line round.
pub(super) const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31m\u{202e}\r\n";

fn page<T>(rows: Vec<T>) -> RowPage<T> {
    RowPage {
        all: rows.len(),
        matched: rows.len(),
        first: 0,
        rows,
    }
}

pub(super) fn route(name: &str, state: &str, new: f64) -> RouteRow {
    RouteRow {
        listener: "east-west".to_owned(),
        route: name.to_owned(),
        state: state.to_owned(),
        alpn: "istio".to_owned(),
        upstreams: vec![format!("{name}-up")],
        origin: "the file".to_owned(),
        ready_endpoints: 2,
        endpoints: 3,
        new_per_second: new,
        failing_share: Some(0.049),
        open: 611,
        to_upstream_per_second: 1024.0,
        to_downstream_per_second: 22_439_526.0,
        total: 88_740,
        failed: 953,
        ..RouteRow::default()
    }
}

fn endpoint(upstream: &str, address: Option<&str>, state: &str) -> EndpointRow {
    EndpointRow {
        upstream: upstream.to_owned(),
        address: address.map(|address| address.parse().unwrap()),
        state: state.to_owned(),
        reason: (state != "ready").then(|| format!("it is {state}")),
        active: 148,
        connections: 1000,
        failed_before_reply: 953,
        connect_p99_ms: Some(1022.0),
        last_failure: Some("2026-11-29T03:24:07.120Z".to_owned()),
        last_outcome: Some("upstream_closed_before_reply".to_owned()),
        zone: Some("zone-a".to_owned()),
        ..EndpointRow::default()
    }
}

pub(super) fn overview() -> Overview {
    let mut overview = Overview::default();
    overview.identity.version = "0.2.0".to_owned();
    overview.identity.commit = "8c1f0e2d4aaaaaaaaaaa".to_owned();
    overview.identity.pod = Some("strait-x2lqk".to_owned());
    overview.identity.zone = Some("eu-central-1b".to_owned());
    overview.identity.now = "2026-11-29T03:24:10.000Z".to_owned();
    overview.identity.uptime_seconds = 543_600;
    overview.state.ready = true;
    overview.state.words = "ready".to_owned();
    let trouble = |level, title: &str| Trouble {
        level,
        title: title.to_owned(),
        sentence: format!("{title}: the evidence"),
        details: vec!["one fact".to_owned()],
        lost_per_second: None,
        since: None,
        command: Some("strait upstreams svcx".to_owned()),
        search: None,
    };
    overview.troubles = page(vec![
        trouble(TroubleLevel::Failing, "upstream svcx has no endpoint"),
        trouble(TroubleLevel::NearLimit, "connections of alpha"),
    ]);
    let spans = |now: f64| Spans {
        now: Some(now),
        minutes: vec![Some(1.0), Some(4.0), Some(8.0)],
        ..Spans::default()
    };
    overview.traffic.new_per_second = spans(365.0);
    overview.traffic.open = spans(8263.0);
    overview.traffic.failing_per_second = spans(9.2);
    overview.traffic.to_downstream_per_second = spans(219_152_384.0);
    let limit = |name: &str, used: u64| LimitRow {
        scope: "process".to_owned(),
        name: name.to_owned(),
        limit: "connections".to_owned(),
        used,
        most: 100,
        share: f64::from(u32::try_from(used).unwrap()) / 100.0,
    };
    overview.limits = page(vec![limit("alpha", 94), limit("", 41)]);
    overview.routes = page(vec![
        route("svca", "ok", 137.0),
        route("svcb", "failing", 2.8),
        route(HOSTILE, "ok", 0.0),
    ]);
    overview.endpoints = page(vec![
        endpoint("svca", Some("10.1.3.44:50051"), "ready"),
        endpoint("svcb", Some("10.1.4.17:8443"), "ejected"),
        endpoint("svcb", Some("10.1.4.18:8443"), "drained"),
        endpoint("svcx", None, "none"),
    ]);
    overview
}

/// The answers for a view, at a time. The connection 7 has got a MiB each second.
pub(super) fn answers(at: u64) -> TopAnswers {
    let connection = |id: u64, source: &str, name: Option<&str>, down: u64| {
        json!({
            "id": id,
            "worker": 0,
            "listener": "east-west",
            "source": source,
            "source_group": "alpha",
            "server_name": name,
            "alpn": "istio,h2",
            "route": "svca",
            "upstream": "svca",
            "endpoint": "10.1.3.44:50051",
            "upstream_local": "10.4.23.118:41022",
            "state": "relaying",
            "handshake": "established",
            "tls_version": "1.3",
            "start": "2026-11-29T00:13:04.000Z",
            "age_ms": 11_466_000,
            "idle_ms": 900,
            "to_upstream_bytes": 2_362_232_012_u64,
            "to_downstream_bytes": down,
        })
    };
    let connections = json!({ "open": 8263, "matched": 2, "connections": [
        connection(7, "10.0.3.7:33790", Some("svca.apps.example"), at * 1024 * 1024 / 1000),
        connection(8, "[2001:db8::1]:4000", Some(HOSTILE), 5),
        connection(9, "10.0.3.9:1", None, 4),
    ] });
    let sources = json!({ "open": 3, "sources_open": 3, "sources": [
        { "source": "2001:db8:7::/64", "source_group": "alpha", "open": 3, "to_upstream_bytes": 0,
          "to_downstream_bytes": 0, "oldest_ms": 10 },
        { "source": "10.0.3.7", "source_group": "alpha", "open": 204, "to_upstream_bytes": 5,
          "to_downstream_bytes": 7, "oldest_ms": 1000 },
        { "source": "10.77.3.4", "source_group": "other", "open": 311, "to_upstream_bytes": 0,
          "to_downstream_bytes": 0, "oldest_ms": 2000 },
        // A source whose connections have all ended: `/sources` lists it for a while.
        { "source": "10.0.9.9", "source_group": "alpha", "open": 0, "to_upstream_bytes": 0,
          "to_downstream_bytes": 0, "oldest_ms": null },
    ] });
    TopAnswers {
        overview: overview(),
        found: None,
        connections: serde_json::from_value(connections).unwrap(),
        sources: serde_json::from_value(sources).unwrap(),
        at,
    }
}

/// A state that has looked twice, two seconds apart.
pub(super) fn model(view: TopView) -> TopModel {
    let mut model = TopModel::new("127.0.0.1:15000".to_owned(), view, 5, "");
    model.answered(view, answers(1000));
    model.answered(view, answers(3000));
    model.fit(paint::rows(30));
    model
}
