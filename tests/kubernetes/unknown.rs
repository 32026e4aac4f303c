//! Unknown is not none: kinds of object that are forbidden, that come late, or about which the API says
//! nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use strait::config::Config;
use strait::metrics::Metrics;
use strait::source::kubernetes::{ApiTiming, FIRST_LISTS, KubernetesSource, Mailbox, Publication};
use strait::tools::scrape;

use crate::kubernetes;
use crate::kubernetes::api_server::{ApiServer, Cut, Fault};
use crate::kubernetes::objects::{pod, service, slice};
use crate::soon;
use crate::support::DEADLINE;
use crate::support::gateway::{TestGateway, get};
use crate::support::process::Process;

const EXPORT: &str = "export: { mode: all, alpn: istio }";

/// An API with one service whose pod is in the mesh.
fn api() -> ApiServer {
    let api = ApiServer::start();
    let pods = [("web", IpAddr::from([10, 0, 0, 1]))];
    api.put(service("apps", "web", 80));
    api.put(slice("apps", "web", "1", 8080, &pods));
    let sidecar = json!({ "security.istio.io/tlsMode": "istio" });
    api.put(pod("apps", "web", &sidecar));
    api
}

/// Whether it is not ready for this reason, or ready if that is empty.
fn is_missing(gateway: &TestGateway, reason: &str) -> bool {
    let wanted = if reason.is_empty() { 200 } else { 503 };
    let answer = gateway.health("/healthz/ready");
    answer.is_some_and(|(status, text)| status == wanted && text.contains(reason))
}

fn has_endpoints(gateway: &TestGateway) -> bool {
    gateway.admin_text("/upstreams").contains("10.0.0.1:8080")
}

/// A kind that routing needs is forbidden at the start, then listed, then forbidden again.
fn forbidden(plural: &str, kind: &str) {
    let api = api();
    api.fail(plural, Fault::Forbidden);
    let gateway = TestGateway::start(&kubernetes::config(&api, EXPORT));
    let missing = format!("Kubernetes: not listed yet: {kind}\n");
    soon("the kind is said", || is_missing(&gateway, &missing));
    soon("the operator sees the reason", || {
        let text = gateway.admin_text("/healthz/ready");
        text.contains(&format!("kubernetes {kind}: ")) && text.contains("is forbidden")
    });
    assert!(!has_endpoints(&gateway), "{kind}");
    api.mend(plural);
    soon("the kind is asked for again", || is_missing(&gateway, ""));
    assert!(has_endpoints(&gateway), "{kind}");
    // Lost later, what was known serves.
    api.fail(plural, Fault::Forbidden);
    api.cut(Cut::Clean);
    let stale = || gateway.metric("strait_kubernetes_stale", &[("kind", kind)]);
    soon("what is known is old", || (stale() - 1.0).abs() < 0.1);
    assert!(
        is_missing(&gateway, "") && has_endpoints(&gateway),
        "{kind}"
    );
}

#[test]
fn a_kind_that_routing_needs_and_may_not_list_keeps_the_gateway_from_being_ready() {
    std::thread::scope(|scope| {
        for (plural, kind) in [
            ("services", "service"),
            ("endpointslices", "endpoint_slice"),
            ("pods", "pod"),
            ("peerauthentications", "peer_authentication"),
            ("destinationrules", "destination_rule"),
            ("serviceentries", "service_entry"),
            ("workloadentries", "workload_entry"),
        ] {
            scope.spawn(|| forbidden(plural, kind));
        }
    });
}

#[test]
fn pods_that_come_late_keep_the_gateway_from_being_ready() {
    let api = api();
    api.fail("pods", Fault::Silent);
    let gateway = TestGateway::start(&kubernetes::config(&api, EXPORT));
    let missing = "Kubernetes: not listed yet: pod\n";
    soon("the rest is listed", || is_missing(&gateway, missing));
    // For longer than the gateway waits for what it can do without.
    let end = Instant::now() + FIRST_LISTS + Duration::from_secs(1);
    while Instant::now() < end {
        assert!(is_missing(&gateway, missing));
        std::thread::sleep(Duration::from_millis(200));
    }
    api.mend("pods");
    soon("pods are listed", || is_missing(&gateway, ""));
    assert!(has_endpoints(&gateway));
}

