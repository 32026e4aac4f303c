//! The routes of a listener: those of the file, of exported Services and of TLSRoutes.
//!
//! A change of one Service changes the routes of that Service; the list shares the others with the list before.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};

use super::route::RouteConfig;
use crate::names::RouteName;
use crate::shared_map::SharedMap;

/// A Service that exports routes: its namespace and its name.
pub type Exporter = (Arc<str>, Arc<str>);

/// The routes of exported Services, by Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exports {
    by_service: SharedMap<Exporter, Arc<[Arc<RouteConfig>]>>,
    /// The number of routes.
    len: usize,
}

impl Exports {
    /// Sets the routes of a Service. No routes remove it.
    pub fn set(&mut self, service: &Exporter, routes: Arc<[Arc<RouteConfig>]>) {
        let count = routes.len();
        let before = match count {
            0 => self.by_service.remove(service),
            _ => self.by_service.insert(service.clone(), routes),
        };
        self.len = self.len + count - before.map_or(0, |before| before.len());
    }

    /// The routes of a Service, in order of precedence.
    pub fn of(&self, service: &Exporter) -> &[Arc<RouteConfig>] {
        self.by_service.get(service).map_or(&[], |routes| routes)
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every route, in order of precedence.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RouteConfig>> {
        self.by_service.values().flat_map(|routes| routes.iter())
    }

    /// The first routes, at most `most`.
    pub fn first(&self, most: usize) -> Self {
        let mut first = Self::default();
        for (service, routes) in self.by_service.iter() {
            let free = most - first.len;
            match routes.get(..free.min(routes.len())) {
                Some(routes) if free > 0 => first.set(service, routes.into()),
                _ => break,
            }
        }
        first
    }

    /// The Services whose routes in `after` are others.
    pub fn changed<'m>(&'m self, after: &'m Self) -> impl Iterator<Item = &'m Exporter> {
        let changed = self.by_service.diff(&after.by_service, Arc::ptr_eq);
        changed.into_iter().map(|one| one.key)
    }
}

/// The routes of a listener, in order of precedence: those of the file, then exports, then TLSRoutes.
#[derive(Debug, Clone, Default)]
pub struct RouteList {
    own: Arc<OwnRoutes>,
    exports: Exports,
    attached: Arc<Vec<Arc<RouteConfig>>>,
}

/// The routes of the file.
#[derive(Debug, Clone, Default)]
struct OwnRoutes {
    routes: Vec<Arc<RouteConfig>>,
    names: OnceLock<HashSet<RouteName>>,
}

impl RouteList {
    /// The file's routes of this list with those that were found.
    #[must_use]
    pub fn with_found(&self, exports: Exports, attached: Arc<Vec<Arc<RouteConfig>>>) -> Self {
        Self {
            own: self.own.clone(),
            exports,
            attached,
        }
    }

    /// The routes of the file.
    pub fn own(&self) -> &[Arc<RouteConfig>] {
        &self.own.routes
    }

    /// The routes of the file, to be changed.
    pub fn own_mut(&mut self) -> &mut Vec<Arc<RouteConfig>> {
        let own = Arc::make_mut(&mut self.own);
        own.names = OnceLock::new();
        &mut own.routes
    }

    /// Whether another list has the very same routes of the file.
    pub fn shares_own(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// The routes of exported Services, as they were found.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// The routes of TLSRoutes, as they were found.
    pub fn attached(&self) -> &Arc<Vec<Arc<RouteConfig>>> {
        &self.attached
    }

    /// Every route, under the name that it has in this list.
    pub fn iter(&self) -> impl Iterator<Item = Arc<RouteConfig>> {
        let found = self.exports.iter().chain(self.attached.iter());
        let found = found.map(|route| self.named(route));
        self.own.routes.iter().cloned().chain(found)
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.own.routes.len() + self.exports.len() + self.attached.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A route that was found, under the name that it has in this list: metrics find a route by its name, and the
    /// file may have the same one. Names that are found differ from each other.
    pub fn named(&self, route: &Arc<RouteConfig>) -> Arc<RouteConfig> {
        let collect = || self.own.routes.iter().map(|own| own.name.clone()).collect();
        let taken: &HashSet<RouteName> = self.own.names.get_or_init(collect);
        if !taken.contains(&route.name) {
            return route.clone();
        }
        let numbered = (2..).map(|number: u32| RouteName::from(format!("{}#{number}", route.name)));
        let mut free = numbered.filter(|name| !taken.contains(name));
        let mut route = RouteConfig::clone(route);
        route.name = free.next().unwrap_or(route.name);
        Arc::new(route)
    }
}

impl PartialEq for RouteList {
    fn eq(&self, other: &Self) -> bool {
        (self.shares_own(other) || self.own.routes == other.own.routes)
            && self.exports == other.exports
            && self.attached == other.attached
    }
}

impl FromIterator<Arc<RouteConfig>> for RouteList {
    fn from_iter<I: IntoIterator<Item = Arc<RouteConfig>>>(routes: I) -> Self {
        let own = OwnRoutes {
            routes: routes.into_iter().collect(),
            names: OnceLock::new(),
        };
        Self {
            own: Arc::new(own),
            ..Self::default()
        }
    }
}

impl Serialize for RouteList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
