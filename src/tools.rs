//! Programs around the gateway: the demo, the load tool and the self-test, with what they and the tests share: a
//! certificate authority of SPIFFE identities, and readers of access log and metrics.
//!
//! The feature `tools` has them. A gateway needs none, so the image's program is built without the feature
//! (`docs/src/internals/build.md`).

pub mod demo;
pub mod load;
pub mod records;
pub mod refusal;
pub mod scrape;
pub mod selftest;
pub mod spiffe;
pub mod wire;
