use super::*;
use tokio::task::JoinHandle;

use super::super::pace::MAX_PAUSE;
use crate::config::{AlpnPolicy, ExportMode, samples};
use crate::socket::OwnListeners;
use crate::source::kubernetes::mailbox::Mailbox;
use crate::source::kubernetes::ports::Ports;
use crate::source::kubernetes::records::gateway::{GatewayClassRecord, GatewayRecord, Revision};
use crate::source::kubernetes::records::{
    Labels, ObjectKey, ServiceKind, ServicePortRecord, ServiceRecord,
};

const KINDS: [Kind; 2] = [Kind::Service, Kind::Slice];

/// A driver that runs, of an empty cluster at first.
struct Running {
    inputs: mpsc::Sender<DriverInput>,
    terms: watch::Sender<Terms>,
    mailbox: Arc<Mailbox>,
    task: JoinHandle<()>,
}

fn policy() -> KubernetesConfig {
    let mut policy = samples::kubernetes();
    policy.export.mode = ExportMode::All;
    policy.export.alpn = AlpnPolicy::Any;
    policy
}

impl Running {
    async fn start() -> Self {
        let (inputs, inbox) = mpsc::channel(1024);
        let (terms, agreed) = watch::channel(Terms {
            policy: Arc::new(policy()),
            own: OwnListeners::default(),
            ports: Ports::default(),
        });
        let mailbox = Arc::<Mailbox>::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (statuses, _) = watch::channel(Arc::default());
        let driver = Driver::new(
            agreed,
            inputs.downgrade(),
            &KINDS,
            metrics,
            mailbox.enter(),
            statuses,
            (Restored::never(), Vec::new()),
        );
        let running = Self {
            inputs,
            terms,
            mailbox,
            task: tokio::spawn(driver.run(inbox)),
        };
        for kind in KINDS {
            running.tell(ClusterChange::All(kind, Vec::new())).await;
        }
        running.mailbox.take().await;
        running
    }

    async fn tell(&self, change: ClusterChange) {
        let arrived = Some(Instant::now());
        let input = DriverInput::Change { change, arrived };
        self.inputs.send(input).await.unwrap();
    }

    /// The Service listens on this port and no other from now on.
    async fn set(&self, port: u16) {
        let key = ObjectKey {
            namespace: "apps".into(),
            name: "svcb".into(),
        };
        let record = ServiceRecord {
            resource_version: port.to_string().into(),
            labels: Labels::default(),
            annotations: Labels::default(),
            kind: ServiceKind::Balanced,
            ports: [ServicePortRecord {
                name: "tls".into(),
                port,
                target: None,
                target_name: None,
            }]
            .into(),
            export_to: Box::default(),
            addresses: Box::default(),
            ipv6_first: false,
            selector: Labels::default(),
        };
        let record = Record::Service(record);
        self.tell(ClusterChange::Set(key, record)).await;
    }
}

