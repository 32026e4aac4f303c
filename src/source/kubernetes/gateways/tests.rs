//! Named after the conformance suite's tests for TLS passthrough where it has one
//! (gateway-api v1.6, `conformance/tests/tlsroute-*`).

mod conflicts;
mod conformance;
mod fixture;
mod mesh;
mod objects;
mod ownership;
mod precedence;
mod statuses;

use fixture::Fixture;
