//! Pods and gateways come and go under load, with real sidecars on both sides, and no call fails that
//! need not.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use crate::federation::app::App;
use crate::federation::balancer::{self, Backend};
use crate::federation::load::Load;
use crate::federation::manifests::Manifests;
use crate::federation::names::{ClusterDns, pod_address};
use crate::federation::sidecar::{Inbound, Outbound, Protocol, Sidecar, svcb};
use crate::federation::{SERVICE_ROUTE, gateway};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::mtls::Pki;
use crate::support::process::Process;
use crate::support::wait_until;

const HEADLESS: &str = "svcb-headless.apps.svc.cluster.local";
const PORT: u16 = 8080;

/// A pod of svcb, with an address of its own.
struct Pod {
    name: String,
    at: SocketAddr,
    sidecar: Sidecar,
    _app: App,
}

impl Pod {
    fn start(pki: &Pki, name: &str) -> Self {
        let at = SocketAddr::new(pod_address(), PORT);
        let app = App::start(name);
        let inbound = Inbound {
            bind: at,
            ..Inbound::to(app.address)
        };
        Self {
            name: name.to_owned(),
            at,
            sidecar: inbound.start(&pki.svcb, &pki.bundles()),
            _app: app,
        }
    }

    /// As Istio's agent does at SIGTERM: clients learn of it with their next answers, and the process
    /// ends once no client is connected any more.
    fn terminate(mut self) {
        self.sidecar
            .envoy
            .post("/drain_listeners?graceful&skip_exit");
        wait_until("nobody is connected any more", || {
            self.sidecar.envoy.stat("http.downstream_cx_active") == 0
        });
        self.sidecar.envoy.stop();
    }
}

fn until_answered(load: &Load, pod: &str) {
    let before = load.answered_by(pod);
    wait_until(&format!("{pod} has answered more calls"), || {
        load.answered_by(pod) > before + 20
    });
}

#[test]
fn pods_come_and_go_under_load() {
    const CALLERS: usize = 4;
    let pki = Pki::create();
    let dns = ClusterDns::start();
    let publish = |pods: &[&Pod]| {
        let addresses: Vec<_> = pods.iter().map(|pod| pod.at.ip()).collect();
        dns.set(HEADLESS, &addresses);
    };
    let [first, second] = ["svcb-1", "svcb-2"].map(|name| Pod::start(&pki, name));
    publish(&[&first, &second]);
    let source = format!(
        "upstreams: {{ svcb: {{ dns: {{ name: '{HEADLESS}:{PORT}', min_ttl: 1s, max_ttl: 1s, \
         allow: [loopback] }} }} }}"
    );
    let config = ConfigText::to(&[]).routes(SERVICE_ROUTE).top(&source);
    let config = config.top(&format!("resolver: {{ servers: ['{}'] }}", dns.address()));
    let gateway = TestGateway::start(&config);
    // Calls reach a new pod only by new connections.
    let outbound = Outbound {
        max_connection_duration: Some(Duration::from_millis(300)),
        ..Outbound::to(gateway.address())
    };
    let a = outbound.start(&pki.svca, &pki.bundles());
    let load = Load::start(&[a.address], CALLERS);
    for pod in [&first, &second] {
        until_answered(&load, &pod.name);
    }

    let third = Pod::start(&pki, "svcb-3");
    publish(&[&first, &second, &third]);
    until_answered(&load, "svcb-3");

    publish(&[&second, &third]);
    // Kubernetes' grace is long enough for it: nobody is sent there any more.
    wait_until("the gateway knows that it goes", || {
        gateway.metric("strait_upstream_endpoints", &[]) == 2.0
    });
    first.terminate();
    let tally = load.tally();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);

    // Without a word: what is under way on it is lost, and nothing else.
    let mut second = second;
    second.sidecar.envoy.kill();
    until_answered(&load, "svcb-3");
    publish(&[&third]);
    until_answered(&load, "svcb-3");
    let tally = load.finish();
    let failed = tally.failed.len();
    assert!(failed <= CALLERS, "{failed} failed: {:?}", tally.failed);
    // The gateway tried another pod where one refused.
    assert_eq!(gateway.closed("connect_refused"), 0.0);
}

/// The factor by which the times of config/federation/ are shortened. What is left between the end of the last connection
/// and that of the drain is more than a machine stands still.
const HASTE: u32 = 4;

fn in_haste(duration: Duration) -> String {
    format!("{}ms", (duration / HASTE).as_millis())
}

#[test]
fn one_of_two_gateways_drains_under_load_and_no_call_fails() {
    let pki = Pki::create();
    let [shipped_a, shipped_b] = Manifests::shipped().clusters();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let (delay, window) = shipped_b.drain();
    let drain = format!(
        "drain: {{ readiness_delay: {}, window: {} }}",
        in_haste(delay),
        in_haste(window)
    );
    let config = ConfigText::to(&[b.address])
        .routes(SERVICE_ROUTE)
        .top(&drain);
    let mut gateways = [Process::start(&config), Process::start(&config)];
    let backend = |gateway: &Process| Backend {
        traffic: gateway.address,
        status: gateway.server("status"),
    };
    let address = balancer::start(gateways.iter().map(backend).collect());
    let sidecars = [Protocol::Http1, Protocol::Http2].map(|protocol| {
        let outbound = Outbound {
            protocol,
            max_connection_duration: Some(shipped_a.max_connection_duration() / HASTE),
            ..Outbound::to(address.address)
        };
        outbound.start(&pki.svca, &pki.bundles())
    });
    let load = Load::start(&[sidecars[0].address, sidecars[1].address], 2);
    wait_until("both gateways carry calls", || {
        gateways.iter().all(|gateway| gateway.closed("ok") >= 2.0)
    });
    gateways[0].signal(Signal::TERM);
    let ended = gateways[0].wait_end();
    assert!(ended.success(), "{ended:?}");
    until_answered(&load, "svcb-1");
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    assert!(tally.answered["svcb-1"] > 100, "{tally:?}");
}

/// The purpose of the shipped maxConnectionDuration.
#[test]
fn connections_are_renewed_without_a_failed_call() {
    let pki = Pki::create();
    let app = App::start("svcb-1");
    let b = svcb(&pki, app.address);
    let gateway = gateway(&[b.address]);
    let outbound = Outbound {
        max_connection_duration: Some(Duration::from_millis(200)),
        ..Outbound::to(gateway.address())
    };
    let a = outbound.start(&pki.svca, &pki.bundles());
    let load = Load::start(&[a.address], 2);
    wait_until("connections were renewed", || gateway.closed("ok") >= 10.0);
    let tally = load.finish();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    // Envoy closes its socket wholly: that is no reset to be alarmed about.
    assert_eq!(gateway.closed("downstream_reset"), 0.0);
}
