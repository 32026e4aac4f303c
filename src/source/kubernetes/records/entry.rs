//! The records of Istio's ServiceEntries and WorkloadEntries: hosts that are no Services, and workloads that are
//! no pods.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::labels::Labels;

/// Istio's ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntryRecord {
    /// `metadata.resourceVersion`.
    pub resource_version: Arc<str>,
    /// `metadata.creationTimestamp`, seconds since 1970. Of two with one host the older counts.
    pub created: i64,
    /// Its labels.
    pub labels: Labels,
    /// strait's annotations (`strait.dev/...`), without the prefix.
    pub annotations: Labels,
    /// `hosts`, in lower case.
    pub hosts: Box<[Arc<str>]>,
    /// True if its `location` is MESH_EXTERNAL: no gateway of the mesh serves its hosts.
    pub external: bool,
    /// True if its `resolution` is by DNS.
    pub by_dns: bool,
    /// `exportTo`. Empty without one.
    pub export_to: Box<[Arc<str>]>,
    /// TCP ports.
    pub ports: Box<[EntryPortRecord]>,
    /// `endpoints`.
    pub endpoints: Box<[WorkloadRecord]>,
    /// `workloadSelector`, if it has one: its endpoints are then the workloads of its namespace with these
    /// labels.
    pub selector: Option<Labels>,
}

/// A TCP port of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPortRecord {
    /// Its name.
    pub name: Arc<str>,
    /// `number`, which clients ask for.
    pub port: u16,
    /// `targetPort`.
    pub target: Option<NonZeroU16>,
}

/// A workload that is no pod: an endpoint of a ServiceEntry, or a WorkloadEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRecord {
    /// `address`.
    pub address: WorkloadAddress,
    /// Its labels. Subsets, PeerAuthentications and `security.istio.io/tlsMode` use them.
    pub labels: Labels,
    /// True if it has a `serviceAccount`: it then speaks mutual TLS, unless its labels say otherwise.
    pub has_account: bool,
    /// `ports`: its own port for the name of a service port.
    pub ports: Box<[(Arc<str>, u16)]>,
    /// `network`, if it is not empty.
    pub network: Option<Arc<str>>,
    /// `locality`, if it is not empty: `REGION/ZONE/SUBZONE`.
    pub locality: Option<Arc<str>>,
    /// `weight`; 0 if it has none.
    pub weight: u32,
}

/// Istio's WorkloadEntry: a workload that Services and ServiceEntries of its namespace select by its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadEntryRecord {
    /// The workload. Its labels are those of the object, and those of its `spec` that the object lacks.
    pub workload: WorkloadRecord,
    /// True if it has health checks and its condition `Healthy` is not true.
    pub unhealthy: bool,
}

/// The address of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A name to look up in DNS.
    Name(Arc<str>),
    /// Nothing that a TCP connection can go to: a Unix socket, or a workload behind its network's gateway.
    None,
}
