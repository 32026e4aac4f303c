//! The answers of the admin server.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use strait::admin::{ADMIN_PATHS, ServeLimits, Snapshot, admin_router};
use strait::config::LogFormat;
use strait::outcome::Outcome;
use strait::upstream::Conduct;

use crate::operator::http::{Gateway, ask, ask_with, get};
use crate::operator::{self, Capture};

async fn serve(gateway: &Gateway) -> SocketAddr {
    let router = admin_router(gateway.context.clone());
    gateway.serve(router, ServeLimits::default()).await
}

#[tokio::test]
async fn config_dump_shows_the_config_as_it_runs() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    let dump = get(address, "/config_dump").await.json();
    assert_eq!(dump["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        dump["bound"],
        json!([{ "listener": "east-west", "address": "127.0.0.1:31443" }])
    );
    let config = &dump["config"];
    let listener = &config["listeners"][0];
    assert_eq!(listener["bind"], "0.0.0.0:15443");
    assert_eq!(listener["client_hello"]["timeout"], "5s");
    assert_eq!(listener["timeouts"]["idle"], "1h");
    assert_eq!(
        listener["routes"][0]["targets"],
        json!([{ "upstream": "svcb", "weight": 1 }])
    );
    assert_eq!(config["limits"]["connections"], 1000);
    let dns = &config["upstreams"]["spire"]["source"]["dns"];
    assert_eq!(dns["max_ttl"], "5m 500ms");

    let mut changed = operator::config();
    changed.zone = Some("elsewhere".into());
    let snapshots = &gateway.context.snapshots;
    snapshots.replace(Snapshot {
        config: changed.into(),
        ..Snapshot::clone(&snapshots.now())
    });
    let dump = get(address, "/config_dump").await.json();
    assert_eq!(dump["config"]["zone"], "elsewhere", "after a reload");
}

#[tokio::test]
async fn every_path_that_is_listed_answers_its_method() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    let help = get(address, "/help").await.body;
    for one in ADMIN_PATHS {
        let path = one.path.replace("{id}", "1").replace("{upstream}", "svcb");
        let path = path.replace("{address}", "10.0.0.1:1");
        let answer = ask(address, one.method, &path).await;
        let is_known = answer.status != 405 && !answer.body.starts_with("there is no such path");
        assert!(is_known, "{one:?}: {answer:?}");
        assert!(help.contains(one.path), "{help}");
    }
    let unknown = get(address, "/no/such/path").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("/connections/{id}"), "{unknown:?}");
}

