//! All probes of a federation, side by side. Silent peers included, they end within ten seconds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::call::call;
use super::file::{BundleFacts, FederatedService, Federation, FederationSide};
use super::identity::{CallerSvid, DoctorCallers};
use super::objects::{ClusterObjects, read};
use super::probe::{ProbeHello, ask, fetch, reach};
use super::seen::{
    BundleAnswer, CallAnswer, GatewayReach, GatewayView, ServiceSeen, SideSeen, TlsAnswer,
};
use super::text::GatewayPlace;
use super::view;
use crate::config::{AddressKind, DnsConfig, DnsQuery, ResolverConfig};
use crate::server_name::ServerName;
use crate::socket::OwnAddresses;
use crate::source::dns::{Resolver, resolve};

/// The time that DNS has to name a gateway's addresses.
const RESOLVE: Duration = Duration::from_millis(1_500);
/// Addresses of a gateway that are tried.
const MAX_ADDRESSES: usize = 8;
/// Services of a side that are asked at once.
const ASKED_AT_ONCE: usize = 32;
/// The ALPN protocols of SPIRE's client, which is Go's.
const SPIRE: &[&str] = &["h2", "http/1.1"];
/// The ALPN protocols of a sidecar's HTTP call (`docs/src/internals/istio.md#alpn-of-the-mesh`).
const MESH: &[&str] = &["istio-http/1.1", "istio", "http/1.1"];
/// The ALPN protocol of clients outside of the mesh.
const OPEN: &[&str] = &["http/1.1"];

/// Looks at both sides.
pub(crate) async fn gather(
    federation: &Federation,
    callers: &DoctorCallers,
    clusters: &DoctorClusters,
) -> [SideSeen; 2] {
    let [one, other] = &federation.sides;
    let [of_one, of_other] = callers.sides();
    let [at_one, at_other] = &clusters.0;
    let (one, other) = tokio::join!(
        Box::pin(whole(one, of_other, at_one.as_deref())),
        Box::pin(whole(other, of_one, at_other.as_deref())),
    );
    [one, other]
}

/// Looks at all of one side: as the other side's `caller` meets it, by its gateways' own view, and by its cluster's objects.
async fn whole(
    of: &FederationSide,
    caller: Option<&CallerSvid>,
    kubeconfig: Option<&Path>,
) -> SideSeen {
    let (seen, views, objects) = tokio::join!(
        Box::pin(side(of, caller)),
        Box::pin(views(of)),
        Box::pin(objects(of, kubeconfig)),
    );
    SideSeen {
        views,
        objects,
        ..seen
    }
}

/// The views of the gateways of a side.
async fn views(side: &FederationSide) -> Vec<(String, Result<GatewayView, String>)> {
    let each = side.admin.iter().map(async |place| {
        let view = match addresses(place).await.map(|all| all.first().copied()) {
            Ok(Some(address)) => view::ask(address).await,
            Ok(None) => Err("DNS has no address for it".to_owned()),
            Err(error) => Err(error),
        };
        (place.to_string(), view)
    });
    futures_util::future::join_all(each).await
}

/// The kubeconfigs of both sides' clusters, in the order of the sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct DoctorClusters(pub(crate) [Option<PathBuf>; 2]);

async fn objects(
    side: &FederationSide,
    kubeconfig: Option<&Path>,
) -> Option<Result<ClusterObjects, String>> {
    Some(read(kubeconfig?, side).await)
}

/// Looks at one side, whose services the other side's `caller` calls.
async fn side(side: &FederationSide, caller: Option<&CallerSvid>) -> SideSeen {
    let reach = match addresses(&side.gateway).await {
        Ok(addresses) => {
            let each = addresses.into_iter().map(async |at| (at, reach(at).await));
            Ok(futures_util::future::join_all(each).await)
        }
        Err(error) => Err(error),
    };
    let connected = reach.as_ref().ok().and_then(|all| {
        let mut all = all.iter();
        all.find(|(_, reach)| *reach == GatewayReach::Connected)
    });
    let Some((address, _)) = connected else {
        return unreached(side, reach);
    };
    let address = *address;
    let (bundle, services, large_service, controls) = tokio::join!(
        Box::pin(bundle(address, side.bundle.as_ref())),
        Box::pin(services(address, side, caller)),
        Box::pin(large_to_service(address, side)),
        Box::pin(controls(address)),
    );
    let (bundle, document, large) = bundle;
    let [control, mesh_control] = controls;
    SideSeen {
        reach,
        control,
        mesh_control,
        bundle,
        document,
        large: if large == TlsAnswer::NotAsked {
            large_service
        } else {
            large
        },
        services,
        views: Vec::new(),
        objects: None,
    }
}

fn unreached(
    side: &FederationSide,
    reach: Result<Vec<(SocketAddr, GatewayReach)>, String>,
) -> SideSeen {
    let service = |_| ServiceSeen {
        mesh: TlsAnswer::NotAsked,
        open: TlsAnswer::NotAsked,
        call: CallAnswer::NotAsked,
    };
    SideSeen {
        reach,
        control: TlsAnswer::NotAsked,
        mesh_control: TlsAnswer::NotAsked,
        bundle: TlsAnswer::NotAsked,
        document: BundleAnswer::NotAsked,
        large: TlsAnswer::NotAsked,
        services: side.services.iter().map(service).collect(),
        views: Vec::new(),
        objects: None,
    }
}

