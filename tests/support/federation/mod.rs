//! The two clusters of `config/federation/` on one machine: real sidecars, a real gateway, and two
//! trust domains. SPIRE's own code signs, delivers and federates ([`spire`]); [`sds`] has files in its place
//! for what SPIRE would not sign. What stands in for istiod is [`sidecar`] (it configures).

pub mod app;
pub mod balancer;
#[expect(dead_code, reason = "what stands in for DNS here takes a part")]
#[path = "../dns_server.rs"]
mod dns_server;
pub mod envoy;
pub mod http;
pub mod load;
pub mod manifests;
pub mod names;
pub mod sds;
pub mod sidecar;
pub mod spire;
pub mod world;

use std::net::SocketAddr;

use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;

/// The one route of config/federation/cluster-b for callers.
pub const SERVICE_ROUTE: &str =
    "[{ service: 'svcb.apps.svc.cluster.local:80', alpn: istio, upstream: svcb }]";

/// Cluster B's gateway, in front of these pods.
pub fn gateway(pods: &[SocketAddr]) -> TestGateway {
    TestGateway::start(&ConfigText::to(pods).routes(SERVICE_ROUTE))
}
