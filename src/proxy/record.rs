//! The record of a connection: its metrics and its line in the access log, written exactly once.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;

use super::counts::Counts;
use super::ending::Ending;
use super::opening::OpeningFacts;
use super::record_parts::{
    Announced, Ended, LocalAddresses, RareFields, StageTime, count_refusal, hello_in_words,
    log_certificates, note_recent, report_end, shown, stale_since,
};
use super::refusal::RefusedHello;
use super::ticket::Ticket;
use super::worker::AlpnOffer;
use crate::access_log::{Entry, LineEvent};
use crate::client_hello::Offers;
use crate::config::SourceGroupId;
use crate::limits::{Held, OverLimit};
use crate::metrics::ConnectionSeries;
use crate::open_connections::ConnectionFacts;
use crate::outcome::{LogRate, Outcome};
use crate::proxy_header::Proxied;
use crate::route::{Route, Target};
use crate::server_name::ServerName;
use crate::traces::TracedFacts;
use crate::upstream::{EndpointPlace, Picked};
use crate::verdict::{Flights, SeenCertificate};

/// Everything that the log and the metrics say of a connection, as far as it is known. It lives as long as
/// the connection, so [`RareFields`] are apart.
#[derive(Debug)]
pub(super) struct ConnectionRecord {
    series: Arc<ConnectionSeries>,
    number: u64,
    source: SocketAddr,
    accepted: Instant,
    rare: Option<Box<RareFields>>,
    server_name: Option<ServerName>,
    alpn: Option<Rc<AlpnOffer>>,
    target: Option<Arc<Target>>,
    /// The endpoint tried last; counts as its connection as long as the record lives, unless that has failed.
    pub endpoint: Option<Picked>,
    /// Connect attempts.
    pub attempts: u32,
    source_group: SourceGroupId,
    /// The time from accept to the end of the hello.
    hello: Option<StageTime>,
    /// From the first attempt to the connection, or to giving up.
    connect: Option<StageTime>,
    offers: Offers,
    counts: Counts,
    /// Nothing is left to be said of the connection.
    pub written: bool,
}

impl ConnectionRecord {
    /// Opens the record of a connection just accepted.
    pub(super) fn open(ticket: &Ticket, source: SocketAddr, accepted: Instant) -> Self {
        let (shared, policy) = (ticket.shared(), ticket.policy());
        let source_group = policy.sources.group_of(source.ip());
        policy.accepted(&shared.metrics, source_group).inc();
        let series = policy.unrouted(&shared.metrics, source_group);
        series.active.inc();
        let number = shared.next_connection();
        ticket.seat().open(OpeningFacts {
            number,
            source,
            accepted,
            server_name: None,
            target: None,
        });
        let followed = match shared.traces.are_active() {
            true => shared.traces.follow(number, accepted),
            false => None,
        };
        Self {
            number,
            series,
            source,
            source_group,
            accepted,
            rare: followed.map(|followed| {
                Box::new(RareFields {
                    followed: Some(followed),
                    ..RareFields::default()
                })
            }),
            server_name: None,
            alpn: None,
            offers: Offers::default(),
            target: None,
            endpoint: None,
            attempts: 0,
            hello: None,
            connect: None,
            counts: Counts::default(),
            written: false,
        }
    }

    /// The moment of accept.
    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// The address that the connection comes from.
    pub(super) fn source(&self) -> SocketAddr {
        self.source
    }

    /// Notes the addresses of a PROXY header: from now on the connection comes from that source, and counts
    /// there.
    pub(super) fn announced(&mut self, ticket: &Ticket, proxied: &Proxied) {
        let Proxied {
            source,
            destination,
        } = *proxied;
        let proxy = std::mem::replace(&mut self.source, source);
        self.rare().announced = Some(Announced { proxy, destination });
        let policy = ticket.policy();
        let source_group = policy.sources.group_of(source.ip());
        ticket
            .seat()
            .change_opening(|opening| opening.source = source);
        let series = policy.unrouted(&ticket.shared().metrics, source_group);
        self.source_group = source_group;
        self.count_in(series);
    }

    fn rare(&mut self) -> &mut RareFields {
        self.rare.get_or_insert_default()
    }

    /// Notes a step for the traces that follow the connection, if any may.
    pub(super) fn trace(&mut self, step: &'static str, detail: impl FnOnce(&Self) -> String) {
        let followed = self.rare.as_mut().and_then(|rare| rare.followed.take());
        let Some(mut followed) = followed else { return };
        let facts = TracedFacts {
            source: self.source,
            server_name: self.server_name.as_ref().map(ServerName::as_str),
            route: self.target.as_ref().map(|target| &*target.route),
        };
        followed.step(&facts, step, detail(self));
        self.rare().followed = Some(followed);
    }

