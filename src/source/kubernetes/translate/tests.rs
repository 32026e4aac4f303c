//! The translation as a whole: objects in, routes and endpoints out.

mod changes;
mod cost;
mod endpoints;
mod exports;
mod fixtures;
mod gateways;
mod mesh;
mod mtls;
mod names;
mod sidecars;
mod topology;
mod unknown;