/// By a list, by a watch, and by another list.
#[test]
fn an_object_that_cannot_be_read_is_named_once_in_the_log_and_shown() {
    let api = api();
    let odd = |service: &str, port: i64| {
        let mut object = slice("shop", service, "1", 80, &[]);
        object["ports"][0]["port"] = json!(port);
        object
    };
    api.put(odd("listed", -1));
    let gateway = Process::start(&kubernetes::config(&api, EXPORT));
    let named = |name: &str| {
        let text = format!("kind=\"endpoint_slice\" namespace=shop name={name}-1 problem=");
        gateway.said(&text)
    };
    let unreadable = || {
        let labels = [("kind", "endpoint_slice")];
        gateway.metric("strait_kubernetes_unreadable_objects", &labels)
    };
    let shown = || get(gateway.server("admin"), "/config_dump").unwrap().1;
    soon("the listed one is named", || named("listed") == 1);
    api.put(odd("watched", 70_000));
    soon("the watched one is named", || named("watched") == 1);
    soon("both are counted", || (unreadable() - 2.0).abs() < 0.1);
    soon("both are shown", || {
        let text = shown();
        let is_shown = |name| text.contains(&format!("endpoint_slice shop/{name}-1: "));
        is_shown("listed") && is_shown("watched")
    });
    let lists = api.requests("list", "endpointslices");
    api.forget();
    api.cut(Cut::Clean);
    soon("it is listed again", || {
        api.requests("list", "endpointslices") > lists
    });
    api.put(slice("shop", "listed", "1", 80, &[]));
    soon("one of them can be read", || {
        (unreadable() - 1.0).abs() < 0.1
    });
    assert_eq!((named("listed"), named("watched")), (1, 1));
    soon("it is shown no more", || !shown().contains("shop/listed-1"));
}

/// A source that gives an answer a second, and a watch two and a half.
struct Source {
    metrics: Arc<Metrics>,
    mailbox: Arc<Mailbox>,
    _source: KubernetesSource,
}

const TIMING: ApiTiming = ApiTiming {
    answer: Duration::from_secs(1),
    page: Duration::from_secs(1),
    watch: Duration::from_secs(1),
    margin: Duration::from_millis(1500),
    absent: Duration::from_millis(200),
};

/// The same, but for the waits on an API that falls silent: a machine that stands still for a moment counts as that.
const PATIENT: ApiTiming = ApiTiming {
    answer: DEADLINE,
    page: DEADLINE,
    margin: DEADLINE,
    ..TIMING
};

impl Source {
    async fn start(api: &ApiServer) -> Self {
        Self::with(&kubernetes::config(api, EXPORT).text(), TIMING).await
    }

    async fn with(text: &str, timing: ApiTiming) -> Self {
        let config = Config::parse(text, "test").unwrap().kubernetes.unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let mailbox: Arc<Mailbox> = Arc::default();
        let source = KubernetesSource::start_with(config, &metrics, mailbox.clone(), false, timing);
        Self {
            _source: source.await.unwrap(),
            metrics,
            mailbox,
        }
    }

    async fn publication(&self) -> Publication {
        let taken = tokio::time::timeout(3 * DEADLINE, self.mailbox.take()).await;
        taken.expect("a publication")
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut text = Vec::new();
        self.metrics.encode(&mut text).unwrap();
        let samples = scrape::parse(&String::from_utf8(text).unwrap());
        scrape::total(&samples, name, labels)
    }

    fn timeouts(&self, kind: &str) -> f64 {
        self.errors(kind, "timeout")
    }

    fn errors(&self, kind: &str, reason: &str) -> f64 {
        let labels = [("kind", kind), ("reason", reason)];
        self.metric("strait_kubernetes_errors_total", &labels)
    }

