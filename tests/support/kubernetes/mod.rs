//! The shared parts of the Kubernetes source's tests: an API server that stands in for the real one,
//! pods that send their name, and a gateway that watches the server and leads to the pods.

pub mod api_server;
pub mod objects;
pub mod pods;
pub mod scenario;

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

/// A port of 127.0.0.1 that was free a moment ago, and that the kernel gives to nobody who asks for any.
pub fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000));
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).unwrap()
}
