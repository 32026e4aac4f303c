//! Hostnames of the Gateway API: the names that each stands for, and their owners.

use crate::config::SniPattern;
use crate::server_name::{NameError, ServerName};

/// Parses `hostname` of a listener or of a TLSRoute: one name, or all names below one (`*.x`).
pub(super) fn parse(hostname: &str) -> Result<SniPattern, NameError> {
    match hostname.strip_prefix("*.") {
        Some(parent) => ServerName::parse(parent.as_bytes()).map(SniPattern::Below),
        None => ServerName::parse(hostname.as_bytes()).map(SniPattern::Exact),
    }
}

/// Whether `name` lies below `parent`.
fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent)
        .is_some_and(|rest| rest.ends_with('.'))
}

/// Whether every name of `narrow` is one of `wide`.
pub(super) fn covers(wide: &SniPattern, narrow: &SniPattern) -> bool {
    match (wide, narrow) {
        (SniPattern::Absent, _) | (_, SniPattern::Absent) => wide == narrow,
        (SniPattern::Any, _) => true,
        (_, SniPattern::Any)
        | (SniPattern::Exact(_), SniPattern::Below(_) | SniPattern::OneBelow(_))
        | (SniPattern::OneBelow(_), SniPattern::Below(_)) => false,
        (SniPattern::OneBelow(of), SniPattern::Exact(name)) => name
            .as_name()
            .split_host()
            .is_some_and(|(_, rest)| rest == of.as_str()),
        (SniPattern::OneBelow(wide), SniPattern::OneBelow(narrow)) => wide == narrow,
        (SniPattern::Exact(wide), SniPattern::Exact(narrow)) => wide == narrow,
        (SniPattern::Below(parent), SniPattern::Exact(name)) => {
            is_below(name.as_str(), parent.as_str())
        }
        (SniPattern::Below(parent), SniPattern::Below(name) | SniPattern::OneBelow(name)) => {
            parent == name || is_below(name.as_str(), parent.as_str())
        }
    }
}

/// The names that both patterns match. Two patterns either have no common name, or one covers the
/// other.
pub(super) fn intersection<'a>(a: &'a SniPattern, b: &'a SniPattern) -> Option<&'a SniPattern> {
    if covers(a, b) {
        Some(b)
    } else if covers(b, a) {
        Some(a)
    } else {
        None
    }
}

/// `pattern` and every pattern that covers it, most specific first.
pub(super) fn at_or_above(pattern: &SniPattern) -> impl Iterator<Item = SniPattern> + use<> {
    let (exact, parents): (_, Vec<SniPattern>) = match pattern {
        SniPattern::Exact(name) => (Some(pattern.clone()), parents(name, 1)),
        SniPattern::OneBelow(name) => (Some(pattern.clone()), parents(name, 0)),
        SniPattern::Below(name) => (None, parents(name, 0)),
        SniPattern::Any => (None, Vec::new()),
        // No hostname of the Gateway API means hellos without a name.
        SniPattern::Absent => (Some(SniPattern::Absent), Vec::new()),
    };
    exact.into_iter().chain(parents).chain([SniPattern::Any])
}

fn parents(name: &ServerName, skip: usize) -> Vec<SniPattern> {
    let name = name.as_name();
    let parents = name.suffixes().skip(skip);
    let parents = parents.filter_map(|parent| ServerName::parse(parent.as_bytes()).ok());
    parents.map(SniPattern::Below).collect()
}

/// The names that belong to namespaces: those at or below `NAMESPACE.svc.DOMAIN`.
#[derive(Debug)]
pub(super) struct Domains([String; 2]);

/// The reason why a route may not have a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Foreign {
    /// The name belongs to this namespace, which is not the route's.
    Of(String),
    /// The name is so wide that it covers names of every namespace.
    OfAll,
}

impl Domains {
    /// Creates the domains of a cluster whose services have names below `svc.` of `cluster_domain`, and
    /// below `svc.clusterset.local` once they are exported to other clusters.
    pub(super) fn new(cluster_domain: &ServerName) -> Self {
        Self([
            format!("svc.{cluster_domain}"),
            "svc.clusterset.local".to_owned(),
        ])
    }

