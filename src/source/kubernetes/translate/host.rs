//! The host of a Service or a ServiceEntry, in the parts that the host of a DestinationRule is compared with.

use crate::source::kubernetes::records::ObjectKey;

/// A host and the namespace of its object.
#[derive(Debug, Clone, Copy)]
pub(super) enum ObjectHost<'a> {
    /// Of a Service.
    Service {
        key: &'a ObjectKey,
        /// The cluster's domain.
        domain: &'a str,
    },
    /// Of a ServiceEntry.
    Entry {
        /// The namespace of the entry, and the host as the name.
        key: &'a ObjectKey,
        /// The cluster's domain.
        domain: &'a str,
    },
}

/// The fit of a rule's host: exact, or by a wildcard of so many bytes. Greater is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    Wildcard(usize),
    Exact,
}

impl<'a> ObjectHost<'a> {
    /// The namespace of its object.
    pub(super) fn namespace(&self) -> &'a str {
        let (Self::Service { key, .. } | Self::Entry { key, .. }) = self;
        &key.namespace
    }

    /// The host, in parts.
    fn parts(&self) -> [&'a str; 5] {
        match self {
            Self::Service { key, domain } => of_service(&key.name, &key.namespace, domain),
            Self::Entry { key, .. } => [&key.name, "", "", "", ""],
        }
    }

    /// The fit of a rule's host, written in `namespace`. A short name stands for a Service there.
    pub(super) fn fit(&self, namespace: &str, pattern: &str) -> Option<Fit> {
        let parts = self.parts();
        if let Some(suffix) = pattern.strip_prefix('*') {
            return ends_with(&parts, suffix).then_some(Fit::Wildcard(pattern.len()));
        }
        let exact = match self {
            _ if pattern.contains('.') => is(&parts, pattern),
            Self::Service { key, .. } => *pattern == *key.name && namespace == &*key.namespace,
            Self::Entry { key, domain } => is(&of_service(pattern, namespace, domain), &key.name),
        };
        exact.then_some(Fit::Exact)
    }
}

/// The host of a Service, in parts.
fn of_service<'a>(name: &'a str, namespace: &'a str, domain: &'a str) -> [&'a str; 5] {
    [name, ".", namespace, ".svc.", domain]
}

/// The name and namespace of the Service that a host below a cluster's domain belongs to: the last two
/// labels before `svc`.
pub(super) fn service_of<'h>(host: &'h str, domain: &str) -> Option<(&'h str, &'h str)> {
    let below = host.strip_suffix(domain)?.strip_suffix(".svc.")?;
    Some(below.rsplit_once('.').unwrap_or(("", below)))
}

/// Whether the parts, joined, are `text`.
fn is(parts: &[&str], text: &str) -> bool {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    length == text.len() && ends_with(parts, text)
}

/// Whether the parts, joined, end with `suffix`.
fn ends_with(parts: &[&str], suffix: &str) -> bool {
    let mut left = suffix;
    for part in parts.iter().rev() {
        match left.strip_suffix(part) {
            Some(rest) => left = rest,
            None => return part.ends_with(left),
        }
    }
    left.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_rules_host_fits_by_its_full_name_its_short_name_or_a_wildcard() {
        let (service, entry) = (key("apps", "web"), key("vms", "db.mesh.local"));
        let like_service = key("vms", "db.vms.svc.cluster.local");
        let domain = "cluster.local";
        let service = ObjectHost::Service {
            key: &service,
            domain,
        };
        let [entry, like_service] =
            [&entry, &like_service].map(|key| ObjectHost::Entry { key, domain });
        for (host, namespace, pattern, wanted) in [
            (service, "apps", "web", Some(Fit::Exact)),
            (service, "other", "web", None),
            (
                service,
                "other",
                "web.apps.svc.cluster.local",
                Some(Fit::Exact),
            ),
            (service, "apps", "web.apps.svc", None),
            (service, "apps", "xweb.apps.svc.cluster.local", None),
            (service, "apps", "*.local", Some(Fit::Wildcard(7))),
            (
                service,
                "apps",
                "*b.apps.svc.cluster.local",
                Some(Fit::Wildcard(25)),
            ),
            (entry, "apps", "db.mesh.local", Some(Fit::Exact)),
            (entry, "apps", "*.mesh.local", Some(Fit::Wildcard(12))),
            (entry, "vms", "db", None),
            (entry, "vms", "mesh.local", None),
            (like_service, "vms", "db", Some(Fit::Exact)),
            (like_service, "apps", "db", None),
        ] {
            assert_eq!(host.fit(namespace, pattern), wanted, "{host:?} {pattern}");
        }
    }

    #[test]
    fn a_host_below_the_clusters_domain_belongs_to_a_namespace() {
        let of = |host| service_of(host, "cluster.local");
        assert_eq!(of("web.apps.svc.cluster.local"), Some(("web", "apps")));
        assert_eq!(of("p.web.apps.svc.cluster.local"), Some(("p.web", "apps")));
        assert_eq!(of("apps.svc.cluster.local"), Some(("", "apps")));
        for host in [
            "web.mesh.local",
            "svc.cluster.local",
            "xsvc.cluster.local",
            "",
        ] {
            assert_eq!(of(host), None, "{host}");
        }
    }
}
