//! Addresses that are bound: none twice, and no endpoint leads back to one.

use std::net::{IpAddr, SocketAddr};

use super::machine::Machine;
use crate::config::file::ConfigFile;
use crate::config::file::addresses::{Bind, collision_key};
use crate::config::form::containers::OrOff;
use crate::config::form::decode::At;
use crate::config::form::problems::{Complaint, KeyPlace, Problems};
use crate::socket::{canonical, leads_to};

/// The addresses that this process will listen on.
pub(super) struct Binds<'a> {
    bound: Vec<(SocketAddr, KeyPlace)>,
    interfaces: &'a [IpAddr],
}

impl<'a> Binds<'a> {
    /// Collects the addresses, and notes those that would be bound twice.
    pub(super) fn collect(
        file: &ConfigFile,
        machine: &'a Machine,
        problems: &mut Problems,
    ) -> Self {
        let mut binds = Self {
            bound: Vec::new(),
            interfaces: &machine.interfaces,
        };
        for listener in &file.listeners.value.items {
            binds.add(&listener.bind, problems);
        }
        if let OrOff::On(admin) = &file.admin {
            binds.add(&admin.bind, problems);
        }
        if let OrOff::On(status) = &file.status {
            binds.add(&status.bind, problems);
        }
        if let OrOff::On(metrics) = &file.metrics {
            binds.add(&metrics.bind, problems);
        }
        binds
    }

    fn add(&mut self, bind: &At<Bind>, problems: &mut Problems) {
        let address = bind.value.0;
        // Port 0 is a different port each time.
        if address.port() == 0 {
            return;
        }
        let collides =
            |other: &&(SocketAddr, KeyPlace)| collision_key(other.0) == collision_key(address);
        if let Some((other, place)) = self.bound.iter().find(collides) {
            let complaint = Complaint::new(format!("{address} is taken: {place} binds {other}"))
                .remedy("give each its own port");
            problems.note(&bind.place, complaint);
        }
        self.bound.push((address, bind.place.clone()));
    }

    /// The addresses of this machine's interfaces.
    pub(super) fn interfaces(&self) -> &[IpAddr] {
        self.interfaces
    }

    /// The bind that a connection to `endpoint` from this process would reach, with this machine's
    /// present addresses.
    pub(super) fn reached_by(&self, endpoint: SocketAddr) -> Option<&KeyPlace> {
        let endpoint = canonical(endpoint);
        let reached = |bind: SocketAddr| leads_to(canonical(bind), self.interfaces, endpoint);
        let bind = self.bound.iter().find(|(bind, _)| reached(*bind));
        bind.map(|(_, place)| place)
    }
}
