//! The places where a connection has failed, from which its next attempt stays away: the cause may be there.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::EndpointSet;
use crate::config::EndpointSpec;

/// The zones, address families and nodes of the endpoints that have failed a connection.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    zones: HashSet<Option<&'a str>>,
    families: HashSet<bool>,
    nodes: HashSet<Option<&'a str>>,
}

/// Whether an endpoint is in another place than all that have failed. The first difference counts most. All endpoints
/// whose zone is not known count as one zone, and those whose node is not known as one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Apart {
    in_other_zone: bool,
    of_other_family: bool,
    on_other_node: bool,
}

impl<'a> Failed<'a> {
    /// Those of the endpoints in `set` that were `tried`.
    pub(super) fn among(set: &'a EndpointSet, tried: &[SocketAddr]) -> Self {
        let specs = set.iter().map(|one| &one.spec);
        Self::of(specs.filter(|spec| tried.contains(&spec.address)), tried)
    }

    fn of(specs: impl Iterator<Item = &'a EndpointSpec>, tried: &[SocketAddr]) -> Self {
        let (zones, nodes) = specs
            .map(|spec| (spec.zone.as_deref(), spec.node.as_deref()))
            .unzip();
        Self {
            zones,
            families: tried.iter().map(SocketAddr::is_ipv4).collect(),
            nodes,
        }
    }

    /// The distance of an endpoint from those that have failed.
    pub(super) fn apart(&self, spec: &EndpointSpec) -> Apart {
        Apart {
            in_other_zone: !self.zones.contains(&spec.zone.as_deref()),
            of_other_family: !self.families.contains(&spec.address.is_ipv4()),
            on_other_node: !self.nodes.contains(&spec.node.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::spec;

    /// An endpoint in this zone, of this family, on this node; `-` is not known.
    fn at(place: &str) -> EndpointSpec {
        let mut words = place.split(' ').map(|word| (word != "-").then_some(word));
        let zone = words.next().unwrap();
        let is_ipv6 = words.next().unwrap() == Some("v6");
        let mut spec = spec(1, zone, 1);
        if is_ipv6 {
            spec.address = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 80));
        }
        spec.node = words.next().unwrap().map(Into::into);
        spec
    }

    #[test]
    fn the_first_of_the_untried_is_farthest_from_those_that_failed() {
        for (failed, in_order) in [
            // The node decides between pods of one zone and family.
            (&["a v4 n1"][..], &["a v4 n2", "a v4 n1"][..]),
            (&["- v4 n1"], &["- v4 n2", "- v4 n1"]),
            // A zone counts more than a family, and that more than a node.
            (
                &["a v4 n1"],
                &[
                    "b v6 n2", "b v6 n1", "b v4 n2", "b v4 n1", "a v6 n2", "a v6 n1", "a v4 n2",
                    "a v4 n1",
                ],
            ),
            // Apart from each that has failed, not only from the last.
            (&["a v4 n1", "b v4 n2"], &["c v4 n3", "a v4 n3", "b v4 n1"]),
            (&["a v4 n1", "a v4 n2"], &["a v4 n3", "a v4 n2"]),
            // A node that is not known may be another one.
            (&["a v4 n1"], &["a v4 -", "a v4 n1"]),
            (&["a v4 -"], &["a v4 n1", "a v4 -"]),
        ] {
            let failed: Vec<EndpointSpec> = failed.iter().map(|one| at(one)).collect();
            let tried: Vec<SocketAddr> = failed.iter().map(|one| one.address).collect();
            let failed = Failed::of(failed.iter(), &tried);
            let apart: Vec<Apart> = in_order.iter().map(|one| failed.apart(&at(one))).collect();
            assert!(
                apart.is_sorted_by(|nearer, farther| nearer > farther),
                "{in_order:?}: {apart:?}"
            );
        }
    }
}
