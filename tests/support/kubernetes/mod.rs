//! The shared parts of the Kubernetes source's tests: an API server that stands in for the real one,
//! pods that send their name, and a gateway that watches the server and leads to the pods.

pub mod api_server;
pub mod objects;
pub mod pods;
pub mod scenario;

use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::config_text::ConfigText;
use api_server::ApiServer;

/// One listener without routes of its own, and the section `kubernetes` with these keys, a flow map
/// without its braces.
pub fn config(api: &ApiServer, keys: &str) -> ConfigText {
    let kubeconfig = api.kubeconfig();
    let text = format!(
        "listeners: [{{ name: east-west, bind: '127.0.0.1:0' }}]
kubernetes: {{ kubeconfig: '{}', {keys} }}",
        kubeconfig.display()
    );
    ConfigText::verbatim(&text)
}

/// A port of 127.0.0.1 that was free a moment ago, that the kernel gives to nobody who asks for any, and that no other
/// call in this process returns. Programs of tests that run side by side begin at ports of their own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 400).unwrap() * 30;
    let mut ports = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).unwrap()
}
