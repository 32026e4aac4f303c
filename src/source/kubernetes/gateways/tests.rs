//! Tests of the Gateway API's translation. Where the conformance suite has a test for TLS passthrough
//! (gateway-api v1.6, `conformance/tests/tlsroute-*`), its name is used.

mod conflicts;
mod conformance;
mod fixture;
mod mesh;
mod objects;
mod ownership;
mod precedence;
mod reach;
mod statuses;

use fixture::Fixture;