/// The addresses of a gateway, by the DNS servers of this machine.
async fn addresses(gateway: &GatewayPlace) -> Result<Vec<SocketAddr>, String> {
    let (name, port) = match gateway {
        GatewayPlace::Address(address) => return Ok(vec![*address]),
        GatewayPlace::Name(name, port) => (name.clone(), *port),
    };
    let resolver = Resolver::new(&ResolverConfig {
        servers: Vec::new(),
        timeout: RESOLVE / 2,
    });
    let resolver = resolver.map_err(|error| error.to_string())?;
    let config = DnsConfig {
        query: DnsQuery::Address { name, port },
        min_ttl: RESOLVE,
        max_ttl: RESOLVE,
        max_endpoints: MAX_ADDRESSES,
        gone_after: None,
        // The operator names the gateway; nobody else chooses where these connections go.
        allow: vec![
            AddressKind::Loopback,
            AddressKind::LinkLocal,
            AddressKind::Metadata,
            AddressKind::OwnListener,
        ],
    };
    let own = OwnAddresses::new(Vec::new());
    let answer = timeout(RESOLVE, Box::pin(resolve(&resolver, &config, &own))).await;
    let answer = answer.map_err(|_| "DNS does not answer".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let found: Vec<SocketAddr> = answer.endpoints.iter().map(|one| one.address).collect();
    match (found.is_empty(), answer.problem) {
        (false, _) => Ok(found),
        (true, Some(problem)) => Err(problem.to_string()),
        (true, None) => Err("DNS has no address for it".to_owned()),
    }
}

/// The answers to a server name that surely has no route.
async fn controls(address: SocketAddr) -> [TlsAnswer; 2] {
    let name = format!("strait-doctor-{:016x}.invalid", fastrand::u64(..));
    let Ok(name) = ServerName::parse(name.as_bytes()) else {
        return [TlsAnswer::NotAsked, TlsAnswer::NotAsked];
    };
    let mesh_name = name.istio_outbound(80, "").unwrap_or_else(|_| name.clone());
    let (control, mesh) = tokio::join!(
        ask(address, hello(&name, SPIRE)),
        ask(address, hello(&mesh_name, MESH)),
    );
    [control, mesh]
}

async fn bundle(
    address: SocketAddr,
    facts: Option<&BundleFacts>,
) -> (TlsAnswer, BundleAnswer, TlsAnswer) {
    let (Some(name), Some(facts)) = (bundle_name(facts), facts) else {
        return (
            TlsAnswer::NotAsked,
            BundleAnswer::NotAsked,
            TlsAnswer::NotAsked,
        );
    };
    tokio::join!(
        ask(address, hello(&name, SPIRE)),
        fetch(address, hello(&name, OPEN), &facts.url.path),
        ask(address, large(&name, SPIRE)),
    )
}

async fn services(
    address: SocketAddr,
    side: &FederationSide,
    caller: Option<&CallerSvid>,
) -> Vec<ServiceSeen> {
    let called = async |service: &FederatedService| match caller {
        None => CallAnswer::NotAsked,
        Some(_) => {
            let svid = caller;
            let hello = hello(&service.server_name, MESH);
            call(address, ProbeHello { svid, ..hello }, service).await
        }
    };
    let look = async |service: &FederatedService| {
        let name = &service.server_name;
        let (mesh, open, call) = tokio::join!(
            ask(address, hello(name, MESH)),
            ask(address, hello(name, OPEN)),
            Box::pin(called(service)),
        );
        ServiceSeen { mesh, open, call }
    };
    let each = futures_util::stream::iter(&side.services).map(look);
    each.buffered(ASKED_AT_ONCE).collect().await
}

/// The answer of the first service to a large hello, which is sent only if the bundle endpoint gets none.
async fn large_to_service(address: SocketAddr, side: &FederationSide) -> TlsAnswer {
    match (bundle_name(side.bundle.as_ref()), side.services.first()) {
        (None, Some(service)) => ask(address, large(&service.server_name, MESH)).await,
        _ => TlsAnswer::NotAsked,
    }
}

/// The server name of a bundle endpoint that can be asked.
fn bundle_name(facts: Option<&BundleFacts>) -> Option<ServerName> {
    facts?.url.server_name()
}

fn hello<'a>(name: &'a ServerName, alpn: &'a [&'a str]) -> ProbeHello<'a> {
    ProbeHello {
        name,
        alpn,
        large: false,
        svid: None,
    }
}

fn large<'a>(name: &'a ServerName, alpn: &'a [&'a str]) -> ProbeHello<'a> {
    let large = true;
    let hello = hello(name, alpn);
    ProbeHello { large, ..hello }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::file::MAX_SERVICES;
    use crate::doctor::{call, objects, probe};

    #[test]
    fn all_bounds_of_a_look_together_are_less_than_ten_seconds() {
        // Services are asked side by side, in one turn.
        const { assert!(MAX_SERVICES <= ASKED_AT_ONCE) };
        let hello = probe::CONNECT + probe::ANSWER;
        let exchange = probe::CONNECT + probe::BOTH_ANSWERS;
        let call = exchange.max(hello + call::REFUSAL);
        let side = RESOLVE + probe::CONNECT + hello.max(exchange).max(call);
        let view = RESOLVE + view::ANSWER;
        for part in [side, view, objects::ANSWER] {
            assert!(part < Duration::from_secs(10), "{part:?}");
        }
    }
}
