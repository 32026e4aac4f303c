//! The operator's policy for names and ports that one namespace may take by Gateways.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::route_match::SniPattern;
use crate::names::{ListenerName, RouteName};

/// The namespaces that may have Gateways. Each of them has a rank; 0 is the lowest, and wins: a Gateway
/// of a higher rank cannot take a name from one of a lower rank.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayNamespaces {
    /// The namespace that strait runs in.
    #[default]
    Own,
    /// Every namespace. The one that strait runs in comes before all others.
    All,
    /// These namespaces, each before those after it.
    Listed(Vec<Arc<str>>),
}

impl GatewayNamespaces {
    /// The rank of Gateways of `namespace`, when strait runs in `home`; `None` if it may not have any.
    pub fn rank(&self, namespace: &str, home: Option<&str>) -> Option<usize> {
        let is_home = home == Some(namespace);
        match self {
            Self::Own => is_home.then_some(0),
            Self::All => Some(usize::from(!is_home)),
            Self::Listed(names) => names.iter().position(|name| **name == *namespace),
        }
    }
}

/// A range of ports, including the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The treatment of a name that a TLSRoute or a Gateway's listener asks for and that lies below a name
/// of the file's routes on the same port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BelowFileRoutes {
    /// The file's route keeps it.
    #[default]
    Refuse,
    /// The TLSRoute gets it, unless the file has exactly the same name.
    Allow,
}

/// A route of the file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRoute {
    /// The name of its listener.
    pub listener: ListenerName,
    /// Its own name.
    pub route: RouteName,
}

/// The names of the file's routes, by the port of their listener. A listener whose port the kernel
/// chooses is left out, since no Gateway can name that port.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileNames(BTreeMap<u16, HashMap<SniPattern, FileRoute>>);

impl FileNames {
    /// The file's route that has exactly this name, or wildcard, on the port.
    pub fn get(&self, port: u16, pattern: &SniPattern) -> Option<&FileRoute> {
        self.0.get(&port)?.get(pattern)
    }

    /// Adds a name. The first route that claims a name keeps it.
    pub fn add(&mut self, port: u16, pattern: SniPattern, route: &FileRoute) {
        let names = self.0.entry(port).or_default();
        names.entry(pattern).or_insert_with(|| route.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_list_and_nobody_else_has_one() {
        let listed = GatewayNamespaces::Listed(vec!["platform".into(), "apps".into()]);
        for (namespaces, namespace, home, rank) in [
            (&GatewayNamespaces::Own, "strait", Some("strait"), Some(0)),
            (&GatewayNamespaces::Own, "apps", Some("strait"), None),
            // If the namespace is not known, no Gateway is admitted.
            (&GatewayNamespaces::Own, "strait", None, None),
            (&GatewayNamespaces::All, "strait", Some("strait"), Some(0)),
            (&GatewayNamespaces::All, "apps", Some("strait"), Some(1)),
            (&GatewayNamespaces::All, "apps", None, Some(1)),
            (&listed, "platform", Some("strait"), Some(0)),
            (&listed, "apps", Some("strait"), Some(1)),
            (&listed, "strait", Some("strait"), None),
        ] {
            assert_eq!(
                namespaces.rank(namespace, home),
                rank,
                "{namespaces:?} {namespace}"
            );
        }
    }
}
