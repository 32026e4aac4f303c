//! The status of the Gateway API's objects: what it should be is plain data, made by the translation;
//! one replica writes it back.

mod complaints;
mod events;
mod lease;
mod left_out;
mod merge;
mod notice;
mod object;
mod queue;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::Kind;
use super::records::ObjectKey;
use super::records::gateway::{ParentRef, Revision};

pub(super) use left_out::Announcer;

pub use lease::{LeaseHolder, LeaseTiming};
pub use left_out::LeftOut;
pub use notice::{Notice, Notices};
pub use write::StatusWriter;

/// The status that each object of the Gateway API should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses {
    /// By kind and name. An object that is not in it is none of ours.
    pub objects: BTreeMap<(Kind, ObjectKey), Wanted>,
    /// What is said to objects besides.
    pub notices: Notices,
    /// What the operator does not allow.
    pub left_out: LeftOut,
}

/// What the status of one object should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The state of the object that it was made from.
    pub revision: Revision,
    /// The version of the API that it is written by.
    pub api_version: Arc<str>,
    /// What it says.
    pub status: Status,
}

/// What the status of an object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Of a GatewayClass.
    Class {
        /// About it.
        conditions: Vec<Condition>,
        /// Names of the features that it supports, in ascending order.
        features: &'static [&'static str],
    },
    /// Of a Gateway.
    Gateway {
        /// About all of it.
        conditions: Vec<Condition>,
        /// What clients reach it by: IP addresses and host names, at most 16.
        addresses: Vec<Arc<str>>,
        /// About each of its listeners.
        listeners: Vec<ListenerStatus>,
    },
    /// Of a TLSRoute.
    Route {
        /// About each reference to a Gateway of ours.
        parents: Vec<ParentStatus>,
        /// References to what is not ours: another gateway of the same controller name may report
        /// on them.
        others: Vec<ParentRef>,
    },
}

/// What is said of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Whether TLSRoutes may attach, the only kind of route there is here.
    pub takes_tls_routes: bool,
    /// How many accepted routes have attached.
    pub attached_routes: u32,
    /// About it.
    pub conditions: Vec<Condition>,
}

/// What is said of a route's attachment to a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// As the route refers to it.
    pub parent: ParentRef,
    /// About it.
    pub conditions: Vec<Condition>,
}

/// A statement about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: ConditionKind,
    /// `status`.
    pub holds: bool,
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people; at most [`Condition::MAX_MESSAGE`] bytes.
    pub message: String,
}

/// What is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// The object is valid, and what it asks for is supported.
    Accepted,
    /// It is, or is soon, what traffic meets.
    Programmed,
    /// What it refers to is there and may be used.
    ResolvedRefs,
    /// Another listener asks for the same.
    Conflicted,
    /// Part of a route is left out.
    PartiallyInvalid,
    /// A route does not serve some of the names that it lists.
    HostnamesRefused,
}

impl ConditionKind {
    /// Every kind: a condition of such a type belongs to who writes the status, and goes when it is not
    /// stated any more.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::Conflicted,
        Self::PartiallyInvalid,
        Self::HostnamesRefused,
    ];

    /// As the API calls it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
            Self::PartiallyInvalid => "PartiallyInvalid",
            Self::HostnamesRefused => "strait.dev/HostnamesRefused",
        }
    }
}

impl Condition {
    /// The longest message; the API takes 32 KiB, and people read less.
    pub const MAX_MESSAGE: usize = 1024;

    pub(super) fn new(
        kind: ConditionKind,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: Self::cut(message.into(), Self::MAX_MESSAGE),
        }
    }

    fn cut(mut text: String, max: usize) -> String {
        if text.len() > max {
            text.truncate(text.floor_char_boundary(max - "...".len()));
            text.push_str("...");
        }
        text
    }
}
