//! Tests of what a connection meets, on real sockets: a gateway, servers behind it, clients in front of it.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/dns_server.rs"]
mod dns_server;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod accept_queue;
mod access_log_options;
mod broken_endpoints;
mod connect_retry;
mod connection_limits;
mod connection_quotas;
mod drain_under_load;
mod end_disallowed;
mod endpoint_acts;
mod explain_live;
mod hello_fingerprints;
mod hello_memory;
mod hello_on_the_wire;
mod hellos_kept;
mod mtls_passthrough;
mod no_local_port;
mod no_sni_route;
mod odd_resolv_conf;
mod open_connections;
mod outcomes_all;
mod own_address;
mod proxy_protocol;
mod proxy_protocol_haproxy;
mod relay_half_close;
mod relay_liveness;
mod relay_reset;
mod relay_slow_reader;
mod relay_splice;
mod reload_binds;
mod reload_under_load;
mod route_timeouts;
mod routes_by_alpn;
mod starttls_postgres;
mod unrouted_names;
mod upstream_balance;
mod upstream_checks;
mod upstream_limits;
mod worker_rounds;
