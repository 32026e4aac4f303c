//! The making of a table: from nothing, and from the table before by what has changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::claims::Rank;
use super::served::{host_of, hosts_of};
use super::split::Split;
use super::target::Targets;
use super::{Conflict, LeftOutRoute, Route, RouteTable};
use crate::config::{
    Exporter, ListenerConfig, Origin, RouteConfig, RouteList, SniPattern, SourceGroups,
    UpstreamConfig, UpstreamSource,
};
use crate::limits::{ScopeKey, Scopes};
use crate::server_name::ServerName;
use crate::upstream::Upstream;

/// The config and the upstreams from which the routes of a listener are made.
#[derive(Debug)]
pub struct RouteMaker<'a, U> {
    /// The listener as it will be.
    pub listener: &'a ListenerConfig,
    /// The groups that its connections come from.
    pub sources: &'a SourceGroups,
    /// The scopes that its connections count in.
    pub scopes: &'a Scopes,
    /// The upstreams by name.
    pub upstream: U,
}

impl<U: Fn(&str) -> Option<Arc<Upstream>>> RouteMaker<'_, U> {
    /// The table of the listener, built from nothing: as [`RouteTable::build`].
    pub fn table(&self) -> RouteTable {
        let mut table = RouteTable::default();
        table.add_own(self);
        let nothing = RouteList::default();
        table.take_found(&nothing, &[], self);
        table
    }

    fn make(&self, config: &Arc<RouteConfig>, rank: Rank) -> Result<Made, LeftOutRoute> {
        let targets = Targets::build(
            &config.name,
            &config.targets,
            config.timeouts,
            self.sources,
            &self.upstream,
        );
        let targets = targets.map_err(|upstream| LeftOutRoute::UnknownUpstream {
            route: config.name.clone(),
            upstream,
        })?;
        let patterns = config.matches.patterns();
        let patterns = patterns.map_err(|error| LeftOutRoute::Name {
            route: config.name.clone(),
            error,
        })?;
        let scope = ScopeKey::Route(self.listener.name.clone(), config.name.clone());
        let route = Arc::new(Route {
            name: config.name.clone(),
            alpn: config.alpn.clone(),
            targets,
            limiter: self.scopes.limiter(scope, &config.limits),
            origin: config.origin.clone(),
            dry_run: config.dry_run.clone(),
            config: config.clone(),
            rank,
        });
        Ok(Made { route, patterns })
    }

    /// Whether each upstream of `route` is still the same.
    fn is_current(&self, route: &Route) -> bool {
        let is_current = |upstream: &Arc<Upstream>, name: &str| {
            (self.upstream)(name).is_some_and(|now| Arc::ptr_eq(&now, upstream))
        };
        let mut targets = route.targets.iter();
        targets.all(|target| is_current(&target.upstream, &target.name))
    }
}

/// A route with its patterns.
struct Made {
    route: Arc<Route>,
    patterns: Vec<SniPattern>,
}

/// Whether two of these routes, or one of them twice, claim a pattern.
fn contend<'r>(routes: impl Iterator<Item = &'r Arc<RouteConfig>>) -> bool {
    let mut claimed = HashSet::new();
    let mut patterns = routes.flat_map(|route| route.matches.patterns().unwrap_or_default());
    !patterns.all(|pattern| claimed.insert(pattern))
}

/// The hosts of the routes that only one of the lists has. `None` if the routes that both have are in another order:
/// then any host may have changed.
fn touched_hosts(before: &[Arc<Route>], after: &[Arc<Route>]) -> Option<HashSet<ServerName>> {
    let pointers = |routes: &[Arc<Route>]| -> HashSet<*const Route> {
        routes.iter().map(Arc::as_ptr).collect()
    };
    let (old, new) = (pointers(before), pointers(after));
    let is_kept = |route: &&Arc<Route>| {
        let route = Arc::as_ptr(route);
        old.contains(&route) && new.contains(&route)
    };
    let [kept, still] = [before, after].map(|routes| routes.iter().filter(is_kept));
    if !kept.map(Arc::as_ptr).eq(still.map(Arc::as_ptr)) {
        return None;
    }
    let others = before.iter().chain(after).filter(|route| !is_kept(route));
    let hosts = others.filter_map(|route| host_of(&route.config).cloned());
    Some(hosts.collect())
}

