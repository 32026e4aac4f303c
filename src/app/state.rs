//! The state in force, and the changes that it can get.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::sleep_until;

use super::control::Control;
use super::discovery::{self, Reporter};
use super::listeners::{BindSockets, Listeners};
use super::sources::Sources;
use super::statuses::StatusTask;
use super::unbound::Unbound;
use crate::config::Config;
use crate::drain::DrainPhase;
use crate::proxy::WorkerInbox;
use crate::source::kubernetes::{KubernetesSource, Ports, Publication};

/// The state in force. One task owns it, and a [`Plan`](super::plan::Plan) changes it.
pub(super) struct State {
    pub(super) control: Arc<Control>,
    /// The addresses of the admin servers, which are bound once.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) workers: Vec<WorkerInbox>,
    pub(super) bind: BindSockets,
    /// The config that the process has started with.
    pub(super) started: Arc<Config>,
    /// The config as the file has it.
    pub(super) file: Arc<Config>,
    /// The last discovery that was put into force.
    pub(super) found: Option<Arc<Publication>>,
    pub(super) listeners: Listeners,
    /// Listeners that Gateways ask for and that are not bound.
    pub(super) unbound: Unbound,
    pub(super) sources: Sources,
    pub(super) kubernetes: Option<KubernetesSource>,
    pub(super) statuses: Option<StatusTask>,
    pub(super) reporter: Reporter,
}

impl State {
    /// A state before the first config. `file` will be that config.
    pub(super) fn new(
        control: Arc<Control>,
        file: Arc<Config>,
        servers: Vec<SocketAddr>,
        workers: Vec<WorkerInbox>,
        bind: BindSockets,
    ) -> Self {
        Self {
            servers,
            workers,
            bind,
            found: None,
            listeners: Listeners::default(),
            unbound: Unbound::default(),
            sources: Sources::new(&file, &control.shared),
            kubernetes: None,
            statuses: None,
            reporter: Reporter::default(),
            started: file.clone(),
            file,
            control,
        }
    }

    /// Whether a publication needs no table other than those in force: at most its endpoints differ.
    fn is_routed(&self, publication: &Publication) -> bool {
        self.found.as_ref().is_some_and(|found| {
            let routing = &found.discovered.routing;
            Arc::ptr_eq(routing, &publication.discovered.routing) && found.zone == publication.zone
        })
    }

    /// As [`State::is_routed`], and the hosts without a route have the same reasons too.
    pub(super) fn is_explained(&self, publication: &Publication) -> bool {
        let unrouted = &publication.discovered.unrouted;
        let before = self.found.as_ref();
        before.is_some_and(|found| found.discovered.unrouted.is_same(unrouted))
            && self.is_routed(publication)
    }

    /// Whether the gateway opens listeners. One that drains does not.
    pub(super) fn is_running(&self) -> bool {
        self.control.watcher.phase() == DrainPhase::Running
    }

    /// Waits until ports that could not be bound are due for another attempt.
    pub(super) async fn retry_due(&self) {
        match self.unbound.next_due() {
            Some(due) if self.is_running() => sleep_until(due).await,
            _ => std::future::pending().await,
        }
    }

    /// The result of opening the ports of all listeners.
    pub(super) fn ports(&self) -> Ports {
        let mut failed: BTreeMap<u16, Arc<str>> = self.unbound.ports().collect();
        let open = self.listeners.ports().collect::<BTreeSet<u16>>();
        failed.retain(|port, _| !open.contains(port));
        Ports { open, failed }
    }

    /// Gives the upstreams in force the endpoints of a publication that needs no other tables. This does not put the
    /// publication into force. Returns whether it needs no other tables.
    pub(super) fn give_if_routed(&self, publication: &Publication) -> bool {
        if !self.is_routed(publication) {
            return false;
        }
        let before = self.found.as_deref().map(|found| &*found.discovered);
        let upstreams = &self.control.snapshots.now().upstreams;
        discovery::update_endpoints(upstreams, &publication.discovered, before);
        true
    }
}
