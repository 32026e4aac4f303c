//! One record a connection: metrics and the access log's line, written exactly once.
//!
//! A record is written by [`ConnectionRecord::close`], or when it is dropped: a connection that is
//! cut by a drain, a limit or a panic leaves its line too.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::counts::Counts;
use super::ending::Ending;
use super::listener::ListenerPolicy;
use super::seat::Seat;
use super::shared::Shared;
use super::ticket::Ticket;
use super::worker::{AlpnOffer, Worker};
use crate::access_log::{self, Entry};
use crate::client_hello::Offers;
use crate::limits::{Held, OverLimit};
use crate::metrics::ConnectionSeries;
use crate::outcome::Outcome;
use crate::proxy_header::Proxied;
use crate::route::{Route, Target};
use crate::server_name::ServerName;
use crate::upstream::{Picked, Upstream};

/// What a PROXY header has changed of a connection.
#[derive(Debug)]
struct Announced {
    /// The peer of the socket.
    proxy: SocketAddr,
    /// Where the client connected to.
    destination: SocketAddr,
}

/// What few connections have.
#[derive(Debug, Default)]
struct Remarks {
    announced: Option<Announced>,
    /// Goes back with the record; empty when the config limits nothing.
    held: Held,
    detail: Option<Box<str>>,
    ja4: Option<Box<str>>,
}

/// A duration of a quarter of the size: from 1 us up to 71 minutes, which a longer one counts as.
#[derive(Debug, Clone, Copy)]
struct Micros(NonZeroU32);

impl Micros {
    fn of(duration: Duration) -> Self {
        let micros = duration.as_micros().try_into().unwrap_or(u32::MAX);
        Self(NonZeroU32::new(micros).unwrap_or(NonZeroU32::MIN))
    }

    fn duration(self) -> Duration {
        Duration::from_micros(self.0.get().into())
    }
}

/// What is known of a connection so far. It lives as long as the connection: what few connections
/// have is in [`Remarks`], apart.
#[derive(Debug)]
pub(super) struct ConnectionRecord {
    series: Arc<ConnectionSeries>,
    number: u64,
    source: SocketAddr,
    accepted: Instant,
    remarks: Option<Box<Remarks>>,
    /// Set as the corridor learns them.
    pub server_name: Option<ServerName>,
    /// The ALPN protocols offered.
    pub alpn: Option<Rc<AlpnOffer>>,
    target: Option<Arc<Target>>,
    /// The endpoint tried last; counts as its connection as long as the record lives.
    pub endpoint: Option<Picked>,
    /// Connect attempts.
    pub attempts: u32,
    source_group: u32,
    /// The time from accept to the end of the hello.
    hello: Option<Micros>,
    /// From the first attempt to the connection, or to giving up.
    connect: Option<Micros>,
    offers: Offers,
    /// Bytes written so far.
    pub counts: Counts,
    /// The first failure of a peer while its last bytes are still being delivered.
    pub failure: Option<Ending>,
    written: bool,
    /// Goes last: whoever waits for the last ticket may count on every record.
    ticket: Ticket,
}

impl ConnectionRecord {
    /// Opens the record of a connection just accepted.
    pub(super) fn open(ticket: Ticket, source: SocketAddr, accepted: Instant) -> Self {
        let (shared, policy) = (&ticket.worker().shared, ticket.seat().policy());
        let source_group = policy.sources.index_of(source.ip());
        policy.accepted(&shared.metrics, source_group).inc();
        let series = policy.unrouted(&shared.metrics, source_group);
        series.active.inc();
        Self {
            number: shared.next_connection(),
            series,
            source,
            source_group: group_position(source_group),
            accepted,
            remarks: None,
            server_name: None,
            alpn: None,
            offers: Offers::default(),
            target: None,
            endpoint: None,
            attempts: 0,
            hello: None,
            connect: None,
            counts: Counts::default(),
            failure: None,
            written: false,
            ticket,
        }
    }

    /// When the connection was accepted.
    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// Where the connection comes from.
    pub(super) fn source(&self) -> SocketAddr {
        self.source
    }

