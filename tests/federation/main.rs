//! Tests of two clusters with real Envoys as sidecars, and the gateway between them.

#[expect(dead_code, reason = "a bench uses the rest")]
#[path = "../support/federation/mod.rs"]
mod federation;
#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod bundle;
mod churn;
#[cfg(feature = "doctor")]
mod doctor;
#[cfg(feature = "doctor")]
mod doctor_between;
#[cfg(feature = "doctor")]
mod doctor_healthy;
#[cfg(feature = "doctor")]
mod doctor_pods;
#[cfg(feature = "doctor")]
mod doctor_spire;
#[cfg(feature = "doctor")]
mod doctor_svid;
#[cfg(feature = "doctor")]
mod doctor_view;
#[cfg(feature = "workload-api")]
mod doctor_workload_api;
mod identity;
mod lines;
mod refusals;
mod rotation;
#[cfg(feature = "doctor")]
mod servers;
mod shipped_manifests;
