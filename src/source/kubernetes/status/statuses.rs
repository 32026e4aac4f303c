//! The statuses that objects should have, as plain data.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::condition::Condition;
use super::left_out::LeftOut;
use super::notice::Notices;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{ParentRef, Revision};

/// An object that has a status.
pub(super) type Key = (Kind, ObjectKey);

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
