//! The project's own hellos, valid and hostile, each with the result that a gateway must give.
//!
//! They cover the same cases as the hello corpus but contain none of its data. The tests of a plain
//! clone use them, and `strait selftest` replays them against a running gateway. All of them assume the
//! default bound of 64 KiB on the hello.

mod builder;
mod hostile;
mod valid;

pub use builder::{
    HelloBuilder, X25519, X25519_MLKEM768, X25519_MLKEM768_SHARE, fragments, message, record,
    records, vector_u8, vector_u16,
};

use crate::outcome::Outcome;

/// The bound that the vectors are made for, in bytes of the handshake message with its header.
pub const MAX_SIZE: usize = 64 * 1024;

/// The name in every valid vector that is not about names.
pub const ROUTE: &str = "svcb.apps.svc.cluster.local";

/// The bytes of a client, and the result that they must give.
#[derive(Debug, Clone)]
pub struct Vector {
    /// The unique name, which says what is special about it.
    pub name: &'static str,
    /// The class of the case.
    pub class: VectorClass,
    /// Everything the client sends, in one piece or in any pieces.
    pub bytes: Vec<u8>,
    /// The length up to the end of the record that completes the hello. It is all of `bytes`, except in
    /// vectors with bytes after the hello. It has no meaning without a valid hello.
    pub hello_len: usize,
    /// The normalised name that must be routed, or the outcome of a refusal.
    /// [`Outcome::ClientGoneBeforeHello`] is for the start of a hello whose client then closes.
    pub expect: Result<String, Outcome>,
}

/// The class of a vector: a line of `strait selftest`'s report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VectorClass {
    /// Hellos as clients send them, of every version.
    Usual,
    /// Valid hellos cut over several records.
    Fragmented,
    /// Valid hellos near a bound, and hellos beyond it.
    Large,
    /// Bytes after the hello, which belong to the endpoint.
    Followed,
    /// Server names that are normalised, or refused.
    Name,
    /// The form of the server_name extension.
    ServerNameList,
    /// Records that must not come before the hello's end.
    Record,
    /// The form of the message and of its other extensions.
    Message,
    /// Peers that do not speak TLS.
    NotTls,
    /// Only the start of a hello.
    CutShort,
}

impl VectorClass {
    /// The name in the report of `strait selftest`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Fragmented => "fragmented",
            Self::Large => "large",
            Self::Followed => "followed",
            Self::Name => "name",
            Self::ServerNameList => "server_name_list",
            Self::Record => "record",
            Self::Message => "message",
            Self::NotTls => "not_tls",
            Self::CutShort => "cut_short",
        }
    }
}

/// All vectors: some 150, 850 KiB together.
pub fn all() -> Vec<Vector> {
    [
        valid::usual(),
        valid::fragmented(),
        valid::large(),
        valid::followed(),
        valid::names(),
        hostile::too_large(),
        hostile::names(),
        hostile::server_name_lists(),
        hostile::records(),
        hostile::messages(),
        hostile::not_tls(),
        hostile::cut_short(),
    ]
    .concat()
}

impl Vector {
    fn routed(name: &'static str, class: VectorClass, bytes: Vec<u8>, route: &str) -> Self {
        Self {
            name,
            class,
            hello_len: bytes.len(),
            bytes,
            expect: Ok(route.to_owned()),
        }
    }

    fn refused(name: &'static str, class: VectorClass, bytes: Vec<u8>, outcome: Outcome) -> Self {
        Self {
            name,
            class,
            hello_len: bytes.len(),
            bytes,
            expect: Err(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_every_class_has_vectors() {
        let all = super::all();
        let names: HashSet<_> = all.iter().map(|vector| vector.name).collect();
        assert_eq!(names.len(), all.len());
        let classes: HashSet<_> = all.iter().map(|vector| vector.class.label()).collect();
        assert_eq!(classes.len(), 10);
    }

    #[test]
    fn the_same_bytes_each_time() {
        let bytes = || super::all().into_iter().map(|vector| vector.bytes);
        assert!(bytes().eq(bytes()));
    }
}
