//! Routes of one name that share its clients by ALPN.

use std::collections::HashMap;
use std::sync::Arc;

use super::Route;
use crate::config::{AlpnPolicy, SniPattern};
use crate::server_name::ServerName;

/// At least two routes of one name, or of hellos without a name. No offer belongs to two of them.
#[derive(Debug)]
pub(super) struct Split {
    /// In the config's order.
    routes: Vec<Arc<Route>>,
    /// The route of each protocol that one of them lists.
    by_protocol: HashMap<Box<[u8]>, Arc<Route>>,
    /// The route of every other offer.
    rest: Option<Arc<Route>>,
}

impl Split {
    /// `first` alone.
    pub(super) fn new(first: &Arc<Route>) -> Self {
        let mut split = Self {
            routes: Vec::new(),
            by_protocol: HashMap::new(),
            rest: None,
        };
        split.insert(first);
        split
    }

    /// Adds `route`, unless an earlier route has one of its offers.
    ///
    /// # Errors
    /// That earlier route.
    pub(super) fn add(&mut self, route: &Arc<Route>) -> Result<(), Arc<Route>> {
        let rival = |one: &&Arc<Route>| one.alpn.shared_with(&route.alpn).is_some();
        match self.routes.iter().find(rival) {
            Some(rival) => Err(rival.clone()),
            None => {
                self.insert(route);
                Ok(())
            }
        }
    }

    fn insert(&mut self, route: &Arc<Route>) {
        match &route.alpn {
            AlpnPolicy::Any => self.rest = Some(route.clone()),
            AlpnPolicy::OneOf(protocols) => {
                let protocols = protocols.iter().map(|one| one.as_bytes().into());
                let owned = protocols.map(|protocol| (protocol, route.clone()));
                self.by_protocol.extend(owned);
            }
        }
        self.routes.push(route.clone());
    }

    /// The route of a client that offers `alpn`: that of the first protocol that a route lists, in the
    /// client's order of preference.
    pub(super) fn choose<'a>(
        &self,
        mut alpn: impl Iterator<Item = &'a [u8]>,
    ) -> Option<&Arc<Route>> {
        alpn.find_map(|offer| self.by_protocol.get(offer))
            .or(self.rest.as_ref())
    }

    /// All of them, in the config's order.
    pub(super) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

/// The pattern of the table that a hello matches.
#[derive(Debug)]
pub(super) enum Match<'t> {
    Exact(&'t ServerName),
    OneBelow(&'t ServerName),
    Below(&'t ServerName),
    Any,
    Absent,
}

impl Match<'_> {
    /// The same as a key.
    pub(super) fn pattern(&self) -> SniPattern {
        match self {
            Self::Exact(name) => SniPattern::Exact((*name).clone()),
            Self::OneBelow(of) => SniPattern::OneBelow((*of).clone()),
            Self::Below(parent) => SniPattern::Below((*parent).clone()),
            Self::Any => SniPattern::Any,
            Self::Absent => SniPattern::Absent,
        }
    }
}
