//! The status page in its three forms: what each says, that they agree, and that no name can do harm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strait::admin::overview::{Overview, TroubleLevel};
use strait::drain::DrainPhase;

use crate::operator;
use crate::operator::http::{Answer, Gateway, ask_with, get};
use crate::page_world::{HOSTILE, large, serve, troubled};

/// The page as a browser asks for it.
async fn browse(address: std::net::SocketAddr, path: &str) -> Answer {
    ask_with(address, "GET", path, "Accept: text/html,*/*;q=0.8\r\n").await
}

fn overview(answer: &Answer) -> Overview {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn the_client_gets_the_form_that_it_takes() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    let kind = |answer: &Answer| answer.header("content-type").unwrap_or_default().to_owned();
    let html = browse(address, "/").await;
    assert_eq!(kind(&html), "text/html; charset=utf-8");
    assert_eq!(html.header("cache-control"), Some("no-store"));
    assert_eq!(html.header("vary"), Some("Accept"));
    let policy = html.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(html.header("refresh"), None);
    let renewing = browse(address, "/?refresh=5").await;
    assert_eq!(renewing.header("refresh"), Some("5"));
    let often = browse(address, "/?refresh=0").await;
    assert_eq!(often.header("refresh"), Some("2"), "not without a pause");
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let text = ask_with(address, "GET", "/?refresh=5", accept).await;
        assert_eq!(kind(&text), "text/plain; charset=utf-8", "{accept}");
        assert_eq!(text.header("refresh"), None);
    }
    let json = browse(address, "/?format=json").await;
    assert_eq!(kind(&json), "application/json");
    let same = get(address, "/status").await;
    assert_eq!(overview(&json).routes, overview(&same).routes);
    let text = browse(address, "/?format=text").await;
    assert_eq!(kind(&text), "text/plain; charset=utf-8");
    assert_eq!(browse(address, "/?sort=x").await.status, 400);
}

#[tokio::test]
async fn a_quiet_gateway_says_so_in_words() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    let html = browse(address, "/").await.body;
    for said in [
        "No connection has come yet.",
        "None. Listeners are bound",
        "No connection has failed or was refused.",
        "None is open.",
        "not draining",
        ">ready<",
    ] {
        assert!(html.contains(said), "{said:?} is not in {html}");
    }
    assert!(!html.contains("id=\"map\""), "a map of nothing");
    assert!(!html.contains("<script"), "{html}");
    let text = get(address, "/").await.body;
    assert!(text.contains("TROUBLES none"), "{text}");
    assert!(text.contains("no connection has come yet"), "{text}");
    gateway.trigger.advance(DrainPhase::Announced);
    let html = browse(address, "/").await.body;
    assert!(html.contains("draining: not ready, still accepting"));
    assert!(html.contains("Draining: 0 connections are open"), "{html}");
    assert!(get(address, "/").await.body.contains("draining"));
}

#[tokio::test]
async fn html_text_and_json_say_the_same() {
    let gateway = troubled(60);
    let address = serve(&gateway).await;
    let json = overview(&get(address, "/status").await);
    let (html, text) = (
        browse(address, "/").await.body,
        get(address, "/").await.body,
    );
    let levels: Vec<TroubleLevel> = json.troubles.rows.iter().map(|one| one.level).collect();
    assert!(levels.is_sorted(), "{levels:?}");
    for level in [
        TroubleLevel::Failing,
        TroubleLevel::Refused,
        TroubleLevel::Contained,
        TroubleLevel::NearLimit,
        TroubleLevel::Note,
    ] {
        assert!(levels.contains(&level), "{level:?}: {levels:?}");
    }
    let joined: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for trouble in &json.troubles.rows {
        let escaped = trouble.title.replace('"', "&quot;");
        assert!(html.contains(&escaped), "{escaped} is not on the page");
        let words = trouble.title.split_whitespace().next().unwrap();
        assert!(joined.contains(words), "{words} is not in the text");
        assert!(
            html.contains(trouble.command.as_deref().unwrap()),
            "{trouble:?}"
        );
    }
    let first = &json.troubles.rows[0];
    assert_eq!(
        first.title,
        "Every call to ledger.finance:9090 fails: no_endpoint"
    );
    assert!(text.contains(&first.title), "{text}");
    let command = "strait explain --live --sni outbound_.9090_._.ledger.finance.svc.cluster.local --alpn istio --from 10.0.12.7";
    assert_eq!(first.command.as_deref(), Some(command));
    assert!(html.contains("line 38, column 17: listeners[0].routes[3].alpn: unknown value &quot;itsio&quot;; did you mean istio?"));
    assert!(text.contains("listeners[0].routes[3].alpn"), "{text}");
    for row in json.outcomes.iter().filter(|row| row.class != "well") {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(&row.outcome));
        let line = line.unwrap_or_else(|| panic!("{} is not in {text}", row.outcome));
        let shown = [row.ten_minutes, row.hour].map(|count| grouped(count.unwrap()));
        for count in &shown {
            assert!(line.contains(count.as_str()), "{count}: {line}");
            assert!(html.contains(&format!(">{count}<")), "{count}");
        }
    }
    let (used, limit) = (&json.limits.rows[0], "4,712 of 5,000");
    assert_eq!((used.used, used.most), (4712, 5000));
    assert!(text.contains(limit), "{text}");
    assert!(html.contains("<b>4,712</b> of 5,000"));
    assert_eq!(json.traffic.minutes_known, 60);
    assert_eq!(json.traffic.new_per_second.minutes.len(), 60);
    assert!(html.contains("<path class=\"fl\""), "a map");
    assert!(html.contains("generation 41") && text.contains("generation 41 (3f9a61c2)"));
    let ejected = json
        .endpoints
        .rows
        .iter()
        .filter(|row| row.state == "ejected");
    assert_eq!(ejected.count(), 2);
    let first = &json.endpoints.rows[0];
    assert_eq!(
        (&*first.state, &*first.upstream),
        ("none", "ledger.finance:9090")
    );
}

