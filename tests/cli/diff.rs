//! `strait diff`: each change of reach is said once, and what is none is not said.

use crate::program::{File, err, out, strait};

const OLD: &str = "
sources: [{ name: alpha, cidrs: [10.0.0.0/8] }]
listeners:
  - name: east-west
    bind: '127.0.0.1:15443'
    allow_sources: [alpha]
    routes:
      - { service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }
      - { sni: '*.bundles.beta.com', alpn: any, upstream: spire }
upstreams:
  svcb: { endpoints: ['127.0.0.1:8443'] }
  spire: { dns: 'spire.test:8443' }
";

/// The answer to a change of the old config.
#[track_caller]
fn diff(change: impl Fn(&str) -> String, code: i32, expected: &str) {
    let new = change(OLD);
    let (old, new) = (File::with(OLD), File::with(&new));
    let output = strait(&["diff", old.path(), new.path()]);
    assert_eq!(out(&output), expected, "{}", err(&output));
    assert_eq!(output.status.code(), Some(code));
}

/// The answer to a replacement of one text of the old config by another.
#[track_caller]
fn replaced(from: &str, to: &str, expected: &str) {
    assert!(OLD.contains(from), "{from}");
    diff(|old| old.replace(from, to), 1, expected);
}

#[test]
fn a_change_without_effect_on_reach_is_none() {
    let none = "no client gains or loses reach\n";
    diff(str::to_owned, 0, none);
    diff(
        |old| {
            old.replace(
                "'127.0.0.1:8443'",
                "{ address: '127.0.0.1:8443', weight: 7 }",
            )
        },
        0,
        none,
    );
    diff(
        |old| format!("{old}limits: {{ connections: 100 }}\n"),
        0,
        none,
    );
    diff(
        |old| {
            old.replace(
                "allow_sources: [alpha]",
                "allow_sources: [10.0.0.0/9, 10.128.0.0/9]",
            )
        },
        0,
        none,
    );
    // Both spellings of Istio's clients.
    diff(
        |old| {
            old.replace(
                "alpn: istio",
                "alpn: [istio-h2, istio, istio-peer-exchange, istio-http/1.0, istio-http/1.1]",
            )
        },
        0,
        none,
    );
}

#[test]
fn names_that_gain_lose_and_move_are_said_with_their_clients() {
    replaced(
        "alpn: istio",
        "alpn: any",
        "listener east-west: outbound_.80_._.svcb.apps.svc.cluster.local: other clients reach upstream svcb now, before alpn_refused\n\
         listener east-west: svcb.apps.svc.cluster.local: other clients reach upstream svcb now, before alpn_refused\n",
    );
    replaced(
        "      - { sni: '*.bundles.beta.com', alpn: any, upstream: spire }\n",
        "      - { sni: 'a.bundles.beta.com', alpn: any, upstream: spire }\n",
        "listener east-west: *.bundles.beta.com: all clients do not reach upstream spire any more, now no_route\n",
    );
    replaced(
        "    routes:\n",
        "    routes:\n      - { sni: 'a.bundles.beta.com', alpn: [h2], upstream: svcb }\n",
        "listener east-west: a.bundles.beta.com: clients that offer h2 move from upstream spire to svcb\n\
         listener east-west: a.bundles.beta.com: clients with Istio's mutual TLS and other clients do not reach upstream spire any more, now alpn_refused\n",
    );
}

#[test]
fn sources_and_their_groups_are_said() {
    replaced(
        "cidrs: [10.0.0.0/8]",
        "cidrs: [10.0.0.0/9]",
        "listener east-west: 10.128.0.0/9 (source group alpha) may not connect any more\n",
    );
    replaced(
        "allow_sources: [alpha]",
        "allow_sources: [alpha, 192.0.2.0/24]",
        "listener east-west: 192.0.2.0/24 (source group other) may connect now\n",
    );
}

#[test]
fn upstreams_that_lead_elsewhere_are_said() {
    replaced(
        "['127.0.0.1:8443']",
        "['127.0.0.1:8443', '127.0.0.3:8443']",
        "upstream svcb: endpoint 127.0.0.3:8443 is new\n",
    );
    replaced(
        "spire: { dns: 'spire.test:8443' }",
        "spire: { endpoints: ['127.0.0.9:1'] }",
        "upstream spire: its endpoints are 127.0.0.9:1 now, before those of spire.test:8443\n",
    );
}

#[test]
fn a_listener_that_comes_or_goes_is_said_with_its_reach() {
    let second = "  - name: b\n    bind: '127.0.0.1:15444'\n    allow_sources: [10.0.0.0/8]\n    routes: [{ sni: a.test, alpn: any, upstream: svcb }]\n";
    diff(
        |old| old.replace("upstreams:", &format!("{second}upstreams:")),
        1,
        "listener b: is new, on 127.0.0.1:15444\n\
         listener b: 10.0.0.0/8 (source group alpha) may connect now\n\
         listener b: a.test: all clients reach upstream svcb now, before no listener\n",
    );
    replaced(
        "bind: '127.0.0.1:15443'",
        "bind: '127.0.0.1:15445'",
        "listener east-west: is on 127.0.0.1:15445 now, before on 127.0.0.1:15443\n",
    );
}

#[test]
fn what_kubernetes_may_add_is_said_to_be_unknown() {
    diff(
        |old| format!("{old}kubernetes: {{ export: {{ mode: all }} }}\n"),
        1,
        "kubernetes: the routes that strait finds there may differ, which these files do not show: \
         cluster, cluster_domain, export, gateway_api, istio, kubeconfig, network, node, saved_state, upstream\n",
    );
}

#[test]
fn a_config_with_problems_has_no_difference() {
    let (good, bad) = (File::with(OLD), File::with("listeners: 5"));
    for arguments in [
        [good.path(), bad.path()],
        [bad.path(), good.path()],
        [good.path(), "/nowhere"],
    ] {
        let output = strait(&[&["diff"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", out(&output));
        assert_eq!(out(&output), "");
    }
}
