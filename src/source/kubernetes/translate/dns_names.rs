//! The DNS names that exported hosts have for addresses of workloads, and what DNS has said about them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::source::kubernetes::cluster::Dirty;
use crate::source::kubernetes::records::ObjectKey;

/// The addresses of each name that has any.
#[derive(Debug, Default)]
pub(super) struct DnsAnswers(BTreeMap<Arc<str>, Arc<[IpAddr]>>);

impl DnsAnswers {
    /// The addresses of a name; none if DNS has said none yet.
    pub(super) fn of(&self, name: &str) -> &[IpAddr] {
        self.0.get(name).map_or(&[], |addresses| addresses)
    }
}

/// A DNS name that exported hosts have for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedName {
    /// The name.
    pub name: Arc<str>,
    /// The namespaces of those hosts, at least one.
    pub namespaces: BTreeSet<Arc<str>>,
}

/// A translation that asks for names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NameUser {
    Service(ObjectKey),
    /// The host of a ServiceEntry.
    Host(ObjectKey),
}

impl NameUser {
    fn namespace(&self) -> &Arc<str> {
        let (Self::Service(key) | Self::Host(key)) = self;
        &key.namespace
    }
}

/// The names that translations ask for, with their answers.
#[derive(Debug, Default)]
pub(super) struct DnsNames {
    pub(super) answers: DnsAnswers,
    users: BTreeMap<Arc<str>, BTreeSet<NameUser>>,
    /// True if other names are asked for than when somebody last looked.
    changed: bool,
}

impl DnsNames {
    /// Notes that `user` asks for `new` where it asked for `old`.
    pub(super) fn replace(&mut self, user: &NameUser, old: &[Arc<str>], new: &[Arc<str>]) {
        if old == new {
            return;
        }
        for name in old {
            if let Some(users) = self.users.get_mut(name) {
                users.remove(user);
                if users.is_empty() {
                    self.users.remove(name);
                    self.changed = true;
                }
            }
        }
        for name in new {
            self.changed |= !self.users.contains_key(name);
            let users = self.users.entry(name.clone()).or_default();
            users.insert(user.clone());
        }
    }

    /// The names that are asked for, in order, if they are others than at the last call. The answers for others are
    /// forgotten.
    pub(super) fn take_change(&mut self) -> Option<Vec<WantedName>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let users = &self.users;
        self.answers.0.retain(|name, _| users.contains_key(name));
        let wanted = self.users.iter().map(|(name, users)| WantedName {
            name: name.clone(),
            namespaces: users.iter().map(|user| user.namespace().clone()).collect(),
        });
        Some(wanted.collect())
    }

    /// Has the names count as others than at the last call.
    pub(super) fn announce(&mut self) {
        self.changed = true;
    }

    /// Takes the addresses of a name, and adds what that concerns to `dirty`.
    pub(super) fn resolve(&mut self, name: &Arc<str>, addresses: Arc<[IpAddr]>, dirty: &mut Dirty) {
        self.answers.0.insert(name.clone(), addresses);
        self.concern(name, dirty);
    }

    /// Forgets the addresses of all names but those that `keeps`, and adds what that concerns to `dirty`. Returns
    /// whether there were any.
    pub(super) fn forget(&mut self, keeps: impl Fn(&str) -> bool, dirty: &mut Dirty) -> bool {
        let of = |(name, _): (&Arc<str>, &Arc<[IpAddr]>)| (!keeps(name)).then(|| name.clone());
        let gone: Vec<Arc<str>> = self.answers.0.iter().filter_map(of).collect();
        for name in &gone {
            self.answers.0.remove(name);
            self.concern(name, dirty);
        }
        !gone.is_empty()
    }

    fn concern(&self, name: &str, dirty: &mut Dirty) {
        for user in self.users.get(name).into_iter().flatten() {
            match user {
                NameUser::Service(key) => dirty.services.insert(key.clone()),
                NameUser::Host(key) => dirty.hosts.insert(key.clone()),
            };
        }
    }

    /// Every name with its addresses.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Arc<[IpAddr]>)> {
        let all = self.answers.0.iter();
        all.map(|(name, addresses)| (name.clone(), addresses.clone()))
            .collect()
    }
}
