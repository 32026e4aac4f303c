//! The two clusters of `config/federation/` on one machine: real sidecars, a real gateway, and two
//! trust domains. What stands in for SPIRE is [`sds`] (it delivers) and [`bundles`] (it federates);
//! for istiod, [`sidecar`] (it configures).

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod app;
pub mod envoy;
pub mod http;
pub mod sds;
pub mod sidecar;

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
