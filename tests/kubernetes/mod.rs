//! What the tests of the Kubernetes source share: an API server that stands in for the real one.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod api_server;
