//! A strait whose Kubernetes API has gone away.

use std::net::SocketAddr;

use serde_json::json;

use super::super::kubernetes::api_server::ApiServer;
use super::super::kubernetes::{config, objects};
use crate::support::gateway::TestGateway;
use crate::support::wait_until;

/// The Service whose pod moves.
pub(super) const MOVED: &str = "moved.apps.svc.cluster.local";

/// Starts a strait that learns of one pod, and takes the API away from it. What happens in the cluster from then on
/// strait cannot know: the pod moves, and a Service is made.
pub(super) fn start(pod: SocketAddr) -> TestGateway {
    let api = ApiServer::start();
    api.put_all(objects::served("apps", "moved", 443, pod));
    api.put(objects::pod("apps", "moved", &json!({})));
    let gateway = TestGateway::start(&config(&api, "export: { mode: all, alpn: any }"));
    gateway.wait_ready();
    api.down();
    for kind in ["service", "endpoint_slice"] {
        wait_until("strait notices that the API is away", || {
            gateway.metric("strait_kubernetes_stale", &[("kind", kind)]) == 1.0
        });
    }
    gateway
}