    /// Notes what a PROXY header says: from now on the connection comes from that source, and counts
    /// there.
    pub(super) fn announced(&mut self, proxied: &Proxied) {
        let Proxied {
            source,
            destination,
        } = *proxied;
        let proxy = std::mem::replace(&mut self.source, source);
        self.remarks().announced = Some(Announced { proxy, destination });
        let policy = self.policy();
        let source_group = policy.sources.index_of(source.ip());
        let series = policy.unrouted(&self.shared().metrics, source_group);
        self.source_group = group_position(source_group);
        self.count_in(series);
    }

    fn remarks(&mut self) -> &mut Remarks {
        self.remarks.get_or_insert_default()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.worker().shared
    }

    /// The worker that serves the connection.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        self.ticket.worker()
    }

    /// Writes the record of a connection that gets no relay. `detail` is escaped when logged.
    pub(super) fn refused(&mut self, outcome: Outcome, detail: Option<Box<str>>) {
        self.note(detail);
        self.close(Ending::of(outcome));
    }

    /// Notes what the hello asks for when it is no valid name, or why the connection is refused;
    /// escaped when logged.
    pub(super) fn note(&mut self, detail: Option<Box<str>>) {
        if let Some(detail) = detail {
            self.remarks().detail = Some(access_log::shown(&detail).into());
        }
    }

    /// Counts the connection with its listener, source address and source group, where they have
    /// limits.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub(super) fn admit(&mut self) -> Result<(), OverLimit> {
        let policy = self.policy().clone();
        let (ip, group) = (self.source.ip(), self.source_group as usize);
        self.hold(|held| policy.admit(ip, group, held))
    }

    fn hold(
        &mut self,
        admit: impl FnOnce(&mut Held) -> Result<(), OverLimit>,
    ) -> Result<(), OverLimit> {
        let mut more = Held::default();
        if let Err(over) = admit(&mut more) {
            let metrics = &self.shared().metrics;
            let refusals = metrics.limit_refusals(&self.policy().name, over.scope, over.kind);
            refusals.inc();
            return Err(over);
        }
        if !more.is_empty() {
            self.remarks().held.append(more);
        }
        Ok(())
    }

    /// Where the client connected to, if a PROXY header said so.
    pub(super) fn announced_destination(&self) -> Option<SocketAddr> {
        let announced = self.remarks.as_ref()?.announced.as_ref();
        announced.map(|it| it.destination)
    }

    fn count_in(&mut self, series: Arc<ConnectionSeries>) {
        self.series.active.dec();
        series.active.inc();
        self.series = series;
    }

    /// The policy of the listener that accepted it.
    pub(super) fn policy(&self) -> &Arc<ListenerPolicy> {
        self.ticket.seat().policy()
    }

    /// Its place among its worker's connections.
    pub(super) fn seat(&self) -> &Rc<Seat> {
        self.ticket.seat()
    }

    /// Notes that the hello ended now, well or badly.
    pub(super) fn hello_ended(&mut self) {
        if let Some(remarks) = &mut self.remarks {
            remarks.held.hello_ended();
        }
        let duration = self.accepted.elapsed();
        self.hello = Some(Micros::of(duration));
        let series = &self.policy().series;
        series.hello_duration.observe(duration.as_secs_f64());
    }

    /// Notes what a valid hello offers, and the client's JA4 if it was asked for.
    pub(super) fn offered(&mut self, offers: Offers, ja4: Option<Box<str>>) {
        let hellos = &self.policy().series.hellos;
        hellos.count(offers.newest(), offers.post_quantum());
        self.offers = offers;
        if ja4.is_some() {
            self.remarks().ja4 = ja4;
        }
    }

    /// Notes that connecting ended now, well or badly.
    pub(super) fn connect_ended(&mut self, started: Instant) {
        let duration = started.elapsed();
        self.connect = Some(Micros::of(duration));
        let series = &self.policy().series;
        series.connect_duration.observe(duration.as_secs_f64());
    }

    /// Notes the route, and which of its targets: from now on the connection counts there.
    ///
    /// # Errors
    /// A limit of the route's that stands against it.
    pub(super) fn routed(&mut self, route: &Route, target: &Arc<Target>) -> Result<(), OverLimit> {
        let policy = self.policy();
        let series = target.series(
            &self.shared().metrics,
            &policy.name,
            &policy.sources,
            self.source_group as usize,
        );
        series.opened.inc();
        self.count_in(series);
        self.target = Some(target.clone());
        if let Some(reason) = &route.dry_run {
            let metrics = &self.shared().metrics.kubernetes;
            metrics.dry_run(&self.policy().name).inc();
            let detail = format!("the export policy would refuse this: {reason}");
            self.remarks().detail = Some(detail.into());
        }
        match &route.limiter {
            Some(limiter) => self.hold(|held| limiter.admit(held)),
            None => Ok(()),
        }
    }

    /// Its upstream, once routed.
    pub(super) fn upstream(&self) -> Option<Arc<Upstream>> {
        let target = self.target.as_ref()?;
        Some(target.upstream.clone())
    }

    /// Counts bytes written to the upstream.
    pub(super) fn sent_upstream(&mut self, bytes: usize) {
        self.counts.to_upstream += bytes as u64;
        self.series.to_upstream.inc_by(bytes as u64);
    }

    /// Counts bytes written to the downstream.
    pub(super) fn sent_downstream(&mut self, bytes: usize) {
        self.counts.to_downstream += bytes as u64;
        self.series.to_downstream.inc_by(bytes as u64);
    }

    /// Writes the record, unless it is written.
    pub(super) fn close(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let duration = self.accepted.elapsed();
        if self.target.is_none() {
            self.series.opened.inc();
        }
        self.series.active.dec();
        self.series.closed(ending.outcome);
        let series = &self.policy().series;
        series.connection_duration.observe(duration.as_secs_f64());
        self.log(ending, duration);
    }

    fn log(&self, ending: Ending, duration: Duration) {
        let Ending { outcome, ended_by } = ending;
        let endpoint = self.endpoint.as_ref().map(Picked::address);
        let remarks = self.remarks.as_deref();
        let announced = remarks.and_then(|remarks| remarks.announced.as_ref());
        let policy = self.policy();
        let entry = Entry {
            ended: SystemTime::now(),
            connection: self.number,
            listener: &policy.name,
            source: self.source,
            proxy: announced.map(|it| it.proxy),
            source_group: policy.sources.name(self.source_group as usize),
            server_name: self.server_name.as_ref().map(ServerName::as_str),
            alpn: self.alpn.as_deref().map(AlpnOffer::text),
            offers: self.offers,
            ja4: remarks.and_then(|remarks| remarks.ja4.as_deref()),
            route: self.target.as_ref().map(|target| &*target.route),
            upstream: self.target.as_ref().map(|target| &*target.name),
            endpoint,
            attempts: self.attempts,
            outcome,
            detail: remarks.and_then(|remarks| remarks.detail.as_deref()),
            ended_by,
            to_upstream: self.counts.to_upstream,
            to_downstream: self.counts.to_downstream,
            hello: self.hello.map(Micros::duration),
            connect: self.connect.map(Micros::duration),
            duration,
        };
        self.shared().access_log.write(&entry);
        if outcome == Outcome::InternalError {
            tracing::error!(
                connection = self.number,
                "connection ended by a defect of strait"
            );
        }
        tracing::debug!(
            connection = entry.connection,
            listener = entry.listener,
            source = %entry.source,
            server_name = entry.server_name,
            route = entry.route,
            endpoint = endpoint.map(tracing::field::display),
            outcome = outcome.label(),
            detail = entry.detail,
            "connection closed"
        );
    }
}

/// A config has 257 groups at most.
fn group_position(index: usize) -> u32 {
    index.try_into().unwrap_or(u32::MAX)
}

impl Drop for ConnectionRecord {
    /// Dropped unwritten: the task was cut. Whoever cut it left the reason on its seat, which counts
    /// unless a peer had failed before; a task that nobody cut has panicked.
    fn drop(&mut self) {
        let ending = match (self.seat().cut_reason(), self.failure) {
            (Some(_), Some(failure)) => failure,
            (Some(reason), None) => Ending::of(reason),
            (None, _) => Ending::of(Outcome::InternalError),
        };
        self.close(ending);
    }
}
