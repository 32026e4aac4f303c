//! The names that a headless Service gives its pods, kept from one translation to the next: one more pod costs the names
//! of that pod.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{RouteConfig, ServicePort, UpstreamConfig};
use crate::source::kubernetes::records::wishes::ConnectionWishes;

/// Everything that the names of all pods at one port of a Service follow from, beside the policy and the Service's own
/// name.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::source::kubernetes::translate) struct PodRule {
    /// The part between the name of a pod and that of the Service.
    pub(in crate::source::kubernetes::translate) of_cluster: Box<str>,
    pub(in crate::source::kubernetes::translate) domain: Box<str>,
    pub(in crate::source::kubernetes::translate) port: u16,
    pub(in crate::source::kubernetes::translate) plain_host: bool,
    pub(in crate::source::kubernetes::translate) dry_run: Option<Arc<str>>,
    pub(in crate::source::kubernetes::translate) wishes: ConnectionWishes,
}

/// The route of a pod at a port, with its upstream.
#[derive(Debug, Clone)]
pub(in crate::source::kubernetes::translate) struct PodRoute {
    pub(in crate::source::kubernetes::translate) route: Arc<RouteConfig>,
    pub(in crate::source::kubernetes::translate) upstream: Arc<UpstreamConfig>,
    pub(in crate::source::kubernetes::translate) target: ServicePort,
}

/// The routes of pods by their name in the Service.
pub(in crate::source::kubernetes::translate) type PodRoutes = HashMap<Arc<str>, PodRoute>;

/// The routes of all pods of a Service.
#[derive(Debug, Default)]
pub(in crate::source::kubernetes::translate) struct PodNames(Vec<(PodRule, PodRoutes)>);

impl PodNames {
    /// The routes that follow from `rule`, if it was one.
    pub(in crate::source::kubernetes::translate) fn of(
        &self,
        rule: &PodRule,
    ) -> Option<&PodRoutes> {
        let mut rules = self.0.iter();
        let found = rules.find(|(known, _)| known == rule);
        found.map(|(_, routes)| routes)
    }

    pub(in crate::source::kubernetes::translate) fn add(
        &mut self,
        rule: PodRule,
        routes: PodRoutes,
    ) {
        self.0.push((rule, routes));
    }
}
