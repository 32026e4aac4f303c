//! The statuses of the Gateway API's objects, made from the results of the translation.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::attach::{Attached, OwnRoute, gateway_key};
use super::backends::Backends;
use super::certificates;
use super::left_out::left_out;
use super::listeners::{self, GatewayRefusal, OwnGateway, OwnListener};
use super::reach::Reach;
use super::tables::{Lost, Winner};
use crate::config::{GatewayAddresses, GatewayApiConfig};
use crate::source::kubernetes::cluster::{Cluster, Kind};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{ParentRef, TlsRouteRecord};
use crate::source::kubernetes::status::{
    Condition, ConditionKind, ListenerStatus, Notices, ParentStatus, Status, Statuses,
    UNSUPPORTED_CLASS, Wanted,
};

/// The supported features by the names of the conformance suite, in ascending order. The suite's feature
/// `Gateway` is not among them: its tests need HTTP and HTTPS listeners.
const FEATURES: &[&str] = &["ReferenceGrant", "TLSRoute"];

/// The largest number of addresses that the API accepts in a Gateway's status.
const MAX_ADDRESSES: usize = 16;

/// The number of names shown in a message.
const SHOWN: usize = 5;

/// The input of all statuses.
pub(super) struct GatewayFindings<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) config: &'a GatewayApiConfig,
    pub(super) reach: Reach<'a>,
    pub(super) gateways: &'a [OwnGateway<'a>],
    pub(super) routes: &'a [OwnRoute<'a>],
    pub(super) backends: &'a [Backends],
    pub(super) lost: &'a Lost,
}

