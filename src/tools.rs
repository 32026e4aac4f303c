//! Programs around the gateway (the demo, the load tool, the self-test) and the parts that they share with the
//! tests: a certificate authority of SPIFFE identities, and readers of access log and metrics.
//!
//! They are part of the feature `tools`. The gateway does not need them, so the image's program is built without
//! this feature (`docs/src/internals/build.md`).

pub mod demo;
pub mod load;
pub mod records;
pub mod refusal;
pub mod scrape;
pub mod selftest;
pub mod spiffe;
pub mod wire;
