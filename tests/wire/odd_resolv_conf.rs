//! A host whose `/etc/resolv.conf` is odd: it ends no start, least of all that of a config without DNS.

use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::namespace::{in_namespace, replace_file};
use crate::support::process::Folder;
use crate::support::server::{Server, read_exactly};

#[test]
fn an_odd_resolv_conf_ends_no_start() {
    in_namespace("odd_resolv_conf::an_odd_resolv_conf_ends_no_start", || {
        let folder = Folder::create();
        for (number, text) in [
            "",
            "# nothing but a comment\n",
            "search foo..bar\n",
            "nameserver\noptions no-such-option ndots:x\n",
            "nameserver fe80::1%nowhere\n\u{fffd}\n",
        ]
        .iter()
        .enumerate()
        {
            replace_file("/etc/resolv.conf", &folder.file(&number.to_string(), text));
            let echo = Server::echo();
            let static_only = ConfigText::to(&[echo.address]);
            let with_dns = static_only
                .clone()
                .routes(
                    "[{ service: 'svcb.apps.svc.cluster.local:80', alpn: any, upstream: svcb }, \
                     { sni: named.example, alpn: any, upstream: named }]",
                )
                // Follows the keys of the upstream before.
                .upstream("tcp: {}\n  named: { dns: 'pods.example:443' }");
            for config in [static_only, with_dns] {
                let gateway = TestGateway::start(&config);
                let (mut client, length) = open(gateway.address());
                read_exactly(&mut client, length);
            }
        }
    });
}