impl GatewayFindings<'_> {
    pub(super) fn statuses(&self, notices: Notices) -> Statuses {
        let mut statuses = Statuses {
            notices,
            left_out: left_out(self.gateways),
            ..Statuses::default()
        };
        let v1: Arc<str> = "v1".into();
        for (key, class) in listeners::classes_of_controller(self.cluster, self.config) {
            let wanted = Wanted {
                revision: class.revision.clone(),
                api_version: v1.clone(),
                status: if key.name == self.config.class {
                    class_status(class.spec.has_parameters)
                } else {
                    unserved_class_status(&self.config.class)
                },
            };
            statuses
                .objects
                .insert((Kind::GatewayClass, key.clone()), wanted);
        }
        let attached = self.attached();
        for (index, gateway) in self.gateways.iter().enumerate() {
            let wanted = Wanted {
                revision: gateway.record.revision.clone(),
                api_version: v1.clone(),
                status: self.gateway_status(index, gateway, &attached),
            };
            statuses
                .objects
                .insert((Kind::Gateway, gateway.key.clone()), wanted);
        }
        self.add_routes(&mut statuses);
        statuses
    }

    fn add_routes(&self, statuses: &mut Statuses) {
        let mut add = |key: &ObjectKey, record: &TlsRouteRecord, parents: Vec<ParentStatus>| {
            let wanted = Wanted {
                revision: record.revision.clone(),
                api_version: record.api_version.clone(),
                status: Status::Route {
                    parents,
                    others: self.others(key, record),
                },
            };
            statuses
                .objects
                .insert((Kind::TlsRoute, key.clone()), wanted);
        };
        let mut seen = HashSet::new();
        for (at, route) in self.routes.iter().enumerate() {
            seen.insert(route.key);
            let parents = route.parents.iter();
            let parents = parents
                .map(|parent| self.parent_status(at, parent))
                .collect();
            add(route.key, route.record, parents);
        }
        // Routes that we reported on earlier and that no longer attach to one of our Gateways.
        for (key, record) in self.cluster.tls_routes.iter() {
            if record.reported_by.contains(&self.config.controller) && !seen.contains(key) {
                add(key, record, Vec::new());
            }
        }
    }

    /// References to existing Gateways that are not ours.
    fn others(&self, key: &ObjectKey, record: &TlsRouteRecord) -> Vec<ParentRef> {
        let is_other = |parent: &&ParentRef| {
            let gateway = gateway_key(parent, &key.namespace);
            let gateway = gateway.and_then(|key| self.cluster.gateways.get(&key));
            gateway.is_some_and(|gateway| gateway.spec.gateway_class_name != self.config.class)
        };
        record
            .spec
            .parent_refs
            .iter()
            .filter(is_other)
            .cloned()
            .collect()
    }

    /// The number of accepted routes of each listener.
    fn attached(&self) -> HashMap<(usize, usize), u32> {
        let mut counts = HashMap::new();
        for route in self.routes {
            let accepted = route
                .parents
                .iter()
                .filter_map(|parent| parent.outcome.as_ref().ok());
            let places: BTreeSet<(usize, usize)> = accepted
                .flatten()
                .map(|attachment| attachment.listener)
                .collect();
            for place in places {
                *counts.entry(place).or_default() += 1;
            }
        }
        counts
    }

    fn gateway_status(
        &self,
        index: usize,
        gateway: &OwnGateway<'_>,
        attached: &HashMap<(usize, usize), u32>,
    ) -> Status {
        let (addresses, address_trouble) = self.addresses(gateway);
        let listeners = gateway.listeners.iter().enumerate();
        let listeners = listeners.map(|(at, listener)| ListenerStatus {
            name: listener.spec.name.clone(),
            takes_tls_routes: listener.takes_tls_routes,
            attached_routes: attached.get(&(index, at)).copied().unwrap_or(0),
            conditions: self.listener_conditions(gateway, listener),
        });
        Status::Gateway {
            conditions: gateway_conditions(gateway, address_trouble, &self.reach),
            addresses,
            listeners: listeners.collect(),
        }
    }

    /// The addresses at which clients reach the Gateway, and the problem with those that it asks for.
    fn addresses(
        &self,
        gateway: &OwnGateway<'_>,
    ) -> (Vec<Arc<str>>, Option<(&'static str, String)>) {
        let own: &[Arc<str>] = match &self.config.addresses {
            GatewayAddresses::Unknown => &[],
            GatewayAddresses::Fixed(addresses) => addresses,
            GatewayAddresses::Service { namespace, name } => {
                let key = ObjectKey {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                let addresses = self
                    .cluster
                    .services
                    .get(&key)
                    .map(|service| &service.addresses);
                match addresses {
                    Some(addresses) if !addresses.is_empty() => addresses,
                    Some(_) => {
                        let message = format!(
                            "Service {namespace}/{name}, which stands in front of this gateway, has no \
                             address yet: no load balancer gave it one, and it has no externalIPs"
                        );
                        return (Vec::new(), Some(("AddressNotAssigned", message)));
                    }
                    None => {
                        let message = format!(
                            "Service {namespace}/{name}, which should stand in front of this gateway, is \
                             not there"
                        );
                        return (Vec::new(), Some(("AddressNotAssigned", message)));
                    }
                }
            }
        };
        let asked = gateway.record.spec.addresses.iter();
        let asked: Vec<&Arc<str>> = asked
            .map(|address| &address.value)
            .filter(|value| !value.is_empty())
            .collect();
        let strange = asked.iter().find(|value| !own.contains(value));
        let trouble = strange.map(|value| {
            let message =
                format!("spec.addresses: {value} is no address of this gateway; remove it");
            ("AddressNotUsable", message)
        });
        let shown = own
            .iter()
            .filter(|address| asked.is_empty() || asked.contains(address));
        (shown.take(MAX_ADDRESSES).cloned().collect(), trouble)
    }

    fn parent_status(&self, at: usize, attached: &Attached<'_>) -> ParentStatus {
        let backends = &self.backends[at];
        let accepted = match &attached.outcome {
            Ok(_) => {
                let message = backends.in_mesh.as_ref().map_or_else(String::new, |backend| {
                    format!(
                        "clients must offer an Istio ALPN: pods of {backend} are in the mesh (the \
                         annotation strait.dev/alpn: any lifts that)"
                    )
                });
                Condition::new(ConditionKind::Accepted, true, "Accepted", message)
            }
            Err(refusal) => Condition::new(
                ConditionKind::Accepted,
                false,
                refusal.reason,
                refusal.message.clone(),
            ),
        };
        let resolved = match &backends.unresolved {
            None => Condition::new(ConditionKind::ResolvedRefs, true, "ResolvedRefs", ""),
            Some(refusal) => Condition::new(
                ConditionKind::ResolvedRefs,
                false,
                refusal.reason,
                refusal.message.clone(),
            ),
        };
        let mut conditions = vec![accepted, resolved];
        conditions.extend(self.refused_names(at, attached));
        if backends.dropped_rules > 0 {
            let message = "Dropped Rule: all but the first; a TLSRoute has one rule";
            let kind = ConditionKind::PartiallyInvalid;
            conditions.push(Condition::new(kind, true, "UnsupportedValue", message));
        }
        ParentStatus {
            parent: attached.parent.clone(),
            conditions,
        }
    }

    /// The condition about hostnames that the route lists and does not serve.
    fn refused_names(&self, at: usize, attached: &Attached<'_>) -> Option<Condition> {
        let kind = ConditionKind::HostnamesRefused;
        if !attached.refused_names.is_empty() {
            let names = attached.refused_names.iter();
            let conflicts = names.clone().all(|name| name.conflicts);
            let reason = if conflicts {
                "Conflict"
            } else {
                "NotPermitted"
            };
            let message = listed(names.map(|name| format!("{} {}", name.hostname, name.why)));
            return Some(Condition::new(kind, true, reason, message));
        }
        let lost = self.lost.get(&at).filter(|_| attached.outcome.is_ok())?;
        let message = listed(lost.iter().map(|(name, winner)| match winner {
            Winner::Route(first) => {
                format!(
                    "{name} belongs to the older TLSRoute {}",
                    self.routes[*first].key
                )
            }
            Winner::Listener((gateway, at)) => {
                let gateway = &self.gateways[*gateway];
                let listener = &gateway.listeners[*at].spec.name;
                format!(
                    "{name} belongs to listener {listener} of Gateway {}",
                    gateway.key
                )
            }
        }));
        Some(Condition::new(kind, true, "Conflict", message))
    }

    fn listener_conditions(
        &self,
        gateway: &OwnGateway<'_>,
        listener: &OwnListener<'_>,
    ) -> Vec<Condition> {
        let reach = &self.reach;
        let refused = not_accepted(gateway, listener, reach);
        let accepted = match &refused {
            None => Condition::new(ConditionKind::Accepted, true, "Accepted", ""),
            Some(GatewayRefusal { reason, message }) => {
                Condition::new(ConditionKind::Accepted, false, reason, message.clone())
            }
        };
        let conflicted = match &listener.refused {
            Some(GatewayRefusal { reason, message }) if listener.conflicted => {
                Condition::new(ConditionKind::Conflicted, true, reason, message.clone())
            }
            _ => Condition::new(ConditionKind::Conflicted, false, "NoConflicts", ""),
        };
        let unresolved = unknown_kind(listener)
            .or_else(|| certificates::unresolved(self.cluster, gateway.key, listener));
        let resolved = match unresolved {
            None => Condition::new(ConditionKind::ResolvedRefs, true, "ResolvedRefs", ""),
            Some(GatewayRefusal { reason, message }) => {
                Condition::new(ConditionKind::ResolvedRefs, false, reason, message)
            }
        };
        let programmed = if refused.is_none() && gateway.serves(listener) {
            match reach.pending(listener.spec.port) {
                None => Condition::new(ConditionKind::Programmed, true, "Programmed", ""),
                Some(why) => Condition::new(ConditionKind::Programmed, false, "Pending", why),
            }
        } else {
            let why = gateway.refused.as_ref().or(refused.as_ref());
            let message = why.map_or("no kind of route can attach", |refusal| &refusal.message);
            Condition::new(ConditionKind::Programmed, false, "Invalid", message)
        };
        vec![accepted, conflicted, resolved, programmed]
    }
}

/// The refusal of a kind of route that cannot attach to the listener.
fn unknown_kind(listener: &OwnListener<'_>) -> Option<GatewayRefusal> {
    let kind = &listener.unknown_kind?.kind;
    let instead = if &*listener.spec.protocol == "TLS" {
        "a TLSRoute does"
    } else {
        "no route attaches to a listener that is not served"
    };
    let message = format!("allowedRoutes.kinds: {kind} does not attach here; {instead}");
    Some(GatewayRefusal::new("InvalidRouteKinds", message))
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = items.take(SHOWN).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join("; ")
}

fn class_status(has_parameters: bool) -> Status {
    let accepted = if has_parameters {
        let message = "spec.parametersRef: strait takes no parameters; remove it";
        Condition::new(ConditionKind::Accepted, false, "InvalidParameters", message)
    } else {
        Condition::new(ConditionKind::Accepted, true, "Accepted", "")
    };
    Status::Class {
        conditions: vec![accepted],
        features: FEATURES,
    }
}

/// The status of a class with our `controllerName` that the config does not name.
fn unserved_class_status(served: &str) -> Status {
    let message = format!(
        "this strait serves GatewayClass {served} only: kubernetes.gateway_api.class of its config names it"
    );
    let kind = ConditionKind::Accepted;
    Status::UnservedClass {
        accepted: Condition::new(kind, false, UNSUPPORTED_CLASS, message),
    }
}

/// The reason why a listener is not accepted: one of its own, or its port cannot be opened.
fn not_accepted(
    gateway: &OwnGateway<'_>,
    listener: &OwnListener<'_>,
    reach: &Reach<'_>,
) -> Option<GatewayRefusal> {
    let port = || gateway.serves(listener).then_some(listener.spec.port);
    let own = listener.refused.clone();
    own.or_else(|| reach.refusal(port()?))
}

fn gateway_conditions(
    gateway: &OwnGateway<'_>,
    address_trouble: Option<(&'static str, String)>,
    reach: &Reach<'_>,
) -> Vec<Condition> {
    let (accepted, programmed) = (ConditionKind::Accepted, ConditionKind::Programmed);
    if let Some(refusal) = &gateway.refused {
        let message = refusal.message.clone();
        return vec![
            Condition::new(accepted, false, refusal.reason, message.clone()),
            Condition::new(programmed, false, "Invalid", message),
        ];
    }
    let (mut bad, mut pending) = (Vec::new(), Vec::new());
    for listener in &gateway.listeners {
        let name = &listener.spec.name;
        if let Some(refusal) = not_accepted(gateway, listener, reach) {
            bad.push(format!("{name}: {}", refusal.message));
        } else if gateway.serves(listener)
            && let Some(message) = reach.pending(listener.spec.port)
        {
            pending.push(format!("{name}: {message}"));
        }
    }
    let good = gateway.listeners.len() > bad.len();
    let waits = good && gateway.listeners.len() == bad.len() + pending.len();
    let (reason, message) = if bad.is_empty() {
        ("Accepted", String::new())
    } else {
        ("ListenersNotValid", listed(bad.into_iter()))
    };
    let (is_programmed, why, what) = match address_trouble {
        _ if !good => (false, "Invalid", "no listener is accepted".to_owned()),
        Some((why, what)) => (false, why, what),
        None if waits => (false, "Pending", listed(pending.into_iter())),
        None => (true, "Programmed", listed(pending.into_iter())),
    };
    vec![
        Condition::new(accepted, good, reason, message),
        Condition::new(programmed, is_programmed, why, what),
    ]
}
