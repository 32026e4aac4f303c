//! The choice of the DestinationRule for a host, as istiod makes it for its own gateways.
//!
//! Rules of the gateways' namespace come first; if it is also the root namespace, only its private
//! rules count. Then come the rules that the host's namespace exports, then those that the root
//! namespace exports. The first of these with a rule for the host decides. There the most specific host
//! wins, and the rules of one host are merged: the `trafficPolicy` of the oldest that has one, and the
//! subsets of all.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::host::{Fit, ObjectHost};
use super::mesh::Mesh;
use super::wishes;
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::wishes::{ConnectionWishes, RuleWishes};
use crate::source::kubernetes::records::{
    ClientTls, DestinationRuleRecord, ObjectKey, RuleTls, SubsetRecord, TlsMode,
};

/// The rules of a host, merged.
#[derive(Debug, Default)]
pub(super) struct Rule<'a> {
    tls: Option<&'a RuleTls>,
    wishes: Option<&'a RuleWishes>,
    /// The name of the rule whose traffic policy counts. Without one that of the first.
    name: Option<Arc<str>>,
    /// The subsets, each name once.
    subsets: Vec<MergedSubset<'a>>,
}

/// A subset with the name of the rule that has it.
#[derive(Debug)]
struct MergedSubset<'a> {
    subset: &'a SubsetRecord,
    rule: Arc<str>,
}

impl<'a> Rule<'a> {
    pub(super) fn of(cluster: &'a Cluster, mesh: &Mesh<'_>, host: &ObjectHost<'_>) -> Self {
        if cluster.destination_rules.is_empty() {
            return Self::default();
        }
        let own = host.namespace();
        let (root, gateways) = (&*mesh.settings.root_namespace, mesh.gateways);
        let pool = |namespace, belongs: &dyn Fn(&DestinationRuleRecord) -> bool| {
            pool(cluster, mesh, namespace, belongs, host)
        };
        let private = |rule: &DestinationRuleRecord| is_private(rule, mesh, gateways);
        let local = |rule: &DestinationRuleRecord| is_local(rule, gateways);
        let exported = |rule: &DestinationRuleRecord| !is_private(rule, mesh, own);
        let exported_by_root = |rule: &DestinationRuleRecord| !is_private(rule, mesh, root);
        let of_gateways = if root == gateways {
            pool(root, &private)
        } else {
            pool(gateways, &local)
        };
        of_gateways
            .or_else(|| pool(own, &exported))
            .or_else(|| pool(root, &exported_by_root))
            .unwrap_or_default()
    }

    /// The mode for a port of the Service. A subset's own mode comes first.
    pub(super) fn tls(&self, port: u16, subset: Option<&Arc<str>>) -> TlsMode<ClientTls> {
        let of_rule = || self.tls.and_then(|tls| tls.of_port(port));
        let Some(name) = subset else {
            return of_rule();
        };
        let subset = self.subset(name)?;
        subset.tls.of_port(port).or_else(of_rule)
    }

    /// The wishes of the rules about the connections to a port.
    pub(super) fn wishes(&self, port: u16, subset: Option<&Arc<str>>) -> ConnectionWishes {
        let subset = subset.and_then(|name| self.subset(name));
        wishes::of_port(self.wishes, subset.map(|subset| &subset.wishes), port)
    }

    /// The name of the rule that holds for the host, or that has the subset.
    pub(super) fn name(&self, subset: Option<&Arc<str>>) -> Option<&Arc<str>> {
        let Some(name) = subset else {
            return self.name.as_ref();
        };
        self.find(name).map(|found| &found.rule)
    }

    /// Every subset, in the order of the rules.
    pub(super) fn subsets(&self) -> impl ExactSizeIterator<Item = &'a SubsetRecord> {
        self.subsets.iter().map(|of| of.subset)
    }

    pub(super) fn subset(&self, name: &str) -> Option<&'a SubsetRecord> {
        self.find(name).map(|found| found.subset)
    }

    fn find(&self, name: &str) -> Option<&MergedSubset<'a>> {
        let mut subsets = self.subsets.iter();
        subsets.find(|of| *of.subset.name == *name)
    }
}

