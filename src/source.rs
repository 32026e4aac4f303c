//! Discovery: sources that find endpoints for upstreams (DNS, Kubernetes) and whole routes
//! (Kubernetes).
//!
//! A source runs on the control thread, never on a worker: an outage of DNS or of the API delays no
//! byte of traffic. It reports answers and failures to an [`Upstream`](crate::upstream::Upstream), and
//! decides itself whether a bad answer removes endpoints (for DNS: never).

mod address_kind;
pub mod dns;
pub mod kubernetes;
