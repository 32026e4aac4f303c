//! Sources: what finds endpoints for upstreams (DNS, Kubernetes) and whole routes (Kubernetes).
//!
//! A source runs on the control thread, never on a worker: an outage of what it asks delays no byte
//! of traffic. It tells an [`Upstream`](crate::upstream::Upstream) of answers and of failures, and
//! decides itself what a bad answer may take away (for DNS: nothing).

pub mod dns;
pub mod kubernetes;