#[tokio::test]
async fn upstreams_shows_sources_and_endpoints() {
    let gateway = Gateway::new(operator::config(), Duration::from_secs(15), None);
    let address = serve(&gateway).await;
    let upstream = async |name: &str| -> Value {
        let answer = get(address, "/upstreams").await.json();
        let upstreams = answer["upstreams"].as_array().unwrap().clone();
        let mut upstreams = upstreams.into_iter();
        upstreams.find(|upstream| upstream["name"] == name).unwrap()
    };
    assert_eq!(
        upstream("spire").await,
        json!({
            "name": "spire",
            "source": { "kind": "dns", "query": "spire-server.spire.svc:8443" },
            "answered": false, "last_answer": null, "last_error": null, "empty_because": null, "stale": false,
            "endpoints": []
        })
    );

    let upstreams = &gateway.upstreams;
    upstreams["spire"].source_failed("SERVFAIL".to_owned());
    let failed = upstream("spire").await;
    assert_eq!(failed["last_error"], "SERVFAIL");
    assert_eq!(failed["answered"], true);
    assert_eq!(failed["stale"], false, "there is nothing old to serve");

    upstreams["spire"].replace_endpoints([operator::endpoint(9)]);
    upstreams["spire"].source_failed("timed out".to_owned());
    let stale = upstream("spire").await;
    assert_eq!(stale["stale"], true);
    let last_answer = stale["last_answer"].as_str().unwrap();
    let last_answer = humantime::parse_rfc3339(last_answer).unwrap();
    assert!(last_answer.elapsed().unwrap() < operator::PATIENCE);

    let svcb = &upstreams["svcb"];
    let picked = svcb.pick(&[], &svcb.ties_to(None)).unwrap();
    upstreams["svcb"].note_conduct(
        &picked,
        Conduct::Failed,
        [10, 9, 9, 9].into(),
        Outcome::UpstreamReset,
    );
    let svcb = upstream("svcb").await;
    let endpoints = svcb["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2);
    for endpoint in endpoints {
        let is_picked = endpoint["address"] == picked.address().to_string();
        assert_eq!(endpoint["active"], u64::from(is_picked));
        let left = endpoint["ejection_left_ms"].as_u64();
        if is_picked {
            assert_eq!(endpoint["state"], "ejected");
            assert!((1..=30_000).contains(&left.unwrap()), "{left:?}");
        } else {
            assert_eq!(endpoint["state"], "ready");
            assert_eq!(left, None);
        }
    }
    assert_eq!(endpoints[0]["zone"], "eu-1a");
    assert_eq!(endpoints[0]["node"], "node-1");
    assert_eq!(endpoints[0]["weight"], 7);
}

#[tokio::test]
async fn logging_tells_and_changes_the_level() {
    let capture = Capture::default();
    let config = operator::log_config(LogFormat::Text);
    let (subscriber, log, _guard) = strait::log::to_writer(&config, None, capture.clone()).unwrap();
    let _default = tracing::subscriber::set_default(subscriber);
    let gateway = Gateway::new(operator::config(), Duration::ZERO, Some(log.clone()));
    let address = serve(&gateway).await;

    let level = get(address, "/logging").await.json();
    assert_eq!(level, json!({ "level": "info" }));
    tracing::debug!("before the change");
    let answer = ask(
        address,
        "POST",
        "/logging?level=info,admin::endpoints%3Ddebug",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({ "level": "info,admin::endpoints=debug" })
    );
    tracing::debug!("after the change");
    operator::eventually("a debug line", || {
        capture.text().contains("after the change")
    });
    assert!(!capture.text().contains("before the change"));

    for (query, says) in [
        ("?level=loud", "`loud` is not a level"),
        ("?level=", "is not a level"),
        ("", "?level="),
        ("?level=info%0Aforged", "is not a level"),
    ] {
        let answer = ask(address, "POST", &format!("/logging{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(log.current(), "info,admin::endpoints=debug", "stays");
}

#[tokio::test]
async fn a_log_of_somebody_else_cannot_be_changed() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    assert_eq!(get(address, "/logging").await.status, 503);
    let answer = ask(address, "POST", "/logging?level=debug").await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn drain_is_asked_for_by_post_as_often_as_one_likes() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    assert_eq!(get(address, "/drain").await.status, 405);
    assert_eq!(gateway.drains.load(Ordering::SeqCst), 0);
    for time in 1..=2 {
        assert_eq!(ask(address, "POST", "/drain").await.status, 202);
        assert_eq!(gateway.drains.load(Ordering::SeqCst), time);
    }
    assert_eq!(ask(address, "POST", "/config_dump").await.status, 405);
    assert_eq!(get(address, "/nothing").await.status, 404);
}

#[tokio::test]
async fn a_page_of_another_origin_gets_nothing_done() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    let post = async |headers: &str| ask_with(address, "POST", "/drain", headers).await.status;
    assert_eq!(post("Origin: http://evil.example\r\n").await, 403);
    assert_eq!(post("Origin: null\r\n").await, 403);
    assert_eq!(post("Host: evil.example\r\n").await, 403);
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example\r\n";
    assert_eq!(post(rebound).await, 403);
    let read = ask_with(address, "GET", "/config_dump", "Host: evil.example\r\n").await;
    assert_eq!(read.status, 403);
    assert!(!read.body.contains("listeners"));
    assert_eq!(gateway.drains.load(Ordering::SeqCst), 0);
    let own = format!("Host: {address}\r\nOrigin: http://{address}\r\n");
    assert_eq!(post(&own).await, 202);
    assert_eq!(post("Host: localhost:1\r\n").await, 202);
}
