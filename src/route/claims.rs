//! The claims on patterns: the route that has each, and the routes that would have it without that one.

use std::sync::Arc;

use super::Route;
use super::name_map::NameMap;
use super::split::Match;
use crate::config::{Exporter, Origin, SniPattern};
use crate::server_name::Name;
use crate::shared_map::SharedMap;

/// The precedence of a route among those that claim one pattern. The lowest has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A route of the file, by its position.
    Own(usize),
    /// A route of an exported Service, by its position among those.
    Export(Exporter, usize),
    /// A route of a TLSRoute, by its position.
    Attached(usize),
}

/// The claims of a table's routes. A copy shares what the other does not change.
#[derive(Debug, Clone, Default)]
pub(super) struct PatternClaims {
    exact: NameMap<Arc<Route>>,
    /// Routes by the name without the first label of its host.
    one_below: NameMap<Arc<Route>>,
    /// Routes by the name below which they match.
    below: NameMap<Arc<Route>>,
    any: Option<Arc<Route>>,
    /// The route of hellos without a name.
    nameless: Option<Arc<Route>>,
    /// The claims on a pattern that has more than one, by rank.
    rivals: SharedMap<SniPattern, Arc<Vec<Arc<Route>>>>,
}

impl PatternClaims {
    /// The route that has `pattern`.
    pub(super) fn holder(&self, pattern: &SniPattern) -> Option<&Arc<Route>> {
        match pattern {
            SniPattern::Exact(name) => self.exact.get(name.as_str()),
            SniPattern::OneBelow(name) => self.one_below.get(name.as_str()),
            SniPattern::Below(name) => self.below.get(name.as_str()),
            SniPattern::Any => self.any.as_ref(),
            SniPattern::Absent => self.nameless.as_ref(),
        }
    }

    fn give(&mut self, pattern: &SniPattern, route: &Arc<Route>) {
        let route = route.clone();
        match pattern {
            SniPattern::Exact(name) => self.exact.insert(name.clone(), route),
            SniPattern::OneBelow(name) => self.one_below.insert(name.clone(), route),
            SniPattern::Below(name) => self.below.insert(name.clone(), route),
            SniPattern::Any => self.any = Some(route),
            SniPattern::Absent => self.nameless = Some(route),
        }
    }

    fn take_away(&mut self, pattern: &SniPattern) {
        match pattern {
            SniPattern::Exact(name) => self.exact.remove(name.as_str()),
            SniPattern::OneBelow(name) => self.one_below.remove(name.as_str()),
            SniPattern::Below(name) => self.below.remove(name.as_str()),
            SniPattern::Any => self.any = None,
            SniPattern::Absent => self.nameless = None,
        }
    }

    /// Adds the claim of `route`. It gets the pattern unless a route of a lower rank has it.
    pub(super) fn add(&mut self, pattern: &SniPattern, route: &Arc<Route>) {
        let Some(holder) = self.holder(pattern) else {
            self.give(pattern, route);
            return;
        };
        let holder = holder.clone();
        let rivals = self.rivals.remove(pattern);
        let mut rivals = rivals.unwrap_or_else(|| Arc::new(vec![holder]));
        let at = rivals.partition_point(|one| one.rank <= route.rank);
        Arc::make_mut(&mut rivals).insert(at, route.clone());
        self.rivals.insert(pattern.clone(), rivals);
        if at == 0 {
            self.give(pattern, route);
        }
    }

    /// Removes the claims of `route` on `pattern`. The next one gets it.
    pub(super) fn remove(&mut self, pattern: &SniPattern, route: &Arc<Route>) {
        let Some(mut rivals) = self.rivals.remove(pattern) else {
            if self
                .holder(pattern)
                .is_some_and(|it| Arc::ptr_eq(it, route))
            {
                self.take_away(pattern);
            }
            return;
        };
        Arc::make_mut(&mut rivals).retain(|one| !Arc::ptr_eq(one, route));
        match rivals.first() {
            Some(first) => self.give(pattern, first),
            None => self.take_away(pattern),
        }
        if rivals.len() > 1 {
            self.rivals.insert(pattern.clone(), rivals);
        }
    }

    /// The routes that claim `pattern`, by rank.
    pub(super) fn of(&self, pattern: &SniPattern) -> &[Arc<Route>] {
        match self.rivals.get(pattern) {
            Some(rivals) => rivals,
            None => self.holder(pattern).map_or(&[], std::slice::from_ref),
        }
    }

    /// The claims on patterns that have more than one, by rank.
    pub(super) fn rivals(&self) -> &SharedMap<SniPattern, Arc<Vec<Arc<Route>>>> {
        &self.rivals
    }

    /// The route of hellos without a name.
    pub(super) fn nameless(&self) -> Option<&Arc<Route>> {
        self.nameless.as_ref()
    }

    /// Whether a route takes the names with one label more before the host of `name`.
    pub(super) fn has_one_below(&self, name: &str) -> bool {
        self.one_below.get(name).is_some()
    }

    /// Whether routes take the names below `name`.
    pub(super) fn has_below(&self, name: &str) -> bool {
        self.below.get(name).is_some()
    }

    pub(super) fn find(&self, name: &Name<'_>) -> Option<(Match<'_>, &Arc<Route>)> {
        let exact = self.exact.get_key_value(name.as_str());
        let exact = exact.map(|(own, route)| (Match::Exact(own), route));
        // No Service has the name that a pod has in another one.
        if let Some((_, route)) = &exact
            && matches!(route.origin, Origin::File | Origin::Export(_))
        {
            return exact;
        }
        // The names of pods go by their precedence, as if each were a route's.
        match (exact, self.find_one_below(name)) {
            (Some(exact), Some(pods)) if pods.1.rank < exact.1.rank => Some(pods),
            (Some(exact), _) => Some(exact),
            (None, Some(pods)) => Some(pods),
            (None, None) => {
                let below = self.find_below(name);
                below.or_else(|| self.any.as_ref().map(|route| (Match::Any, route)))
            }
        }
    }

    fn find_one_below(&self, name: &Name<'_>) -> Option<(Match<'_>, &Arc<Route>)> {
        if self.one_below.is_empty() {
            return None;
        }
        let (_, of) = name.split_host()?;
        let (own, route) = self.one_below.get_key_value(&of)?;
        Some((Match::OneBelow(own), route))
    }

    fn find_below(&self, name: &Name<'_>) -> Option<(Match<'_>, &Arc<Route>)> {
        if self.below.is_empty() {
            return None;
        }
        // The first suffix is the name itself, which is not below itself.
        let found = name
            .suffixes()
            .skip(1)
            .find_map(|parent| self.below.get_key_value(parent));
        found.map(|(parent, route)| (Match::Below(parent), route))
    }

    /// Every pattern with the route that has it, in no order.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (SniPattern, &Arc<Route>)> {
        let exact = self.exact.iter();
        let exact = exact.map(|(name, route)| (SniPattern::Exact(name.clone()), route));
        let one_below = self.one_below.iter();
        let one_below = one_below.map(|(name, route)| (SniPattern::OneBelow(name.clone()), route));
        let below = self.below.iter();
        let below = below.map(|(name, route)| (SniPattern::Below(name.clone()), route));
        let any = self.any.iter().map(|route| (SniPattern::Any, route));
        let nameless = self.nameless.iter();
        let nameless = nameless.map(|route| (SniPattern::Absent, route));
        exact
            .chain(one_below)
            .chain(below)
            .chain(any)
            .chain(nameless)
    }
}
