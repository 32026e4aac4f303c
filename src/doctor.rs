//! A look at a federation of two clusters from outside: `strait doctor`.
//!
//! Both sides show to everybody what a caller sees before it needs an identity: certificates, the names of the CAs that a
//! sidecar trusts, the bundles that SPIRE serves, and how a gateway refuses. [`Federation`] says what should be there,
//! `probe` and `gather` look, and `judge` compares (pure). Nothing here trusts a certificate or changes anything. With the
//! SVID of a caller (`identity`, by files or by `workload_api`), `call` also makes the caller's calls, which tell what only a caller learns.
//!
//! The page of the documentation is `docs/src/operate/doctor.md`.

mod bundle;
mod call;
mod certificate;
mod checks;
mod file;
mod gather;
mod identity;
mod judge;
mod manifests;
mod objects;
mod probe;
mod seen;
mod text;
mod view;
#[cfg(feature = "workload-api")]
mod workload_api;

pub(crate) use checks::{DoctorCheck, DoctorState};
pub use file::{
    BundleFacts, BundleProfile, FederatedService, Federation, FederationSide, ServiceProtocol,
};
pub(crate) use gather::{DoctorClusters, gather};
pub(crate) use identity::{CallerSvid, DoctorCallers, SvidPem};
pub(crate) use judge::judge;
pub(crate) use manifests::federation_file;
pub use probe::LABEL;
pub use text::{BundleUrl, GatewayPlace};
#[cfg(feature = "workload-api")]
pub(crate) use workload_api::fetch_svid;

/// The page that explains each check.
pub(crate) const PAGE: &str = "docs/src/operate/doctor.md";