#[tokio::test]
async fn pages_of_text_follow_each_other() {
    let gateway = large(100);
    let address = serve(&gateway).await;
    for (path, position) in [
        ("/", "ROUTES, 1 to 20 of 102"),
        ("/?page=2", "ROUTES, 21 to 40 of 102"),
        ("/?page=6", "ROUTES, 101 to 102 of 102"),
        ("/?rows=50", "ROUTES, 1 to 50 of 102"),
        ("/?rows=50&page=2", "ROUTES, 51 to 100 of 102"),
    ] {
        let text = get(address, path).await.body;
        assert!(text.contains(position), "{path}: {text}");
    }
    let html = browse(address, "/?page=2").await.body;
    assert!(html.contains("51 to 100 of 102"), "{html}");
}

/// A count as the page shows it.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut parts: Vec<&str> = Vec::new();
    let mut end = digits.len();
    while end > 0 {
        let begin = end.saturating_sub(3);
        parts.insert(0, &digits[begin..end]);
        end = begin;
    }
    parts.join(",")
}

#[tokio::test]
async fn five_thousand_upstreams_make_a_bounded_page_with_the_troubled_one_first() {
    let gateway = large(5000);
    let address = serve(&gateway).await;
    let start = Instant::now();
    let html = browse(address, "/").await.body;
    let took = start.elapsed();
    println!("{} KiB of HTML in {took:?}", html.len() / 1024);
    assert!(html.len() < 400 * 1024, "{} bytes", html.len());
    let routes = &html[html.find("id=\"routes\"").unwrap()..];
    let first = routes.find("service-04999").unwrap();
    let other = routes.find("service-0009").unwrap();
    assert!(first < other, "troubled ones first");
    assert!(routes.contains("1 to 50 of 5,002"));
    let json = overview(&get(address, "/status").await);
    assert_eq!((json.routes.all, json.routes.rows.len()), (5002, 50));
    assert_eq!(json.routes.rows[0].state, "failing");
    let found = browse(address, "/?q=SERVICE-01234").await.body;
    assert!(found.contains("1 found among 5,002"), "{found}");
    let all = get(address, "/status?rows=1000&page=6").await;
    let all = overview(&all);
    assert_eq!(
        (all.routes.first, all.routes.rows.len()),
        (5000, 2),
        "the last page"
    );
    let text = get(address, "/").await.body;
    assert!(text.len() < 32 * 1024, "{} bytes", text.len());
}

#[tokio::test]
async fn a_hostile_name_is_text_in_every_form() {
    let mut config = operator::config();
    let spire = config.upstreams["spire"].clone();
    config.upstreams.insert(HOSTILE.into(), spire);
    Arc::make_mut(&mut config.listeners[0]).name = HOSTILE.into();
    config.zone = Some(HOSTILE.into());
    let gateway = Gateway::new(config, operator::PATIENCE, None);
    gateway.upstreams["spire"].source_failed(HOSTILE.to_owned());
    for (route, source) in [(HOSTILE, "other"), ("none", HOSTILE)] {
        let series = gateway.metrics.connections(strait::metrics::SeriesKey {
            listener: HOSTILE.into(),
            route: route.into(),
            upstream: HOSTILE.into(),
            source: source.into(),
        });
        series.opened.inc_by(10);
        (0..10).for_each(|_| series.closed(strait::outcome::Outcome::HandshakeRefused));
    }
    let address = serve(&gateway).await;
    let query = "/?q=%3Cimg%20src%3Dx%20onerror%3D1%3E%1b";
    for html in [
        browse(address, "/").await.body,
        browse(address, query).await.body,
    ] {
        for part in ["<img", "<script", "\u{1b}", "\u{200f}", "\u{202e}"] {
            assert!(!html.contains(part), "{part:?} is in {html:?}");
        }
        assert!(html.contains("&lt;img"), "{html}");
    }
    let text = get(address, "/").await.body;
    assert!(text.is_ascii());
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    assert!(text.bytes().all(|byte| byte == b'\n' || byte >= b' '));
    let title = browse(address, "/").await.body;
    let title = title
        .split("<title>")
        .nth(1)
        .unwrap()
        .split("</title>")
        .next()
        .unwrap();
    assert!(!title.contains('<'), "{title}");
}

#[tokio::test]
async fn the_answer_comes_while_the_gateway_is_not_ready() {
    let gateway = Gateway::new(operator::config(), Duration::from_secs(15), None);
    let address = serve(&gateway).await;
    let html = browse(address, "/").await.body;
    assert!(html.contains("Not ready: load balancers send no connection here"));
    assert!(html.contains("upstream spire: no answer yet"), "{html}");
    assert!(html.contains(">not ready<"), "{html}");
}
