//! Routes of one name that share its clients by ALPN.

use std::io::Write;

use crate::support::SERVICE;
use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::{Server, read_exactly};

#[test]
fn each_client_reaches_the_server_of_its_protocol() {
    let (challenges, pages) = (Server::echo(), Server::echo());
    let text = format!(
        "
listeners:
  - name: east-west
    bind: '127.0.0.1:0'
    routes:
      - {{ name: pages, sni: {SERVICE}, alpn: [h2, http/1.1], upstream: pages }}
      - {{ name: challenges, sni: {SERVICE}, alpn: [acme-tls/1], upstream: challenges }}
      - {{ name: rest, sni: '*', alpn: any, upstream: pages }}
upstreams:
  challenges: {{ endpoints: ['{}'] }}
  pages: {{ endpoints: ['{}'] }}
",
        challenges.address, pages.address
    );
    let gateway = TestGateway::start(&ConfigText::verbatim(&text));
    for (offers, route) in [
        (&["acme-tls/1"][..], "challenges"),
        (&["http/1.1"], "pages"),
        (&["h2", "acme-tls/1"], "pages"),
        (&["acme-tls/1", "h2"], "challenges"),
    ] {
        let mut client = connect(gateway.address());
        let source = client.local_addr().unwrap();
        let wire = hello(SERVICE, offers);
        client.write_all(&wire).unwrap();
        assert_eq!(read_exactly(&mut client, wire.len()), wire);
        drop(client);
        let record = gateway.record_of(source);
        assert_eq!(record.route.as_deref(), Some(route), "{offers:?}");
    }
    assert_eq!((challenges.connections(), pages.connections()), (2, 2));
    for offers in [&[][..], &["istio"]] {
        let mut client = connect(gateway.address());
        client.write_all(&hello(SERVICE, offers)).unwrap();
        let record = gateway.record_of(client.local_addr().unwrap());
        assert_eq!(record.outcome, "alpn_refused", "{record:?}");
        assert_eq!(record.route.as_deref(), Some("pages"), "the first counts");
        let detail = record.detail.unwrap();
        let both =
            "route pages demands ALPN h2, http/1.1, route challenges demands ALPN acme-tls/1";
        assert_eq!(detail, both);
    }
}