impl RouteTable {
    /// Builds the table of `listener`, whose connections come from one of `sources` and count in
    /// `scopes`. A route that cannot be made is left out, and the table says so: the other routes must
    /// not suffer.
    pub fn build(
        listener: &ListenerConfig,
        sources: &SourceGroups,
        scopes: &Scopes,
        upstream: impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Self {
        let maker = RouteMaker {
            listener,
            sources,
            scopes,
            upstream,
        };
        maker.table()
    }

    /// The table of a listener that was `before`, as this table has it, and differs in what was found only. Of the
    /// upstreams, `replaced` are new, gone, or others than before.
    #[must_use]
    pub fn change<U: Fn(&str) -> Option<Arc<Upstream>>>(
        &self,
        before: &ListenerConfig,
        replaced: &[Arc<UpstreamConfig>],
        maker: &RouteMaker<'_, U>,
    ) -> Self {
        let mut table = self.clone();
        table.left_out = Vec::new();
        table.take_found(&before.routes, replaced, maker);
        table
    }

    fn add_own<U: Fn(&str) -> Option<Arc<Upstream>>>(&mut self, maker: &RouteMaker<'_, U>) {
        let (mut routes, mut splits, mut conflicts) = (Vec::new(), HashMap::new(), Vec::new());
        for (at, config) in maker.listener.routes.own().iter().enumerate() {
            let Made { route, patterns } = match maker.make(config, Rank::Own(at)) {
                Ok(made) => made,
                Err(left_out) => {
                    self.left_out.push(left_out);
                    continue;
                }
            };
            for pattern in patterns {
                let is_of_file = |route: &Route| route.origin == Origin::File;
                let holder = self.claims.holder(&pattern);
                let holder = holder.filter(|first| is_of_file(first) && is_of_file(&route));
                let Some(first) = holder.cloned() else {
                    self.claims.add(&pattern, &route);
                    continue;
                };
                if let Err(kept) = share(&mut splits, &pattern, &first, &route) {
                    let refused = route.clone();
                    conflicts.push(Conflict {
                        pattern,
                        kept,
                        refused,
                    });
                }
            }
            routes.push(route);
        }
        let served = hosts_of(routes.iter().map(|route| &*route.config));
        self.served.replace(None, &Default::default(), served);
        self.own = Arc::new(routes);
        self.splits = Arc::new(splits);
        self.own_conflicts = Arc::new(conflicts);
    }

    fn take_found<U: Fn(&str) -> Option<Arc<Upstream>>>(
        &mut self,
        before: &RouteList,
        replaced: &[Arc<UpstreamConfig>],
        maker: &RouteMaker<'_, U>,
    ) {
        let routes = &maker.listener.routes;
        let changed = before.exports().changed(routes.exports());
        let mut changed: HashSet<Exporter> = changed.cloned().collect();
        for upstream in replaced {
            // Only routes of the same Service lead to it, beside those of TLSRoutes.
            if let UpstreamSource::Kubernetes(port) = &upstream.source {
                changed.insert((port.namespace.clone(), port.service.clone()));
            }
        }
        for service in &changed {
            self.set_exports(service, maker);
        }
        let mut replaced = replaced.iter().map(|upstream| &upstream.name);
        if !Arc::ptr_eq(before.attached(), routes.attached())
            || replaced.any(|name| self.attached_to.contains(name))
        {
            self.set_attached(maker);
        }
        self.unrouted = maker.listener.unrouted.clone();
    }

    /// Makes the routes of a Service as the listener has them. Routes that are still the same stay.
    fn set_exports<U: Fn(&str) -> Option<Arc<Upstream>>>(
        &mut self,
        service: &Exporter,
        maker: &RouteMaker<'_, U>,
    ) {
        let before = self.exports.get(service).cloned().unwrap_or_default();
        let list = &maker.listener.routes;
        let configs = list.exports().of(service).iter();
        let configs: Vec<Arc<RouteConfig>> = configs.map(|route| list.named(route)).collect();
        let rank = |at| Rank::Export(service.clone(), at);
        // The position of a route counts only against another one of its Service.
        let places_count = !before.is_empty() && self.contend_within(service, &before, &configs);
        let stays = |route: &Route, at| !places_count || route.rank == rank(at);
        let after: Arc<[Arc<Route>]> = self.exchange(&before, &configs, rank, stays, maker).into();
        let touched = touched_hosts(&before, &after);
        let hosts = |routes: &[Arc<Route>]| {
            let is_touched = |host| {
                touched
                    .as_ref()
                    .is_none_or(|touched| touched.contains(host))
            };
            let configs = routes.iter().map(|route| &*route.config);
            hosts_of(configs.filter(|config| host_of(config).is_some_and(is_touched)))
        };
        self.served
            .replace(Some(service), &hosts(&before), hosts(&after));
        match after.is_empty() {
            true => drop(self.exports.remove(service)),
            false => drop(self.exports.insert(service.clone(), after)),
        }
    }

    /// Whether two routes of a Service claim the same pattern, among the routes that it has or among those that it gets.
    /// It has usually most of them already, and their patterns need not be made.
    fn contend_within(
        &self,
        service: &Exporter,
        before: &[Arc<Route>],
        configs: &[Arc<RouteConfig>],
    ) -> bool {
        if !self.claims.rivals().is_empty() && contend(before.iter().map(|route| &route.config)) {
            return true;
        }
        let pointers = |configs: &mut dyn Iterator<Item = &Arc<RouteConfig>>| {
            configs.map(Arc::as_ptr).collect::<HashSet<_>>()
        };
        let known = pointers(&mut before.iter().map(|route| &route.config));
        let staying = pointers(&mut configs.iter());
        let new = || {
            let configs = configs.iter();
            configs.filter(|config| !known.contains(&Arc::as_ptr(config)))
        };
        let is_rival = |route: &Arc<Route>| {
            matches!(&route.rank, Rank::Export(of, _) if of == service)
                && staying.contains(&Arc::as_ptr(&route.config))
        };
        let mut patterns = new().flat_map(|config| config.matches.patterns().unwrap_or_default());
        contend(new()) || patterns.any(|pattern| self.claims.of(&pattern).iter().any(is_rival))
    }

    /// Makes the routes of TLSRoutes as the listener has them. Routes that are still the same stay.
    fn set_attached<U: Fn(&str) -> Option<Arc<Upstream>>>(&mut self, maker: &RouteMaker<'_, U>) {
        let before = self.attached.clone();
        let list = &maker.listener.routes;
        let configs = list.attached().iter();
        let configs: Vec<Arc<RouteConfig>> = configs.map(|route| list.named(route)).collect();
        let stays = |route: &Route, at| route.rank == Rank::Attached(at);
        let after = self.exchange(&before, &configs, Rank::Attached, stays, maker);
        self.attached = Arc::new(after);
        let targets = configs.iter().flat_map(|route| route.targets.iter());
        let names = targets.map(|target| target.upstream.clone()).collect();
        self.attached_to = Arc::new(names);
    }

    /// Exchanges the routes `before` for those of `configs`. One that has its config still, and the same upstreams,
    /// is taken over if it `stays` at its position.
    fn exchange<U: Fn(&str) -> Option<Arc<Upstream>>>(
        &mut self,
        before: &[Arc<Route>],
        configs: &[Arc<RouteConfig>],
        rank: impl Fn(usize) -> Rank,
        stays: impl Fn(&Route, usize) -> bool,
        maker: &RouteMaker<'_, U>,
    ) -> Vec<Arc<Route>> {
        let known = before.iter();
        let known: HashMap<*const RouteConfig, &Arc<Route>> = known
            .map(|route| (Arc::as_ptr(&route.config), route))
            .collect();
        let kept: Vec<Option<&Arc<Route>>> = configs
            .iter()
            .enumerate()
            .map(|(at, config)| {
                let route = known.get(&Arc::as_ptr(config)).copied();
                route.filter(|route| stays(route, at) && maker.is_current(route))
            })
            .collect();
        let staying: HashSet<*const Route> = kept
            .iter()
            .flatten()
            .map(|route| Arc::as_ptr(route))
            .collect();
        for route in before {
            if !staying.contains(&Arc::as_ptr(route)) {
                for pattern in route.config.matches.patterns().unwrap_or_default() {
                    self.claims.remove(&pattern, route);
                }
            }
        }
        let mut after = Vec::with_capacity(configs.len());
        for (at, (config, kept)) in configs.iter().zip(kept).enumerate() {
            if let Some(route) = kept {
                after.push(route.clone());
                continue;
            }
            match maker.make(config, rank(at)) {
                Ok(Made { route, patterns }) => {
                    for pattern in &patterns {
                        self.claims.add(pattern, &route);
                    }
                    after.push(route);
                }
                Err(left_out) => self.left_out.push(left_out),
            }
        }
        after
    }
}

/// Lets `route` share `pattern`, which `first` has.
///
/// # Errors
/// The route that has some of the same offers.
fn share(
    splits: &mut HashMap<SniPattern, Split>,
    pattern: &SniPattern,
    first: &Arc<Route>,
    route: &Arc<Route>,
) -> Result<(), Arc<Route>> {
    match splits.get_mut(pattern) {
        Some(split) => split.add(route),
        None => {
            let mut split = Split::new(first);
            split.add(route)?;
            splits.insert(pattern.clone(), split);
            Ok(())
        }
    }
}
