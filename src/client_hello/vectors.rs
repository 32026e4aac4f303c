//! Hellos and other first bytes of a connection, each with what must become of it.
//!
//! They are generated, so that a plain clone of the project tests the ground that other projects'
//! captured hellos cover, and so that `strait selftest` can send them to any gateway. The tests
//! show each to [`HelloParser`](super::HelloParser) whole, cut at every offset, and re-cut into
//! records of many sizes.

mod accepted;
mod builder;
mod refused;

pub use builder::{HelloBuilder, extension, handshake, record, records};

use crate::outcome::Outcome;

/// The `client_hello.max_size` that the vectors are made for: its default.
pub const MAX_SIZE: usize = 64 << 10;

/// The name that the vectors ask for when the name is not their point.
pub const HOST: &str = "svcb.apps.svc.cluster.local";

/// What a vector is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Hellos as clients send them.
    Ordinary,
    /// Valid hellos that are long, or cut into many records.
    Extreme,
    /// The server name's bytes.
    Name,
    /// Records: types, versions, lengths.
    Record,
    /// The message's fields and extensions.
    Message,
    /// No TLS.
    NotTls,
}

impl Class {
    /// The word for it in reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Extreme => "extreme",
            Self::Name => "name",
            Self::Record => "record",
            Self::Message => "message",
            Self::NotTls => "not_tls",
        }
    }
}

/// What a client sends first, and what must become of it.
#[derive(Debug, Clone)]
pub struct Vector {
    /// Unique, in snake_case.
    pub name: &'static str,
    /// What it is about.
    pub class: Class,
    /// Everything that the client sends.
    pub bytes: Vec<u8>,
    /// The normalised name that is looked up among the routes, or why the client is refused.
    pub expect: Result<String, Outcome>,
}

impl Vector {
    fn routed(name: &'static str, class: Class, bytes: Vec<u8>, route: &str) -> Self {
        let expect = Ok(route.to_owned());
        Self {
            name,
            class,
            bytes,
            expect,
        }
    }

    fn refused(name: &'static str, class: Class, bytes: Vec<u8>, outcome: Outcome) -> Self {
        let expect = Err(outcome);
        Self {
            name,
            class,
            bytes,
            expect,
        }
    }
}

/// Every vector, by class.
pub fn vectors() -> Vec<Vector> {
    [
        accepted::ordinary(),
        accepted::extreme(),
        accepted::names(),
        accepted::records_and_messages(),
        refused::names(),
        refused::record_layer(),
        refused::messages(),
        refused::extensions(),
        refused::not_tls(),
    ]
    .concat()
}
