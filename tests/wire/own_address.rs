//! An endpoint that is the gateway itself: one hello must not become connections without end.

use std::net::SocketAddr;

use strait::config::{Config, Loaded, Machine};

use crate::support::client::open;
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::namespace::{add_address, in_namespace};
use crate::support::server::read_to_error;

/// Connections that the gateway would make to itself.
const LIMIT: &str = "limits: { connections: 200 }";

#[test]
fn an_address_that_becomes_the_hosts_own_leads_nowhere() {
    in_namespace(
        "own_address::an_address_that_becomes_the_hosts_own_leads_nowhere",
        || {
            for (bind, late) in [("0.0.0.0:15443", 8), ("[::]:15444", 9)] {
                let bind: SocketAddr = bind.parse().unwrap();
                let endpoint = SocketAddr::from(([10, 9, 9, late], bind.port()));
                let config = ConfigText::to(&[endpoint]).bind(bind).top(LIMIT);
                let gateway = TestGateway::start(&config);
                add_address(&format!("{}/32", endpoint.ip()));
                let (mut client, _) = open(SocketAddr::from(([127, 0, 0, 1], bind.port())));
                let record = gateway.record_of(client.local_addr().unwrap());
                assert_eq!(record.outcome, "connect_unreachable", "{record:?}");
                let detail = record.detail.unwrap();
                assert_eq!(detail, format!("{endpoint} is this gateway itself: a loop"));
                read_to_error(&mut client);
                let accepted = gateway.metric("strait_connections_accepted_total", &[]);
                assert!(accepted <= 4.0, "one hello became {accepted} connections");
                // From now on it is refused when the config is read.
                let error = Config::parse(&config.text(), "f").unwrap_err().to_string();
                assert!(error.contains("a loop"), "{error}");
            }
        },
    );
}

#[test]
fn an_endpoint_that_is_this_gateway_is_refused_before_it_starts() {
    let machine = Machine {
        interfaces: vec!["10.1.2.3".parse().unwrap(), "fd00::5".parse().unwrap()],
        ..Machine::current()
    };
    let refused = |bind: &str, endpoint: &str| {
        let text = ConfigText::to(&[endpoint.parse().unwrap()]).bind(bind.parse().unwrap());
        match Loaded::parse(text.text().as_bytes(), "f", &machine) {
            Ok(_) => false,
            Err(error) => {
                assert!(error.to_string().contains("a loop"), "{error}");
                true
            }
        }
    };
    for (bind, endpoint, expected) in [
        ("[::]:15443", "10.1.2.3:15443", true),
        ("[::]:15443", "[fd00::5]:15443", true),
        ("0.0.0.0:15443", "10.1.2.3:15443", true),
        ("0.0.0.0:15443", "127.0.0.9:15443", true),
        ("10.1.2.3:15443", "10.1.2.3:15443", true),
        ("0.0.0.0:15443", "[fd00::5]:15443", false),
        ("127.0.0.1:15443", "10.1.2.3:15443", false),
        ("[::]:15443", "10.1.2.3:443", false),
        ("[::]:15443", "10.1.2.4:15443", false),
    ] {
        assert_eq!(
            refused(bind, endpoint),
            expected,
            "{endpoint} behind {bind}"
        );
    }
}
