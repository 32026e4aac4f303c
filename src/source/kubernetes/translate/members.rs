//! The members of a host, which are pods and other workloads, with the policies for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::choice::{self, Choice, ChosenEndpoints};
use super::context::Context;
use super::host::ObjectHost;
use super::mesh::Mesh;
use super::mtls::Mtls;
use super::pods::{self, Pod};
use super::topology::Topology;
use super::why::Member;
use super::workloads::{self, HostAnswers, Workload};
use crate::config::{KubernetesConfig, PodChoice, ServicePort};
use crate::source::kubernetes::records::{ObjectKey, ServicePortRecord};

/// The members of a host.
#[derive(Debug)]
pub(super) struct Members<'a> {
    pub(super) pods: Vec<Pod<'a>>,
    /// Those of other clusters.
    other_pods: Vec<Pod<'a>>,
    workloads: Vec<Workload<'a>>,
    pub(super) mtls: Mtls<'a>,
}

impl<'a> Members<'a> {
    /// Those of a Service of any cluster, with the WorkloadEntries that it selects and the workloads of
    /// ServiceEntries with its host.
    pub(super) fn of_service(context: &Context<'a>, key: &ObjectKey) -> Self {
        let (cluster, policy) = (context.cluster, context.policy);
        let names = &mut HostAnswers::new(context.names);
        let domain = policy.cluster_domain.as_str();
        let topology = Topology::of(cluster, policy);
        let host = ObjectHost::Service { key, domain };
        let mesh = Mesh::of(cluster, policy);
        let (mut pods, mut workloads) = (Vec::new(), Vec::new());
        if let Some(record) = cluster.services.get(key) {
            pods = pods::behind(cluster, topology, key, record);
            workloads = workloads::behind(cluster, topology, names, key, record);
        }
        let (mut other_pods, mut other_workloads) = context.others.behind(topology, key);
        let ObjectKey { namespace, name } = key;
        let full = format!("{name}.{namespace}.svc.{domain}");
        let others = context.others;
        other_workloads.extend(others.of_entries(cluster, topology, namespace, &full));
        let has_others = !(other_pods.is_empty() && other_workloads.is_empty());
        if has_others && mesh.keeps_local(policy, &full) {
            other_pods.iter_mut().for_each(Pod::keep_local);
            other_workloads.iter_mut().for_each(Workload::keep_local);
        }
        workloads.extend(other_workloads);
        if !cluster.service_entries.is_empty() {
            let of_entries = workloads::of_entries(cluster, topology, names, namespace, &full);
            workloads.extend(of_entries);
        }
        Self {
            pods,
            other_pods,
            workloads,
            mtls: Mtls::of(cluster, &mesh, &host),
        }
    }

    /// Those of the host `key.name` of ServiceEntries.
    pub(super) fn of_host(context: &Context<'a>, key: &ObjectKey) -> Self {
        let (cluster, policy) = (context.cluster, context.policy);
        let names = &mut HostAnswers::new(context.names);
        let domain = policy.cluster_domain.as_str();
        let topology = Topology::of(cluster, policy);
        let host = ObjectHost::Entry { key, domain };
        let mesh = Mesh::of(cluster, policy);
        let ObjectKey { namespace, name } = key;
        let mut workloads = workloads::of_entries(cluster, topology, names, namespace, name);
        let others = context.others;
        let mut elsewhere = others.of_entries(cluster, topology, namespace, name);
        if !elsewhere.is_empty() && mesh.keeps_local(policy, name) {
            elsewhere.iter_mut().for_each(Workload::keep_local);
        }
        workloads.extend(elsewhere);
        Self {
            pods: Vec::new(),
            other_pods: Vec::new(),
            workloads,
            mtls: Mtls::of(cluster, &mesh, &host),
        }
    }

    /// The DNS names that workloads have for addresses.
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        let names = self.workloads.iter().filter_map(|of| of.asks);
        names.cloned().collect()
    }

    /// The endpoints of an upstream.
    pub(super) fn choose(
        &self,
        policy: &KubernetesConfig,
        target: &ServicePort,
        port: &ServicePortRecord,
    ) -> ChosenEndpoints {
        let subset = target.subset.as_ref();
        let choice = Choice {
            port,
            subset,
            by_pod: target.by_pod,
            mesh: demands_mesh(policy, target),
            rule: self.mtls.rule.name(subset),
        };
        let of_pod = |pod: &Pod<'_>| (Member::Pod, pod.endpoint(&choice, &self.mtls));
        let of_workload = |workload: &Workload<'_>| {
            let endpoint = workload.endpoint(&choice, &self.mtls);
            (workload.member, endpoint)
        };
        // The backend of a TLSRoute is a Service as Kubernetes knows it, and the names of pods are those of pods.
        let as_exported = target.pods == PodChoice::AsExported && !target.by_pod;
        let workloads = self.workloads.iter().filter(|_| as_exported);
        // The pods of the own cluster decide whether a backend is in the mesh. Those of others join one that is, since they
        // must be in it then, too.
        let with_others = match target.pods {
            PodChoice::AsExported | PodChoice::Mesh => !target.by_pod,
            PodChoice::All | PodChoice::Refused => false,
        };
        let other_pods = self.other_pods.iter().filter(|_| with_others);
        let pods = self.pods.iter();
        let pods = pods.filter(|pod| !target.by_pod || pod.hostname.is_some());
        let pods = pods.chain(other_pods).map(of_pod);
        choice::choose(pods.chain(workloads.map(of_workload)))
    }
}

fn demands_mesh(policy: &KubernetesConfig, target: &ServicePort) -> bool {
    match target.pods {
        PodChoice::AsExported => policy.export.alpn.demands_istio(),
        PodChoice::Mesh => true,
        PodChoice::All | PodChoice::Refused => false,
    }
}