    /// Notes a reason for the log, which escapes it. A later one replaces it.
    pub(super) fn note(&mut self, detail: Option<impl Into<Cow<'static, str>>>) {
        if let Some(detail) = detail {
            self.rare().detail = Some(shown(detail.into()));
        }
    }

    /// Notes that the connection would not be let in at `now`. Returns the time since which it would not.
    pub(super) fn disallowed_since(&mut self, now: Instant) -> Instant {
        *self.rare().disallowed.get_or_insert(now)
    }

    /// Notes that the connection would be let in now.
    pub(super) fn allowed(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.disallowed = None;
        }
    }

    /// The name in the hello, once it is known.
    pub(super) fn server_name(&self) -> Option<&ServerName> {
        self.server_name.as_ref()
    }

    /// The target of the route, once it is known.
    pub(super) fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }

    /// Counts the connection with its listener, source address and source group, where they have
    /// limits, and in the worker's book of sources.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub(super) fn admit(&mut self, ticket: &Ticket) -> Result<(), OverLimit> {
        let (ip, group) = (self.source.ip(), self.source_group);
        self.hold(ticket, |held| ticket.policy().admit(ip, group, held))?;
        let (net, name) = self.book_entry(ticket);
        let mut book = ticket.worker().source_book.borrow_mut();
        book.opened(net, name, self.accepted);
        Ok(())
    }

    /// The network and the name of the group under which the worker's book has the source.
    fn book_entry<'a>(&self, ticket: &'a Ticket) -> (IpNet, &'a str) {
        let policy = ticket.policy();
        let net = policy.source_net(self.source.ip());
        (net, policy.sources.name(self.source_group))
    }

    fn hold(
        &mut self,
        ticket: &Ticket,
        admit: impl FnOnce(&mut Held) -> Result<(), OverLimit>,
    ) -> Result<(), OverLimit> {
        let mut more = Held::default();
        if let Err(over) = admit(&mut more) {
            count_refusal(ticket, over);
            return Err(over);
        }
        if !more.is_empty() {
            self.rare().held.append(more);
        }
        Ok(())
    }

    /// The peer that announced the client.
    pub(super) fn proxy(&self) -> Option<SocketAddr> {
        let announced = self.rare.as_ref()?.announced.as_ref();
        announced.map(|it| it.proxy)
    }

    /// The address that the client connected to, if a PROXY header said so.
    pub(super) fn announced_destination(&self) -> Option<SocketAddr> {
        let announced = self.rare.as_ref()?.announced.as_ref();
        announced.map(|it| it.destination)
    }

    fn count_in(&mut self, series: Arc<ConnectionSeries>) {
        self.series.active.dec();
        series.active.inc();
        self.series = series;
    }

    /// Keeps the bytes for which the connection is refused with `outcome`.
    pub(super) fn keep_hello(&self, ticket: &Ticket, outcome: Outcome, hello: RefusedHello) {
        let detail = self.rare.as_ref().and_then(|rare| rare.detail.as_deref());
        let hello = hello.kept(
            ticket,
            self.number,
            self.source,
            outcome,
            detail.map(Box::from),
        );
        ticket.shared().hellos.keep(hello);
    }

    /// Notes that the hello ended now, well or badly.
    pub(super) fn hello_ended(&mut self, ticket: &Ticket) {
        if let Some(rare) = &mut self.rare {
            rare.held.hello_ended();
        }
        let duration = self.accepted.elapsed();
        self.hello = Some(StageTime::of(duration));
        let series = &ticket.policy().series;
        series.hello_duration.observe(duration.as_secs_f64());
    }

    /// Notes a valid hello: the name in it, if it has one, what it offers, and the client's JA4 if it was asked for.
    pub(super) fn offered(
        &mut self,
        ticket: &Ticket,
        server_name: Option<ServerName>,
        alpn: Option<Rc<AlpnOffer>>,
        offers: Offers,
        ja4: Option<Box<str>>,
    ) {
        let hellos = &ticket.policy().series.hellos;
        self.server_name = server_name;
        self.alpn = alpn;
        let doctors = self.alpn_offer().is_some_and(AlpnOffer::is_doctors);
        hellos.count(offers.newest(), offers.post_quantum(), doctors);
        self.offers = offers;
        if ja4.is_some() {
            self.rare().ja4 = ja4;
        }
        self.trace("hello", |record| {
            let name = record.server_name().map(ServerName::as_str);
            hello_in_words(name, record.alpn(), record.offers)
        });
    }

    /// Notes that connecting ended now, well or badly.
    pub(super) fn connect_ended(&mut self, ticket: &Ticket, started: Instant) {
        let duration = started.elapsed();
        self.connect = Some(StageTime::of(duration));
        let series = &ticket.policy().series;
        series.connect_duration.observe(duration.as_secs_f64());
    }

    /// The time since the endpoint was connected.
    pub(super) fn since_connected(&self) -> Duration {
        let opening = [self.hello, self.connect].into_iter().flatten();
        let opening: Duration = opening.map(StageTime::duration).sum();
        self.accepted.elapsed().saturating_sub(opening)
    }

    /// Notes the limit of the upstream's that stands against the connection.
    pub(super) fn over_limit(&mut self, ticket: &Ticket, over: OverLimit) {
        count_refusal(ticket, over);
        self.note(Some(over.to_string()));
    }

    /// Notes the route and one of its targets: from now on the connection counts there.
    ///
    /// # Errors
    /// A limit of the route's that stands against it.
    pub(super) fn routed(
        &mut self,
        ticket: &Ticket,
        route: &Route,
        target: &Arc<Target>,
    ) -> Result<(), OverLimit> {
        self.count_on(ticket, target);
        let (metrics, policy) = (&ticket.shared().metrics, ticket.policy());
        if let Some(reason) = &route.dry_run {
            metrics.kubernetes.dry_run(&policy.name).inc();
            let detail = format!("the export policy would refuse this: {reason}");
            self.rare().detail = Some(detail.into());
        }
        match &route.limiter {
            Some(limiter) => self.hold(ticket, |held| limiter.admit(held)),
            None => Ok(()),
        }
    }

    /// The ALPN offer of the client, if it makes one.
    pub(super) fn alpn_offer(&self) -> Option<&AlpnOffer> {
        self.alpn.as_deref()
    }

    /// Counts the connection with those of `target`.
    pub(super) fn count_on(&mut self, ticket: &Ticket, target: &Arc<Target>) {
        let (metrics, policy) = (&ticket.shared().metrics, ticket.policy());
        let group = self.source_group;
        let series = target.series(metrics, &policy.name, &policy.sources, group);
        series.opened.inc();
        self.count_in(series);
        ticket.seat().change_opening(|opening| {
            opening.server_name.clone_from(&self.server_name);
            opening.target = Some(target.clone());
        });
        self.target = Some(target.clone());
        self.trace("route", |_| {
            format!("route {}, upstream {}", target.route, target.name)
        });
    }

    /// The protocols that the client offers, joined by commas.
    pub(super) fn alpn(&self) -> Option<&str> {
        self.alpn_offer().map(AlpnOffer::text)
    }

    /// Counts bytes written to the two sides.
    pub(super) fn sent(&mut self, to_upstream: usize, to_downstream: usize) {
        if to_upstream == 0 && to_downstream == 0 {
            return;
        }
        // All workers share the counters of a series and of an endpoint: one that does not change is not touched.
        if to_upstream > 0 {
            self.counts.to_upstream += to_upstream as u64;
            self.series.to_upstream.inc_by(to_upstream as u64);
        }
        if to_downstream > 0 {
            self.counts.to_downstream += to_downstream as u64;
            self.series.to_downstream.inc_by(to_downstream as u64);
        }
        if let Some(endpoint) = &self.endpoint {
            endpoint.moved(to_upstream, to_downstream);
        }
    }

    /// The facts for an operator who asks while the connection relays.
    pub(super) fn facts<'a>(
        &'a self,
        ticket: &'a Ticket,
        handshake: &'static str,
    ) -> ConnectionFacts<'a> {
        let (policy, seat, target) = (ticket.policy(), ticket.seat(), self.target());
        ConnectionFacts {
            id: self.number,
            listener: &policy.name,
            source: self.source,
            proxy: self.proxy(),
            source_net: policy.source_net(self.source.ip()),
            source_group: policy.sources.name(self.source_group),
            server_name: self.server_name.as_ref().map(ServerName::as_str),
            alpn: self.alpn(),
            route: target.map(|target| &*target.route),
            upstream: target.map(|target| &*target.name),
            endpoint: self.endpoint.as_ref().map(Picked::address),
            attempts: self.attempts,
            state: seat.state(),
            handshake: Some(handshake),
            accepted: self.accepted,
            idle: seat.quiet(),
            to_upstream: self.counts.to_upstream,
            to_downstream: self.counts.to_downstream,
        }
    }

    /// Writes the record, unless it is written.
    pub(super) fn close(
        &mut self,
        ticket: &Ticket,
        ending: Ending,
        flights: Option<Flights>,
        locals: LocalAddresses,
    ) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        ticket.seat().opened();
        let duration = self.accepted.elapsed();
        if self.target.is_none() {
            self.series.opened.inc();
        }
        self.series.active.dec();
        self.trace("close", |record| {
            let detail = record.rare.as_ref().and_then(|rare| rare.detail.as_deref());
            ending.said(record.counts, detail)
        });
        self.series.closed(ending.outcome);
        if ending.outcome.log_rate() == LogRate::Refusal {
            let (net, name) = self.book_entry(ticket);
            let mut book = ticket.worker().source_book.borrow_mut();
            book.refused(net, name, ending.outcome, Instant::now());
        }
        let series = &ticket.policy().series;
        series.connection_duration.observe(duration.as_secs_f64());
        self.log(ticket, ending, flights, locals, duration);
    }

    /// Writes what the certificates say that came in the clear: once the handshake is over nothing of them is kept.
    pub(super) fn log_certificates(&self, certificates: &[SeenCertificate; 2]) {
        log_certificates(self.number, certificates);
    }

    /// Writes a line of the open connection, if the log has such lines.
    pub(super) fn log_open(
        &self,
        ticket: &Ticket,
        event: LineEvent,
        flights: Option<Flights>,
        locals: LocalAddresses,
    ) {
        let place = self.endpoint.as_ref().map(Picked::place);
        let place = place.as_ref().and_then(|place| place.as_deref());
        let duration = self.accepted.elapsed();
        let entry = self.entry(ticket, event, flights, locals, duration, place);
        ticket.shared().access_log.write(&entry);
    }

    /// The content of a line of the connection, which is `duration` old.
    fn entry<'a>(
        &'a self,
        ticket: &'a Ticket,
        event: LineEvent,
        flights: Option<Flights>,
        locals: LocalAddresses,
        duration: Duration,
        place: Option<&'a EndpointPlace>,
    ) -> Entry<'a> {
        let rare = self.rare.as_deref();
        let policy = ticket.policy();
        Entry {
            event,
            at: SystemTime::now(),
            connection: self.number,
            listener: &policy.name,
            source: self.source,
            proxy: self.proxy(),
            source_group: policy.sources.name(self.source_group),
            server_name: self.server_name.as_ref().map(ServerName::as_str),
            alpn: self.alpn(),
            offers: self.offers,
            flights,
            ja4: rare.and_then(|rare| rare.ja4.as_deref()),
            route: self.target.as_ref().map(|target| &*target.route),
            upstream: self.target.as_ref().map(|target| &*target.name),
            endpoint: self.endpoint.as_ref().map(Picked::address),
            pod: place.and_then(EndpointPlace::pod),
            zone: place.and_then(|place| place.zone.as_deref()),
            downstream_local: self.announced_destination().or(locals.downstream),
            upstream_local: locals.upstream,
            stale_since: match event {
                LineEvent::Open | LineEvent::Interval => None,
                LineEvent::End(end) => stale_since(ticket, self.target(), end.outcome),
            },
            attempts: self.attempts,
            detail: rare.and_then(|rare| rare.detail.as_deref()),
            to_upstream: self.counts.to_upstream,
            to_downstream: self.counts.to_downstream,
            hello: self.hello.map(StageTime::duration),
            connect: self.connect.map(StageTime::duration),
            duration,
        }
    }

    fn log(
        &self,
        ticket: &Ticket,
        ending: Ending,
        flights: Option<Flights>,
        locals: LocalAddresses,
        duration: Duration,
    ) {
        let logs = ticket.shared().access_log.is_on();
        let place = self.endpoint.as_ref().filter(|_| logs).map(Picked::place);
        let place = place.as_ref().and_then(|place| place.as_deref());
        let event = LineEvent::End(ending.into());
        let entry = self.entry(ticket, event, flights, locals, duration, place);
        ticket.shared().access_log.write(&entry);
        if ending.outcome.log_rate() != LogRate::Never {
            let ended = Ended {
                target: self.target.as_deref(),
                source_group: self.source_group,
                detail: self.rare.as_ref().and_then(|rare| rare.detail.clone()),
                doctors: self.alpn_offer().is_some_and(AlpnOffer::is_doctors),
                ending,
            };
            note_recent(ticket, &entry, ended);
        }
        report_end(&entry, ending.outcome);
    }
}