fn upstreams(publication: &Publication) -> Vec<&str> {
    let routing = &publication.discovered.routing;
    routing.upstreams.keys().map(|name| &**name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_alone_is_published_without_a_pause() {
    let running = Running::start().await;
    for port in 1..4 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // By now the time that the app has spent on the last publication is over.
        let came = Instant::now();
        running.set(port).await;
        let publication = running.mailbox.take().await;
        assert_eq!(upstreams(&publication), [format!("apps/svcb:{port}")]);
        assert_eq!(came.elapsed(), Duration::ZERO);
        running.mailbox.spend(Duration::from_millis(100));
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_costs_half_of_the_time_at_most_and_its_last_change_is_published() {
    const CHANGES: u16 = 2000;
    let applying = Duration::from_millis(150);
    let running = Running::start().await;
    let start = Instant::now();
    let burst = async {
        for port in 1..=CHANGES {
            running.set(port).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut busy = Duration::ZERO;
    let mut arrivals = 0;
    let app = async {
        loop {
            let publication = running.mailbox.take().await;
            // As if it had built tables for so long.
            running.mailbox.spend(applying);
            tokio::time::advance(applying).await;
            busy += applying;
            arrivals += publication.arrivals.len();
            if upstreams(&publication) == [format!("apps/svcb:{CHANGES}")] {
                return;
            }
        }
    };
    tokio::join!(burst, app);
    let passed = start.elapsed();
    assert!(busy <= passed / 2 + applying, "{busy:?} of {passed:?}");
    assert_eq!(arrivals, usize::from(CHANGES));
}

#[tokio::test(start_paused = true)]
async fn another_policy_and_other_listeners_count_without_a_change_of_the_cluster() {
    let running = Running::start().await;
    running.set(80).await;
    let before = running.mailbox.take().await;
    assert_eq!(before.discovered.routing.exports.len(), 1);
    let mut narrower = policy();
    narrower.export.mode = ExportMode::None;
    let narrower = Arc::new(narrower);
    running.terms.send_modify(|terms| terms.policy = narrower);
    let after = running.mailbox.take().await;
    assert_eq!(after.discovered.routing.exports.len(), 0);
    drop(running.inputs);
    running.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_status_waits_for_the_result_of_opening_a_port_but_not_for_ever() {
    for result in [None, Some(Ports::default())] {
        let (inputs, inbox) = mpsc::channel(16);
        let (terms, agreed) = watch::channel(Terms {
            policy: Arc::new(KubernetesConfig {
                gateway_api: Some(samples::gateway_api()),
                ..policy()
            }),
            own: OwnListeners::default(),
            ports: Ports::default(),
        });
        let mailbox = Arc::<Mailbox>::default();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (statuses, mut seen) = watch::channel(Arc::default());
        let kinds = [Kind::GatewayClass, Kind::Gateway];
        let driver = Driver::new(
            agreed,
            inputs.downgrade(),
            &kinds,
            metrics,
            mailbox.enter(),
            statuses,
            (Restored::never(), Vec::new()),
        );
        let task = tokio::spawn(driver.run(inbox));
        for change in gateway() {
            let arrived = None;
            let input = DriverInput::Change { change, arrived };
            inputs.send(input).await.unwrap();
        }
        let publication = mailbox.take().await;
        let port = *publication
            .discovered
            .routing
            .gateways
            .keys()
            .next()
            .unwrap();
        let start = Instant::now();
        if let Some(mut result) = result.clone() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!seen.has_changed().unwrap());
            result.open.insert(port);
            terms.send_modify(|terms| terms.ports = result);
        }
        seen.changed().await.unwrap();
        let waited = start.elapsed();
        let expected = if result.is_some() { 1 } else { 10 };
        assert_eq!(waited.as_secs(), expected);
        assert_eq!(seen.borrow().objects.len(), 2);
        task.abort();
    }
}

/// A class and a Gateway with one port.
fn gateway() -> [ClusterChange; 2] {
    let revision = Revision {
        resource_version: "1".into(),
        generation: 1,
        created: 0,
    };
    let config = samples::gateway_api();
    let spec = serde_json::json!({ "controllerName": &*config.controller });
    let class = Record::GatewayClass(GatewayClassRecord {
        revision: revision.clone(),
        spec: serde_json::from_value(spec).unwrap(),
    });
    let spec = serde_json::json!({
        "gatewayClassName": &*config.class,
        "listeners": [{ "name": "l", "port": 443, "protocol": "TLS", "tls": { "mode": "Passthrough" } }],
    });
    let gateway = Record::Gateway(GatewayRecord {
        revision,
        spec: serde_json::from_value(spec).unwrap(),
    });
    let key = |namespace: &str, name: &str| ObjectKey {
        namespace: namespace.into(),
        name: name.into(),
    };
    let class_key = key("", &config.class);
    [
        ClusterChange::All(Kind::GatewayClass, vec![(class_key, class)]),
        ClusterChange::All(Kind::Gateway, vec![(key("apps", "gw"), gateway)]),
    ]
}

#[test]
fn a_pass_takes_half_of_the_time_at_most_and_bursts_are_gathered() {
    for (busy, expected) in [(0, 20), (1, 20), (10, 20), (11, 22), (150, 300)] {
        let [busy, expected] = [busy, expected].map(Duration::from_millis);
        assert_eq!(pause(busy), expected);
    }
    assert_eq!(pause(Duration::MAX), MAX_PAUSE);
}
