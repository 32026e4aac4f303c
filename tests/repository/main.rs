//! Tests of the repository itself: its layers, its documents, its image and its manifests.

#[expect(dead_code, reason = "this program uses a part of what the tests share")]
#[path = "../support/mod.rs"]
mod support;

mod config_schema;
mod dockerfile;
mod docs;
mod failures;
mod helm_chart;
mod image_build;
mod kubernetes_manifests;
mod layering;
mod manifests;
mod mistakes;
mod monitoring;
mod programs;
mod release;
mod type_names;
mod versions;
