//! The other clusters of the mesh: their pods are endpoints of the Services that both clusters have.
//!
//! As for istiod, the own cluster decides all about a Service that it has, and every policy is read in the own
//! cluster. Another cluster adds its pods and WorkloadEntries, and the Services that the own one lacks; of two
//! other clusters the first in the config comes first.

use std::sync::Arc;

use super::pods::{self, Pod};
use super::topology::Topology;
use super::workloads::{self, HostAnswers, Workload};
use crate::config::{KubernetesConfig, OtherClusterConfig};
use crate::source::kubernetes::cluster::{Cluster, ClusterChange, Dirty, Kind};
use crate::source::kubernetes::records::{ObjectKey, ServiceRecord};

/// The word in `exportTo` that hides a Service from everybody.
const NOBODY: &str = "~";

/// The other clusters, in the order of the config.
#[derive(Debug, Default)]
pub(super) struct OtherClusters(Vec<OtherCluster>);

#[derive(Debug)]
struct OtherCluster {
    config: OtherClusterConfig,
    cluster: Cluster,
}

impl OtherClusters {
    /// Those of a policy, without any object.
    pub(super) fn of(policy: &KubernetesConfig) -> Self {
        let other = |config: &OtherClusterConfig| OtherCluster {
            config: config.clone(),
            cluster: Cluster::new(policy.istio.namespace.clone()),
        };
        Self(policy.clusters.iter().map(other).collect())
    }

    /// Applies a change of the cluster called `name`, and adds the Services that it concerns to `dirty`, and the hosts of
    /// ServiceEntries of the `own` cluster. A cluster that the policy does not name changes nothing.
    pub(super) fn apply(
        &mut self,
        name: &str,
        change: ClusterChange,
        own: &Cluster,
        dirty: &mut Dirty,
    ) {
        let mut all = self.0.iter_mut();
        let Some(other) = all.find(|other| *other.config.name == *name) else {
            return;
        };
        match (change.kind(), &change) {
            (
                Kind::Pod | Kind::Slice | Kind::WorkloadEntry,
                ClusterChange::Set(key, _) | ClusterChange::Removed(_, key),
            ) => dirty.add_all_selecting(Some(&key.namespace), own),
            (Kind::Service, _) => {}
            _ => dirty.add_all_selecting(None, own),
        }
        let mut concerned = Dirty::default();
        other.cluster.apply(change, &mut concerned);
        if concerned.everything {
            let services = other.cluster.services.iter();
            dirty.services.extend(services.map(|(key, _)| key.clone()));
        }
        dirty.services.extend(concerned.services);
    }

    /// The content of a cluster.
    pub(super) fn get(&self, name: &str) -> Option<&Cluster> {
        let mut all = self.0.iter();
        let found = all.find(|other| *other.config.name == *name);
        found.map(|other| &other.cluster)
    }

    /// The whole content, as changes to empty clusters of these names.
    pub(super) fn changes(&self) -> Vec<(Arc<str>, ClusterChange)> {
        let of = |other: &OtherCluster| {
            let name = other.config.name.clone();
            let changes = other.cluster.changes().into_iter();
            changes.map(move |change| (name.clone(), change))
        };
        self.0.iter().flat_map(of).collect()
    }

    /// Adds the Services of namespaces that a change in the own cluster concerns: the own one may lack them.
    pub(super) fn join(&self, dirty: &mut Dirty) {
        let namespaces = std::mem::take(&mut dirty.namespaces);
        if !namespaces.is_empty() {
            let there = self.services();
            let there = there.filter(|key| namespaces.contains(&key.namespace));
            dirty.services.extend(there.cloned());
        }
    }

    /// Every Service of them.
    pub(super) fn services(&self) -> impl Iterator<Item = &ObjectKey> {
        let services = self.0.iter().map(|other| other.cluster.services.iter());
        services.flatten().map(|(key, _)| key)
    }

    /// The Service of the first cluster that has it, which stands in for one that `own` does not have. While the
    /// Services of `own` are not known nothing does: it may have the Service, and hide it.
    pub(super) fn service(&self, own: &Cluster, key: &ObjectKey) -> Option<&ServiceRecord> {
        if !own.is_known(Kind::Service) {
            return None;
        }
        let mut all = self.0.iter();
        all.find_map(|other| other.cluster.services.get(key))
    }

    /// The pods and WorkloadEntries of the clusters that have a Service. `topology` is that of the own cluster.
    pub(super) fn behind<'a>(
        &'a self,
        topology: Topology<'a>,
        key: &ObjectKey,
    ) -> (Vec<Pod<'a>>, Vec<Workload<'a>>) {
        let (mut pods, mut workloads) = (Vec::new(), Vec::new());
        for OtherCluster { config, cluster } in &self.0 {
            if let Some(service) = cluster.services.get(key)
                && !service.export_to.iter().any(|to| &**to == NOBODY)
            {
                let topology = topology.of_other(&config.name, &config.network, cluster);
                pods.extend(pods::behind(cluster, topology, key, service));
                let names = &mut HostAnswers::none();
                workloads.extend(workloads::behind(cluster, topology, names, key, service));
            }
        }
        (pods, workloads)
    }

    /// The pods and WorkloadEntries of the clusters that the ServiceEntries of a namespace with a host select. The
    /// entries, and `topology`, are those of the `own` cluster.
    pub(super) fn of_entries<'a>(
        &'a self,
        own: &'a Cluster,
        topology: Topology<'a>,
        namespace: &str,
        host: &str,
    ) -> Vec<Workload<'a>> {
        let of = |other: &'a OtherCluster| {
            let OtherCluster { config, cluster } = other;
            let topology = topology.of_other(&config.name, &config.network, cluster);
            workloads::of_entries_elsewhere(own, (cluster, topology), namespace, host)
        };
        self.0.iter().flat_map(of).collect()
    }
}
