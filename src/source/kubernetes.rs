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
//! A change that touches only endpoints never makes a new route table.

mod api_names;
mod cluster;
mod discovered;
mod gateways;
pub mod records;
mod status;
mod translate;
mod watch;

pub use cluster::{Change, Cluster, Dirty, Kind, Record, Table, Unreadable};
pub use discovered::{Discovered, Routing, Skipped};
pub use status::{
    Condition, ConditionKind, LeaseHolder, LeaseTiming, LeftOut, ListenerStatus, Notice, Notices,
    ParentStatus, Status, StatusWriter, Statuses, Wanted,
};
pub use translate::Translator;
pub use watch::{ApiTiming, FIRST_LISTS, KubernetesError, KubernetesSource, Mailbox, Publication};
