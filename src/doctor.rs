//! A look at a federation of two clusters from outside: `strait doctor`.
//!
//! Both sides show in clear what a caller sees before it needs an identity: certificates, the names of the CAs that a
//! sidecar trusts, the bundles that SPIRE serves, and how a gateway refuses. [`Federation`] says what should be there,
//! `probe` and `gather` look, and `judge` compares (pure). Nothing here holds a key, trusts a certificate or changes
//! anything.
//!
//! The page of the documentation is `docs/src/operate/doctor.md`.

mod bundle;
mod certificate;
mod checks;
mod file;
mod gather;
mod judge;
mod probe;
mod seen;
mod text;

pub(crate) use checks::{DoctorCheck, DoctorState};
pub use file::{BundleFacts, BundleProfile, FederatedService, Federation, FederationSide};
pub(crate) use gather::gather;
pub(crate) use judge::judge;
pub use probe::LABEL;
pub use text::{BundleUrl, GatewayPlace};

/// The page that explains each check.
pub(crate) const PAGE: &str = "docs/src/operate/doctor.md";
