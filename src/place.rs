//! The place of the process: its pod, its namespace and its node.

use std::env;

/// The environment variable with the name of the pod.
const POD_VARIABLE: &str = "STRAIT_POD_NAME";
/// The environment variable with the namespace of the pod.
const NAMESPACE_VARIABLE: &str = "STRAIT_POD_NAMESPACE";
/// The environment variable with the name of the node.
const NODE_VARIABLE: &str = "STRAIT_NODE_NAME";

/// The place of a process, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessPlace {
    /// The name of the pod. In Kubernetes the name of the host is that of the pod.
    pub pod: Option<String>,
    /// The namespace of the pod.
    pub namespace: Option<String>,
    /// The name of the node.
    pub node: Option<String>,
}

impl ProcessPlace {
    /// The place of this process: the environment says it, otherwise the name of the host is that of the pod.
    pub fn of_this_process() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let host = || {
            let name = rustix::system::uname();
            let name = name.nodename().to_string_lossy().into_owned();
            Some(name).filter(|name| !name.is_empty())
        };
        Self {
            pod: variable(POD_VARIABLE).or_else(host),
            namespace: variable(NAMESPACE_VARIABLE),
            node: variable(NODE_VARIABLE),
        }
    }
}
