//! Listeners: a bound address, and its policy and routes.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use prometheus::IntCounter;
use tokio::sync::watch;

use crate::config::{
    EndDisallowed, HelloLimits, Ipv6Prefix, ListenerConfig, Refuse, RelayTimeouts, SourceGroupId,
    SourceGroups, SourcePolicy, StartTls, contains,
};
use crate::limits::{Held, LimitUse, Limiter, OverLimit, ScopeKey, Scopes, SourceLimiter};
use crate::metrics::{ConnectionSeries, ListenerSeries, Metrics, NONE, SeriesKey};
use crate::names::ListenerName;
use crate::route::RouteTable;
use crate::socket::StreamOptions;

/// One bound address, as long as it is bound. Its state changes with [`Listener::update`].
#[derive(Debug)]
pub struct Listener {
    /// The address that is really bound.
    pub address: SocketAddr,
    state: ArcSwap<ListenerState>,
    options: watch::Sender<StreamOptions>,
    closing: watch::Sender<bool>,
    /// Its sockets. The workers that accept on them keep them open.
    sockets: Box<[Weak<OwnedFd>]>,
}

/// The policy and the routes of a listener at one moment.
#[derive(Debug)]
pub struct ListenerState {
    /// Kept by every connection as long as it lives.
    pub policy: Arc<ListenerPolicy>,
    /// Dropped as soon as the route is found, so that no long connection pins an old table.
    pub routes: RouteTable,
}

/// The part of a listener that a connection needs.
#[derive(Debug)]
pub struct ListenerPolicy {
    /// The listener's name.
    pub name: ListenerName,
    /// The sources that may connect.
    pub source_policy: SourcePolicy,
    /// Peers that announce the source with a PROXY protocol header.
    trusted_proxies: Vec<IpNet>,
    /// Bounds on the ClientHello.
    pub client_hello: HelloLimits,
    /// The protocol whose clients ask for TLS before their hello.
    pub starttls: Option<StartTls>,
    /// Bounds on the relay.
    pub timeouts: RelayTimeouts,
    /// The end of connections that would no longer be let in.
    pub end_disallowed: Option<EndDisallowed>,
    /// The answer to a client that is refused.
    pub refuse: Refuse,
    /// The time for which a downstream may acknowledge nothing of what waits for it.
    pub user_timeout: Duration,
    /// Names for source addresses.
    pub sources: Arc<SourceGroups>,
    /// Histograms.
    pub series: ListenerSeries,
    /// The bits by which IPv6 addresses count as one source.
    source_prefix: Ipv6Prefix,
    limiter: Option<Limiter>,
    source_limiter: Option<SourceLimiter>,
    by_source: Box<[SourceSeries]>,
}

/// Counters of a source group for connections without a route yet.
#[derive(Debug, Default)]
struct SourceSeries {
    /// Holds the group to its limits, if it has any.
    limiter: Option<Limiter>,
    accepted: OnceLock<IntCounter>,
    unrouted: OnceLock<Arc<ConnectionSeries>>,
}

impl ListenerPolicy {
    /// The policy of `config`.
    pub fn new(
        config: &ListenerConfig,
        sources: &Arc<SourceGroups>,
        metrics: &Metrics,
        scopes: &Scopes,
    ) -> Self {
        // Every key is named, so that the compiler asks for a new one. Those without a use here have it elsewhere: the
        // socket is bound to `bind` and has the other options of `tcp`, and the route table has the routes.
        let ListenerConfig {
            name,
            bind: _,
            source_policy,
            trusted_proxies,
            client_hello,
            starttls,
            timeouts,
            end_disallowed,
            refuse,
            tcp,
            limits,
            limits_per_source,
            routes: _,
            unrouted: _,
        } = config;
        let of_group = |id| SourceSeries {
            limiter: sources.get(id).and_then(|group| {
                scopes.limiter(ScopeKey::SourceGroup(group.name.clone()), &group.limits)
            }),
            ..SourceSeries::default()
        };
        Self {
            name: name.clone(),
            source_policy: source_policy.clone(),
            trusted_proxies: trusted_proxies.clone(),
            client_hello: *client_hello,
            starttls: *starttls,
            timeouts: *timeouts,
            end_disallowed: *end_disallowed,
            refuse: *refuse,
            user_timeout: tcp.user_timeout,
            sources: sources.clone(),
            series: metrics.listener(name),
            source_prefix: limits_per_source.ipv6_prefix,
            limiter: scopes.limiter(ScopeKey::Listener(name.clone()), limits),
            source_limiter: scopes.source_limiter(name, limits_per_source),
            by_source: sources.ids().map(of_group).collect(),
        }
    }

    /// The network that counts as one source with `ip`: an IPv4 address, or a prefix of IPv6.
    pub fn source_net(&self, ip: IpAddr) -> IpNet {
        let ip = ip.to_canonical();
        let prefix = match ip {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => u8::try_from(self.source_prefix.get()).unwrap_or(128),
        };
        IpNet::new(ip, prefix).map_or_else(|_| ip.into(), |net| net.trunc())
    }

