//! The choice of an upstream's endpoints among the pods and workloads of a host.

use std::collections::HashSet;
use std::sync::Arc;

use super::mtls::Mtls;
use super::topology::{Locality, Selected};
use super::why::{ExclusionCounts, Member, PodExclusion};
use crate::config::EndpointSpec;
use crate::socket::OwnListeners;
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::records::{ObjectKey, ServicePortRecord};

/// The selection of a host's endpoints for an upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<'a> {
    pub(super) port: &'a ServicePortRecord,
    pub(super) subset: Option<&'a Arc<str>>,
    /// True if connections ask for pods by their hostname.
    pub(super) by_pod: bool,
    /// True to leave out what is outside the mesh.
    pub(super) mesh: bool,
    /// The DestinationRule that holds, as its origin names it.
    pub(super) rule: Option<&'a Arc<str>>,
}

impl Choice<'_> {
    /// Checks that the subset has a pod or workload with these labels.
    ///
    /// # Errors
    /// The reason why it does not, or is not known to.
    pub(super) fn check_subset(
        &self,
        place: &Locality<'_>,
        mtls: &Mtls<'_>,
    ) -> Result<(), PodExclusion> {
        let Some(name) = self.subset else {
            return Ok(());
        };
        let subset = mtls.rule.subset(name).ok_or(PodExclusion::OtherSubset)?;
        match place.is_selected(&subset.labels) {
            Selected::Yes => Ok(()),
            Selected::No => Err(PodExclusion::OtherSubset),
            Selected::NotKnown(label) => Err(PodExclusion::SubsetNotKnown(label)),
        }
    }
}

/// An upstream's endpoints, in order of their address.
#[derive(Debug)]
pub(super) struct ChosenEndpoints {
    endpoints: Vec<EndpointSpec>,
    /// The counts of pods and workloads left out.
    tally: ExclusionCounts,
}

impl ChosenEndpoints {
    /// The endpoints, and the reason why there are none. If this gateway is among them there are none: other
    /// replicas are behind the same Service, and connections would go round all of them.
    pub(super) fn without_own(
        self,
        cluster: &Cluster,
        own: &OwnListeners,
        key: &ObjectKey,
        noun: &str,
    ) -> (Vec<EndpointSpec>, Option<String>) {
        let Self { endpoints, tally } = self;
        let is_own = |endpoint: &EndpointSpec| {
            let mut all = std::iter::once(endpoint.address).chain(endpoint.other);
            all.any(|address| own.contain(address))
        };
        if endpoints.iter().any(is_own) {
            let text = format!("this gateway is a pod of the {noun}: a connection would come back");
            return (Vec::new(), Some(text));
        }
        let empty = endpoints.is_empty().then(|| {
            let tally = match noun {
                _ if !tally.is_empty() => tally.to_string(),
                "Service" => "no pod is behind the Service".to_owned(),
                _ => format!("no workload is behind the {noun}"),
            };
            match unread_slices(cluster, key) {
                0 => tally,
                count => format!("{tally}; EndpointSlices that cannot be read: {count}"),
            }
        });
        (endpoints, empty)
    }
}

/// The number of slices of a Service that cannot be read.
fn unread_slices(cluster: &Cluster, key: &ObjectKey) -> usize {
    let slices = cluster.unreadable_in(Kind::Slice, &key.namespace);
    let own = slices.filter(|(_, slice)| slice.about.as_ref() == Some(&key.name));
    own.count()
}

/// The endpoints among all members of an upstream. Pods that terminate and still serve are endpoints only if
/// nothing else is, as for kube-proxy: a rollout or a node's drain may take the last ready pod before the next
/// one is ready. Where connections ask for a pod by its hostname, nothing else of that hostname counts.
pub(super) fn choose(
    members: impl IntoIterator<Item = (Member, Result<EndpointSpec, PodExclusion>)>,
) -> ChosenEndpoints {
    let mut tally = ExclusionCounts::default();
    let mut endpoints: Vec<EndpointSpec> = Vec::new();
    let mut terminating: Vec<EndpointSpec> = Vec::new();
    for (member, found) in members {
        match found {
            Ok(endpoint) if endpoint.terminating => terminating.push(endpoint),
            Ok(endpoint) => endpoints.push(endpoint),
            Err(missing) => tally.count(member, missing),
        }
    }
    if !terminating.is_empty() {
        let hostnames = endpoints.iter().map(|one| one.hostname.as_ref());
        let served: HashSet<Option<&Arc<str>>> = hostnames.collect();
        terminating.retain(|one| !served.contains(&one.hostname.as_ref()));
        endpoints.extend(terminating);
    }
    endpoints.sort();
    // If two pods have one address, one of them is gone and its slice is outdated.
    endpoints.dedup_by_key(|endpoint| endpoint.address);
    ChosenEndpoints { endpoints, tally }
}
