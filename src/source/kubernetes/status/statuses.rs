//! The statuses that objects should have, as plain data.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::condition::Condition;
use super::left_out::LeftOutGateways;
use super::notice::Notices;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{ParentRef, Revision};

/// The `reason` of a GatewayClass that no install with its `controllerName` serves. No other status of a
/// GatewayClass has it.
pub(crate) const UNSUPPORTED_CLASS: &str = "Unsupported";

/// An object that has a status.
pub(super) type Key = (Kind, ObjectKey);

/// The status that each object of the Gateway API should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statuses {
    /// By kind and name. Objects that are missing here are not ours.
    pub objects: BTreeMap<(Kind, ObjectKey), Wanted>,
    /// Notices to objects, in addition to their status.
    pub notices: Notices,
    /// Namespaces and ports that the operator does not allow.
    pub left_out: LeftOutGateways,
}

/// The wanted status of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The state of the object that it was made from.
    pub revision: Revision,
    /// The API version that it is written with.
    pub api_version: Arc<str>,
    /// The content of the status.
    pub status: Status,
}

/// The content of an object's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The status of a GatewayClass.
    Class {
        /// Statements about the class.
        conditions: Vec<Condition>,
        /// Names of the features that it supports, in ascending order.
        features: &'static [&'static str],
    },
    /// The status of a GatewayClass that has our `controllerName` and that this install does not serve. If
    /// another install of the same controller serves it, that one's answer stays.
    UnservedClass {
        /// Says that it is not accepted, with the reason `Unsupported`.
        accepted: Condition,
    },
    /// The status of a Gateway.
    Gateway {
        /// Statements about the whole Gateway.
        conditions: Vec<Condition>,
        /// The addresses at which clients reach it: IP addresses and host names, at most 16.
        addresses: Vec<Arc<str>>,
        /// The status of each of its listeners.
        listeners: Vec<ListenerStatus>,
    },
    /// The status of a TLSRoute.
    Route {
        /// The status of each reference to one of our Gateways.
        parents: Vec<ParentStatus>,
        /// References to Gateways that are not ours. Another gateway with the same controller name may
        /// report on them.
        others: Vec<ParentRef>,
    },
}

/// The status of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// True if TLSRoutes may attach. They are the only kind of route that strait has.
    pub takes_tls_routes: bool,
    /// The number of accepted routes that have attached.
    pub attached_routes: u32,
    /// About it.
    pub conditions: Vec<Condition>,
}

/// The status of a route's attachment to a Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentStatus {
    /// The reference as the route writes it.
    pub parent: ParentRef,
    /// Statements about the attachment.
    pub conditions: Vec<Condition>,
}
