//! The saved state: a container that starts again in its pod while the API is away, or refuses a kind.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use strait::config::Config;
use strait::metrics::Metrics;
use strait::source::kubernetes::{ApiTiming, KubernetesSource, Mailbox, Publication};

use crate::kubernetes;
use crate::kubernetes::api_server::{ApiServer, Cut, Fault};
use crate::kubernetes::objects::{self, served, service, slice};
use crate::soon;
use crate::support::DEADLINE;
use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::process::{Folder, Process};
use crate::support::server::{Server, read_exactly};

const ANY: &str = "export: { mode: all, alpn: any }";
const MESH: &str = "export: { mode: all, alpn: istio }";
/// Longer than the API has until the file fills in.
const LONG: Duration = Duration::from_secs(8);

/// A cluster, and the folder that lasts as long as the pod.
struct Pod {
    api: ApiServer,
    folder: Folder,
}

impl Pod {
    fn new() -> Self {
        Self {
            api: ApiServer::start(),
            folder: Folder::create(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path("state")
    }

    fn config(&self, keys: &str) -> ConfigText {
        let file = self.file();
        let keys = format!("{keys}, saved_state: {{ path: '{}' }}", file.display());
        kubernetes::config(&self.api, &keys)
    }

    /// A container that runs until the state is saved.
    fn run_and_save(&self, keys: &str) {
        let gateway = TestGateway::start(&self.config(keys));
        gateway.wait_ready();
        soon("the state is saved", || self.file().exists());
    }

    fn start(&self, keys: &str) -> TestGateway {
        TestGateway::start(&self.config(keys))
    }
}

/// Holds for a while.
fn holds(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        assert!(check(), "not any more: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether the pod behind the gateway answers. It sends back what it gets, the hello first.
fn answers(gateway: &TestGateway) -> bool {
    let (mut stream, length) = open(gateway.address());
    read_exactly(&mut stream, length).len() == length
}

fn is_ready(gateway: &TestGateway) -> bool {
    let answer = gateway.health("/healthz/ready");
    answer.is_some_and(|(status, _)| status == 200)
}

fn lacks(gateway: &TestGateway, kind: &str) -> bool {
    let answer = gateway.health("/healthz/ready");
    answer.is_some_and(|(status, text)| status == 503 && text.contains(kind))
}

fn has_endpoints(gateway: &TestGateway) -> bool {
    gateway.admin_text("/upstreams").contains("10.0.0.1:8080")
}

/// Two flags of a kind: it is known from the file only, and it is stale.
fn flags(gateway: &TestGateway, kind: &str) -> [bool; 2] {
    let is_set = |name| gateway.metric(name, &[("kind", kind)]) > 0.5;
    [
        "strait_kubernetes_saved_state_in_force",
        "strait_kubernetes_stale",
    ]
    .map(is_set)
}

fn says_stale(gateway: &TestGateway) -> [bool; 2] {
    let upstreams = gateway.dump("/upstreams");
    let stale = upstreams["upstreams"][0]["stale"] == true;
    let page = gateway.admin_text("/");
    [stale, page.contains("come from the saved state")]
}

/// A service whose pod is in the mesh.
fn mesh(api: &ApiServer) {
    let pods = [("web", IpAddr::from([10, 0, 0, 1]))];
    api.put(service("apps", "web", 80));
    api.put(slice("apps", "web", "1", 8080, &pods));
    let sidecar = json!({ "security.istio.io/tlsMode": "istio" });
    api.put(objects::pod("apps", "web", &sidecar));
}

#[test]
fn a_start_while_the_api_is_away_serves_the_last_state_until_the_api_has_listed_another() {
    let (pod, echo) = (Pod::new(), Server::echo());
    pod.api.put(objects::pod("apps", "svcb", &json!({})));
    pod.api.put_all(served("apps", "svcb", 80, echo.address));
    pod.run_and_save(ANY);
    pod.api.down();
    let saved = fs::read(pod.file()).unwrap();
    let gateway = pod.start(ANY);
    gateway.wait_ready();
    assert!(answers(&gateway));
    assert_eq!(flags(&gateway, "service"), [true, true]);
    assert_eq!(says_stale(&gateway), [true, true]);
    let report = gateway.dump("/config_dump")["discovery"]["saved_state"].clone();
    let kinds = report["kinds"].as_array().unwrap();
    assert!(kinds.contains(&json!("endpoint_slice")), "{report}");
    let confirmed = "strait_kubernetes_saved_state_confirmed_timestamp_seconds";
    assert!(gateway.metric(confirmed, &[]) > 1.0e9);
    // A file that is written again by who knows it only from the file would never become old.
    holds("it serves, and the file stays", || {
        is_ready(&gateway) && fs::read(pod.file()).unwrap() == saved
    });
    pod.api.put(service("apps", "new", 80));
    pod.api.up();
    soon("the API has listed every kind", || {
        let kinds = ["service", "endpoint_slice", "destination_rule", "node"];
        kinds
            .iter()
            .all(|kind| flags(&gateway, kind) == [false, false])
    });
    soon("nothing is called stale", || {
        says_stale(&gateway) == [false, false]
    });
    assert!(gateway.metric(confirmed, &[]).abs() < 0.1);
    assert!(gateway.admin_text("/upstreams").contains("apps/new:80"));
    assert!(answers(&gateway));
    soon("the new state is saved", || {
        fs::read(pod.file()).unwrap() != saved
    });
}

#[test]
fn a_new_pod_has_no_state_and_is_not_ready_while_the_api_is_away() {
    let pod = Pod::new();
    pod.api.down();
    let gateway = pod.start(ANY);
    holds("it is not ready", || lacks(&gateway, "service"));
    pod.api.up();
    gateway.wait_ready();
}

#[test]
fn an_api_that_answers_is_believed_and_not_the_file() {
    let pod = Pod::new();
    mesh(&pod.api);
    pod.run_and_save(ANY);
    pod.api.delete("endpointslices", "apps", "web-1");
    let gateway = pod.start(ANY);
    gateway.wait_ready();
    assert!(!has_endpoints(&gateway));
    assert_eq!(flags(&gateway, "endpoint_slice"), [false, false]);
    assert_eq!(says_stale(&gateway), [false, false]);
}

#[test]
fn a_file_that_cannot_be_used_costs_a_line_and_is_replaced() {
    let pod = Pod::new();
    mesh(&pod.api);
    pod.run_and_save(ANY);
    let length = fs::metadata(pod.file()).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(pod.file()).unwrap();
    file.set_len(length - 1).unwrap();
    let damaged = fs::read(pod.file()).unwrap();
    pod.api.down();
    let gateway = Process::start(&pod.config(ANY));
    let line = "strait does not use the saved state of the cluster";
    soon("the log says so", || gateway.said(line) == 1);
    let ready = || gateway.metric("strait_ready", &[]) > 0.5;
    holds("it is not ready", || !ready());
    pod.api.up();
    soon("the API has listed everything", ready);
    // By one of about the same length: it has the time since the machine's start, of as many digits as it takes.
    soon("the file is replaced", || {
        let file = fs::read(pod.file()).unwrap();
        file != damaged && file.ends_with(b"}\n")
    });
    drop(gateway);
    // Under another policy the state counts as another one's.
    pod.api.down();
    let gateway = pod.start(MESH);
    holds("it is not ready", || lacks(&gateway, "service"));
}

#[test]
fn a_kind_that_the_api_refuses_at_the_start_is_not_taken_from_the_file() {
    let pod = Pod::new();
    mesh(&pod.api);
    pod.run_and_save(MESH);
    pod.api.fail("peerauthentications", Fault::Forbidden);
    let gateway = pod.start(MESH);
    soon("the kind is refused", || {
        lacks(&gateway, "peer_authentication")
    });
    holds("it is not ready", || {
        lacks(&gateway, "peer_authentication") && !has_endpoints(&gateway)
    });
    assert_eq!(flags(&gateway, "peer_authentication"), [false, false]);
}

#[test]
fn a_kind_that_the_api_refuses_once_it_is_back_is_forgotten() {
    let pod = Pod::new();
    mesh(&pod.api);
    pod.run_and_save(MESH);
    pod.api.down();
    let gateway = pod.start(MESH);
    gateway.wait_ready();
    assert!(has_endpoints(&gateway));
    pod.api.fail("peerauthentications", Fault::Forbidden);
    pod.api.up();
    soon("nothing is known of the kind", || {
        lacks(&gateway, "peer_authentication") && !has_endpoints(&gateway)
    });
    assert_eq!(flags(&gateway, "peer_authentication"), [false, false]);
    pod.api.mend("peerauthentications");
    soon("it is listed", || {
        is_ready(&gateway) && has_endpoints(&gateway)
    });
    // Listed by the API itself, a kind stays known when it is refused later.
    pod.api.fail("peerauthentications", Fault::Forbidden);
    pod.api.cut(Cut::Clean);
    soon("it is stale", || flags(&gateway, "peer_authentication")[1]);
    assert!(is_ready(&gateway) && has_endpoints(&gateway));
}

const TIMING: ApiTiming = ApiTiming {
    answer: Duration::from_secs(1),
    page: Duration::from_secs(60),
    watch: Duration::from_secs(2),
    margin: Duration::from_secs(2),
    ..ApiTiming::DEFAULT
};

struct Source {
    mailbox: Arc<Mailbox>,
    source: KubernetesSource,
}

impl Source {
    async fn start(pod: &Pod, keys: &str) -> Self {
        let text = pod.config(keys).text();
        let config = Config::parse(&text, "test").unwrap().kubernetes.unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let mailbox: Arc<Mailbox> = Arc::default();
        let source = KubernetesSource::start_with(config, &metrics, mailbox.clone(), true, TIMING);
        Self {
            source: source.await.unwrap(),
            mailbox,
        }
    }

    async fn publication(&self) -> Publication {
        let taken = tokio::time::timeout(3 * DEADLINE, self.mailbox.take()).await;
        taken.expect("a publication")
    }
}

#[tokio::test]
async fn a_list_that_stalls_is_filled_in_for_and_no_status_is_written_by_the_file() {
    const KEYS: &str = "gateway_api: { ports: [15443] }";
    let pod = Pod::new();
    pod.api.apply(
        "kind: GatewayClass\nmetadata: { name: strait }\nspec: { controllerName: strait.dev/gateway-controller }",
    );
    mesh(&pod.api);
    let source = Source::start(&pod, KEYS).await;
    assert_eq!(source.publication().await.from_file, None);
    let start = Instant::now();
    while !pod.file().exists() {
        assert!(start.elapsed() < 3 * DEADLINE, "the state is never saved");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(source);
    pod.api.fail("services", Fault::Silent);
    let source = Source::start(&pod, KEYS).await;
    let publication = source.publication().await;
    let from_file = publication.from_file.unwrap();
    assert_eq!(from_file.kinds, ["service"]);
    let mut statuses = source.source.statuses();
    assert!(statuses.borrow_and_update().objects.is_empty());
    pod.api.mend("services");
    let written = statuses.wait_for(|statuses| !statuses.objects.is_empty());
    let written = tokio::time::timeout(6 * DEADLINE, written).await;
    assert!(written.unwrap().is_ok());
    while source.publication().await.from_file.is_some() {}
}
