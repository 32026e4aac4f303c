//! The Kubernetes source: watches the API of a cluster and keeps routes and endpoints of its exported
//! services up to date.
//!
//! ```text
//!  watch        list and watch of one kind each; an object is cut down to its record at once
//!    |  Change
//!  cluster      holds every record; says what a change concerns
//!    |
//!  translate    pure: records and policy -> routes, endpoints, and why a host has no route
//!    |  Discovered (the newest one wins)
//!  app          merges it with the file and swaps
//! ```
//!
//! The feature `kubernetes` has the source; a build without it has only the types that `app` knows (`absent`).
//!
//! A container that starts again while the API does not answer takes the records from a file (`saved`).
//!
//! A change that touches only endpoints never makes a new route table.

#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "the source fills it")
)]
mod discovered;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "the source fills it")
)]
mod mailbox;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "the source reads it")
)]
mod ports;

#[cfg(not(feature = "kubernetes"))]
mod absent;
#[cfg(feature = "kubernetes")]
mod api_names;
#[cfg(feature = "kubernetes")]
mod cluster;
#[cfg(feature = "kubernetes")]
mod gateways;
#[cfg(feature = "kubernetes")]
pub mod records;
#[cfg(feature = "kubernetes")]
mod saved;
#[cfg(feature = "kubernetes")]
mod status;
#[cfg(feature = "kubernetes")]
mod translate;
#[cfg(feature = "kubernetes")]
mod watch;

pub use discovered::{Discovered, Routing, Skipped};
pub use mailbox::{ClusterState, FIRST_LISTS, FromFile, Mailbox, NOT_LISTED, Publication};
pub use ports::Ports;

#[cfg(not(feature = "kubernetes"))]
pub use absent::{ApiReader, KubernetesError, KubernetesSource, PodReporter, StatusWriter};
#[cfg(feature = "kubernetes")]
pub use cluster::{Cluster, ClusterChange, Dirty, Kind, Record, Table, Unreadable};
#[cfg(feature = "kubernetes")]
pub use status::{
    Condition, ConditionKind, LeaseHolder, LeaseTiming, LeftOutGateways, ListenerStatus, Notice,
    Notices, ParentStatus, PodReporter, Status, StatusWriter, Statuses, Wanted,
};
#[cfg(feature = "kubernetes")]
pub use translate::{Translator, WantedName};
#[cfg(feature = "kubernetes")]
pub use watch::{ApiReader, ApiTiming, KubernetesError, KubernetesSource};