    /// Two flags of a kind: it is watched, and the known objects are old.
    fn state(&self, kind: &str) -> [bool; 2] {
        let is_set = |name| self.metric(name, &[("kind", kind)]) > 0.5;
        ["strait_kubernetes_watch_up", "strait_kubernetes_stale"].map(is_set)
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < 3 * DEADLINE,
                "waited in vain until {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn endpoints(publication: &Publication) -> usize {
    let upstreams = publication.discovered.endpoints.values();
    upstreams.map(|endpoints| endpoints.len()).sum()
}

#[tokio::test]
async fn a_list_that_is_not_answered_is_given_up_counted_and_asked_for_again() {
    for (plural, kind) in [("pods", "pod"), ("destinationrules", "destination_rule")] {
        let api = api();
        api.fail(plural, Fault::Silent);
        let source = Source::start(&api).await;
        source
            .until("it is asked twice", |it| it.timeouts(kind) > 1.5)
            .await;
        assert_eq!(source.state(kind), [false, false]);
        let missing = source.mailbox.missing();
        // The kinds of one group ask together what the API serves.
        let mut of_kind = missing.iter().filter(|(of, _)| *of == kind);
        let reason = of_kind.next().map(|(_, reason)| &**reason);
        let reason = reason.unwrap_or_default();
        assert!(reason.starts_with("http://127.0.0.1:"), "{missing:?}");
        assert!(
            reason.ends_with(" does not answer: no answer within 1s"),
            "{missing:?}"
        );
        api.mend(plural);
        assert_eq!(endpoints(&source.publication().await), 1);
        assert!(source.mailbox.missing().is_empty());
    }
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_doubted_and_what_was_missed_is_learnt_afterwards() {
    let api = api();
    let source = Source::start(&api).await;
    assert_eq!(endpoints(&source.publication().await), 1);
    source
        .until("it is watched", |it| {
            it.state("endpoint_slice") == [true, false]
        })
        .await;
    api.fail("endpointslices", Fault::Silent);
    api.put(slice("apps", "web", "1", 8080, &[]));
    source
        .until("it is doubted", |it| {
            it.state("endpoint_slice") == [false, true]
        })
        .await;
    // The watch that fell silent, and one that could not be opened after it.
    source
        .until("it is asked again", |it| {
            it.timeouts("endpoint_slice") > 1.5
        })
        .await;
    assert_eq!(source.state("endpoint_slice"), [false, true]);
    source
        .until("the others answer", |it| !it.state("service")[1])
        .await;
    api.mend("endpointslices");
    assert_eq!(endpoints(&source.publication().await), 0);
    source
        .until("it is watched", |it| {
            it.state("endpoint_slice") == [true, false]
        })
        .await;
}

#[tokio::test]
async fn a_kind_that_is_uninstalled_on_purpose_is_not_stale_for_ever() {
    let api = api();
    let source = Source::start(&api).await;
    source.publication().await;
    let kind = "peer_authentication";
    let watched = |it: &Source| it.state(kind) == [true, false];
    source.until("it is watched", watched).await;
    api.uninstall("peerauthentications");
    api.cut(Cut::Clean);
    source
        .until("nothing of it is stale", |it| {
            it.state(kind) == [false, false]
        })
        .await;
    api.install("peerauthentications");
    source.until("it is found again", watched).await;
}

#[tokio::test]
async fn a_kind_that_was_listed_and_is_refused_for_a_moment_is_asked_for_again_soon() {
    let api = api();
    let timing = ApiTiming {
        absent: Duration::from_secs(3600),
        ..TIMING
    };
    let text = kubernetes::config(&api, EXPORT).text();
    let source = Source::with(&text, timing).await;
    source.publication().await;
    let watched = |it: &Source| it.state("service") == [true, false];
    source.until("it is watched", watched).await;
    api.fail("services", Fault::Forbidden);
    api.cut(Cut::Clean);
    source
        .until("it is refused again and again", |it| {
            it.errors("service", "forbidden") > 3.5
        })
        .await;
    api.mend("services");
    source.until("it is watched", watched).await;
}

#[tokio::test]
async fn another_token_in_the_file_is_used_at_once() {
    let api = api();
    api.demand_token("two");
    let token = api.folder().join("token");
    std::fs::write(&token, "one\n").unwrap();
    let timing = ApiTiming {
        absent: Duration::from_secs(3600),
        ..TIMING
    };
    let text = kubernetes::config(&api, EXPORT).text();
    let [plain, with_token] = [api.kubeconfig(), api.kubeconfig_with_token(&token)];
    let [plain, with_token] = [&plain, &with_token].map(|path| path.display().to_string());
    assert!(text.contains(&format!("'{plain}'")));
    let text = text.replace(&format!("'{plain}'"), &format!("'{with_token}'"));
    let source = Source::with(&text, timing).await;
    source
        .until("it is refused", |it| {
            it.errors("service", "forbidden") > 2.5
        })
        .await;
    std::fs::write(&token, "two\n").unwrap();
    assert_eq!(endpoints(&source.publication().await), 1);
}

#[tokio::test]
async fn what_the_api_serves_is_asked_once_for_all_kinds_of_a_group() {
    let api = api();
    let keys = format!("{EXPORT}, gateway_api: {{}}");
    let source = Source::with(&kubernetes::config(&api, &keys).text(), PATIENT).await;
    let kinds = ["gateway_class", "gateway", "tls_route", "reference_grant"];
    for kind in kinds {
        source
            .until("it is watched", |it| it.state(kind) == [true, false])
            .await;
    }
    let asked = api.requests("discover", "gateway.networking.k8s.io/v1");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_watch_that_ends_in_its_time_goes_on_without_a_list_an_error_or_a_hot_loop() {
    let api = api();
    let source = Source::with(&kubernetes::config(&api, EXPORT).text(), PATIENT).await;
    source.publication().await;
    let start = Instant::now();
    source
        .until("it is watched anew", |_| {
            api.requests("watch", "services") >= 5
        })
        .await;
    let asked = api.requests("watch", "services");
    let periods = usize::try_from(start.elapsed().as_secs()).unwrap() + 4;
    assert!(asked <= periods, "{asked} watches in {periods} seconds");
    assert_eq!(api.requests("list", "services"), 1);
    assert_eq!(source.state("service"), [true, false]);
    api.put(service("apps", "more", 80));
    let found = source.publication().await;
    assert!(found.discovered.endpoints.contains_key("apps/more:80"));
}
