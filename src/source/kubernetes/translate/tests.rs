//! Tests of the whole translation, from objects to routes and endpoints.

mod changes;
mod clusters;
mod clusters_by_change;
mod cost;
mod endpoints;
mod entries;
mod exports;
mod fixtures;
mod gateways;
mod mesh;
mod mtls;
mod names;
mod sidecars;
mod topology;
mod unknown;
mod wishes;
mod workloads;
