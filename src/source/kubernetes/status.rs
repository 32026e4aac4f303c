//! The wanted status of the Gateway API's objects. The translation makes it as plain data; one replica
//! writes it to the API.

mod complaints;
mod condition;
mod events;
mod lease;
mod left_out;
mod merge;
mod notice;
mod object;
mod pod_event;
mod queue;
mod statuses;
mod write;

pub(super) use left_out::Announcer;

pub use condition::{Condition, ConditionKind};
pub use lease::{LeaseHolder, LeaseTiming};
pub use left_out::LeftOutGateways;
pub use notice::{Notice, Notices};
pub use pod_event::PodReporter;
pub(super) use statuses::UNSUPPORTED_CLASS;
pub use statuses::{ListenerStatus, ParentStatus, Status, Statuses, Wanted};
pub use write::StatusWriter;