    /// Whether a connection from `peer` must begin with a PROXY protocol header.
    pub fn announces(&self, peer: IpAddr) -> bool {
        contains(&self.trusted_proxies, peer)
    }

    /// Counts one more connection from `ip`, of the source group `source`, into `held`.
    ///
    /// # Errors
    /// The limit that stands against it: of its address, its group or the listener.
    pub fn admit(
        &self,
        ip: IpAddr,
        source: SourceGroupId,
        held: &mut Held,
    ) -> Result<(), OverLimit> {
        // A source's own limits come first: a connection that it has too many of takes nothing from the others.
        if let Some(limiter) = &self.source_limiter {
            limiter.admit(ip, held)?;
        }
        let group = self.by_source.get(source.index());
        let group = group.and_then(|group| group.limiter.as_ref());
        for limiter in group.into_iter().chain(&self.limiter) {
            limiter.admit(held)?;
        }
        Ok(())
    }

    /// The use of the listener's own limits, and of those on each source by the one that uses most.
    pub fn limit_uses(&self) -> Vec<LimitUse> {
        let own = self.limiter.as_ref().map(Limiter::uses);
        let sources = self.source_limiter.as_ref().map(SourceLimiter::most_used);
        own.into_iter().chain(sources).flatten().collect()
    }

    /// The use of the limits of each source group, with its name.
    pub fn group_limit_uses(&self) -> impl Iterator<Item = (&str, Vec<LimitUse>)> {
        let groups = self.sources.ids().zip(&self.by_source);
        groups.filter_map(|(id, group)| {
            let limiter = group.limiter.as_ref()?;
            Some((self.sources.name(id), limiter.uses()))
        })
    }

    /// The use of the limits of `ip`, which is in the source group `source`, and of that group.
    pub fn limit_uses_of(&self, ip: IpAddr, source: SourceGroupId) -> Vec<LimitUse> {
        let own = self.source_limiter.as_ref().map(|one| one.uses_of(ip));
        let group = self.by_source.get(source.index());
        let group = group.and_then(|group| group.limiter.as_ref());
        let group = group.map(Limiter::uses);
        own.into_iter().chain(group).flatten().collect()
    }

    /// Connections accepted from the source group `source`.
    pub fn accepted(&self, metrics: &Metrics, source: SourceGroupId) -> IntCounter {
        let resolve = || metrics.accepted(&self.name, &self.sources.name(source).into());
        match self.by_source.get(source.index()) {
            Some(series) => series.accepted.get_or_init(resolve).clone(),
            None => resolve(),
        }
    }

    /// The series that connections from the source group `source` count into until a route is known.
    pub fn unrouted(&self, metrics: &Metrics, source: SourceGroupId) -> Arc<ConnectionSeries> {
        let resolve = || {
            metrics.connections(SeriesKey {
                listener: self.name.clone(),
                route: NONE.into(),
                upstream: NONE.into(),
                source: self.sources.name(source).into(),
            })
        };
        match self.by_source.get(source.index()) {
            Some(series) => series.unrouted.get_or_init(resolve).clone(),
            None => resolve(),
        }
    }
}

impl Listener {
    /// A listener on `sockets`, which are bound to `address` with `options`.
    pub fn new(
        address: SocketAddr,
        options: StreamOptions,
        state: ListenerState,
        sockets: &[Arc<OwnedFd>],
    ) -> Self {
        Self {
            address,
            sockets: sockets.iter().map(Arc::downgrade).collect(),
            state: ArcSwap::from_pointee(state),
            options: watch::Sender::new(options),
            closing: watch::Sender::new(false),
        }
    }

    /// The sockets that are still open.
    pub fn sockets(&self) -> impl Iterator<Item = Arc<OwnedFd>> {
        self.sockets.iter().filter_map(Weak::upgrade)
    }

    /// Its policy and routes now.
    pub fn state(&self) -> Arc<ListenerState> {
        self.state.load_full()
    }

    /// Changes policy and routes, for connections accepted from now on. Returns those that it had.
    pub fn update(&self, options: StreamOptions, state: ListenerState) -> Arc<ListenerState> {
        let before = self.state.swap(Arc::new(state));
        self.options.send_if_modified(|current| {
            let changed = *current != options;
            *current = options;
            changed
        });
        before
    }

    /// Follows the options of its listening sockets.
    pub(super) fn options(&self) -> watch::Receiver<StreamOptions> {
        self.options.subscribe()
    }

    /// Follows whether it stops accepting.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Stops accepting for good.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// A connection just accepted, on its way to the worker that serves it.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The downstream socket, non-blocking.
    pub socket: TcpStream,
    /// The peer, in canonical form.
    pub source: SocketAddr,
    /// The moment of accept.
    pub at: Instant,
    /// Policy and routes of its listener at that moment.
    pub state: Arc<ListenerState>,
}