/// Whether a rule of `namespace` is for that namespace alone.
fn is_private(rule: &DestinationRuleRecord, mesh: &Mesh<'_>, namespace: &str) -> bool {
    match &*rule.export_to {
        [] => mesh.settings.rules_are_private,
        [only] => &**only == "." || &**only == namespace,
        _ => false,
    }
}

/// Whether a rule of `namespace` is for that namespace, too.
fn is_local(rule: &DestinationRuleRecord, namespace: &str) -> bool {
    let to_itself = |to: &Arc<str>| matches!(&**to, "*" | ".") || &**to == namespace;
    rule.export_to.is_empty() || rule.export_to.iter().any(to_itself)
}

/// Whether a gateway in the namespace `gateways` sees a rule that its namespace exports.
fn is_visible(rule: &DestinationRuleRecord, gateways: &str) -> bool {
    let to_us = |to: &Arc<str>| &**to == "*" || &**to == gateways;
    rule.export_to.is_empty() || rule.export_to.iter().any(to_us)
}

/// A rule with its key.
type KeyedRule<'a> = (&'a ObjectKey, &'a DestinationRuleRecord);

/// The merged rule for `host` among those rules of a namespace for which `belongs` is true.
fn pool<'a>(
    cluster: &'a Cluster,
    mesh: &Mesh<'_>,
    namespace: &str,
    belongs: &dyn Fn(&DestinationRuleRecord) -> bool,
    host: &ObjectHost<'_>,
) -> Option<Rule<'a>> {
    let in_namespace = cluster.destination_rules.in_namespace(namespace);
    let mut rules: Vec<(Fit, KeyedRule<'a>)> = in_namespace
        .filter(|(_, rule)| !rule.for_workloads && belongs(rule))
        .filter_map(|keyed| Some((host.fit(namespace, &keyed.1.host)?, keyed)))
        .collect();
    // The sort is stable: of two of the same age the first by name comes first.
    rules.sort_by_key(|(fit, (_, rule))| (Reverse(*fit), rule.created));
    let best = rules.first()?.0;
    let gateways = mesh.gateways;
    let all_of_gateways = namespace == gateways && gateways != &*mesh.settings.root_namespace;
    let own = |rule: &DestinationRuleRecord| {
        is_private(rule, mesh, namespace) || (all_of_gateways && is_local(rule, namespace))
    };
    let best = rules.iter().take_while(|(fit, _)| *fit == best);
    let seen = best.map(|(_, keyed)| *keyed);
    let seen: Vec<_> = seen
        .filter(|(_, rule)| is_visible(rule, gateways) || own(rule))
        .collect();
    // Rules with different `exportTo` stay apart. Of these groups istiod takes the one whose first rule
    // comes last.
    let mut sets: Vec<BTreeSet<&Arc<str>>> = Vec::new();
    for (_, rule) in &seen {
        let set = rule.export_to.iter().collect();
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    let last = sets.pop()?;
    let of_last = |(_, rule): &KeyedRule<'a>| last == rule.export_to.iter().collect();
    Some(merge(seen.into_iter().filter(of_last)))
}

fn merge<'a>(rules: impl Iterator<Item = KeyedRule<'a>>) -> Rule<'a> {
    let mut merged = Rule::default();
    for (key, rule) in rules {
        let name: Arc<str> = key.to_string().into();
        if merged.tls.is_none() && rule.tls.is_some() {
            (merged.tls, merged.wishes) = (rule.tls.as_ref(), Some(&*rule.wishes));
            merged.name = Some(name.clone());
        }
        merged.name.get_or_insert_with(|| name.clone());
        for subset in &rule.subsets {
            if merged.find(&subset.name).is_none() {
                let rule = name.clone();
                merged.subsets.push(MergedSubset { subset, rule });
            }
        }
    }
    merged
}
