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

/// A translation that asks for names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NameUser {
    Service(ObjectKey),
    /// The host of a ServiceEntry.
    Host(ObjectKey),
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

    /// The names that are asked for, if they are others than at the last call. The answers for others are
    /// forgotten.
    pub(super) fn take_change(&mut self) -> Option<Vec<Arc<str>>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let users = &self.users;
        self.answers.0.retain(|name, _| users.contains_key(name));
        Some(users.keys().cloned().collect())
    }

    /// Takes the addresses of a name, and adds what that concerns to `dirty`.
    pub(super) fn resolve(&mut self, name: &Arc<str>, addresses: Arc<[IpAddr]>, dirty: &mut Dirty) {
        self.answers.0.insert(name.clone(), addresses);
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