    /// The reason why a route of `namespace` may not have `pattern`, if it may not.
    pub(super) fn foreign(&self, pattern: &SniPattern, namespace: &str) -> Option<Foreign> {
        let (name, wide) = match pattern {
            // A catch-all would also get connections for services that are not exported.
            SniPattern::Any | SniPattern::Absent => return Some(Foreign::OfAll),
            SniPattern::Exact(name) => (name.as_str(), false),
            SniPattern::Below(name) | SniPattern::OneBelow(name) => (name.as_str(), true),
        };
        self.0.iter().find_map(|domain| {
            if wide && (name == domain || is_below(domain, name)) {
                return Some(Foreign::OfAll);
            }
            let owned = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
            let owner = owned.rsplit('.').next().unwrap_or(owned);
            (owner != namespace).then(|| Foreign::Of(owner.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SniPattern {
        if text == "*" {
            return SniPattern::Any;
        }
        parse(text).unwrap()
    }

    #[test]
    fn the_intersection_is_the_narrower_of_the_two() {
        for (a, b, both) in [
            ("a.x", "a.x", Some("a.x")),
            ("a.x", "b.x", None),
            ("a.x", "*.x", Some("a.x")),
            ("a.b.x", "*.x", Some("a.b.x")),
            ("x", "*.x", None),
            ("ax", "*.x", None),
            ("*.x", "*.x", Some("*.x")),
            ("*.a.x", "*.x", Some("*.a.x")),
            ("*.ax", "*.x", None),
            ("*.a.x", "*.b.x", None),
            ("*.a.x", "a.x", None),
            ("*", "a.x", Some("a.x")),
            ("*", "*.x", Some("*.x")),
            ("*", "*", Some("*")),
        ] {
            let (a, b, both) = (pattern(a), pattern(b), both.map(pattern));
            assert_eq!(intersection(&a, &b), both.as_ref(), "{a} and {b}");
            assert_eq!(intersection(&b, &a), both.as_ref(), "{b} and {a}");
        }
    }

    #[test]
    fn what_covers_a_pattern_is_found_most_specific_first() {
        let above = |text: &str| {
            let above: Vec<String> = at_or_above(&pattern(text)).map(|p| p.to_string()).collect();
            above.join(" ")
        };
        assert_eq!(above("a.b.x"), "a.b.x *.b.x *.x *");
        assert_eq!(above("*.b.x"), "*.b.x *.x *");
        assert_eq!(above("*"), "*");
        assert_eq!(above("x"), "x *");
    }

    #[test]
    fn only_the_owning_namespace_may_claim_names_of_its_services() {
        let domains = Domains::new(&ServerName::parse(b"cluster.local").unwrap());
        let of = |namespace: &str| Some(Foreign::Of(namespace.to_owned()));
        for (text, foreign) in [
            ("web.apps.svc.cluster.local", None),
            ("a.b.web.apps.svc.cluster.local", None),
            ("apps.svc.cluster.local", None),
            ("*.apps.svc.cluster.local", None),
            ("*.web.apps.svc.cluster.local", None),
            ("web.apps.svc.clusterset.local", None),
            ("example.com", None),
            ("*.example.com", None),
            ("*.com", None),
            ("svc.example.com", None),
            // No service has such a name.
            ("svc.cluster.local", None),
            ("xsvc.cluster.local", None),
            ("web.shop.svc.cluster.local", of("shop")),
            ("apps.shop.svc.cluster.local", of("shop")),
            ("shop.svc.cluster.local", of("shop")),
            ("*.shop.svc.cluster.local", of("shop")),
            ("*.apps.shop.svc.cluster.local", of("shop")),
            ("web.shop.svc.clusterset.local", of("shop")),
            ("WEB.SHOP.SVC.CLUSTER.LOCAL", of("shop")),
            ("*.svc.cluster.local", Some(Foreign::OfAll)),
            ("*.svc.clusterset.local", Some(Foreign::OfAll)),
            ("*.cluster.local", Some(Foreign::OfAll)),
            ("*.local", Some(Foreign::OfAll)),
            ("*", Some(Foreign::OfAll)),
        ] {
            assert_eq!(domains.foreign(&pattern(text), "apps"), foreign, "{text}");
        }
    }
}
