//! The states of a connection before its relay. Each is made of the one before it, and has what is known by
//! then:
//!
//! ```text
//! Arrival -> [Unannounced] -> Admitted -> Routed -> Connected -> Relaying
//! ```
//!
//! A connection that cannot go on becomes [`Refused`]. In each state the sockets stand before the ticket, so
//! that a state that is dropped has closed them when its ticket comes back.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::ending::Ending;
use super::preread::Preread;
use super::record::ConnectionRecord;
use super::record_parts::LocalAddresses;
use super::refusal::Refusal;
use super::replay::Replay;
use super::seat::Seat;
use super::ticket::Ticket;
use crate::client_hello::Alert;
use crate::config::StartTls;
use crate::outcome::Outcome;
use crate::proxy_header::{Proxied, ProxyHeader};
use crate::route::Target;
use crate::verdict::Flights;

/// The part that all states have. The record is written when a connection is closed, or when it is dropped:
/// one that a drain, a timeout or a panic cuts leaves its line too.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its record.
    pub record: ConnectionRecord,
    /// Its hold on its worker. Dropped last: when all tickets have come back, all records are written.
    pub ticket: Ticket,
}

impl Connection {
    /// A connection from `source` that was accepted at `accepted`.
    fn open(ticket: Ticket, source: SocketAddr, accepted: Instant) -> Self {
        Self {
            record: ConnectionRecord::open(&ticket, source, accepted),
            ticket,
        }
    }

    /// Notes the addresses of a PROXY header.
    fn announced(&mut self, proxied: &Proxied) {
        self.record.announced(&self.ticket, proxied);
    }

    /// Counts the connection with the limits that it is under.
    ///
    /// # Errors
    /// The source may not connect, or has too many connections.
    fn admit(&mut self) -> Result<(), Refusal> {
        let listener = &self.ticket.policy().name;
        self.record.trace("accept", |record| match record.proxy() {
            Some(proxy) => format!("listener {listener}, announced by {proxy}"),
            None => format!("listener {listener}"),
        });
        let source_policy = &self.ticket.policy().source_policy;
        if !source_policy.admits(self.record.source().ip()) {
            let detail = source_policy.denial(self.record.source().ip());
            return Err(Refusal::noted(Outcome::SourceDenied, detail));
        }
        let admitted = self.record.admit(&self.ticket);
        admitted.map_err(|over| Refusal::noted(Outcome::OverLimit, over.to_string()))
    }

    /// Writes the record, unless it is written.
    pub(super) fn close(&mut self, ending: Ending) {
        let none = LocalAddresses::default();
        self.record.close(&self.ticket, ending, None, none);
    }

    /// Writes the record of a connection that relayed, unless it is written.
    pub(super) fn close_relayed(
        &mut self,
        ending: Ending,
        flights: Flights,
        locals: LocalAddresses,
    ) {
        self.record
            .close(&self.ticket, ending, Some(flights), locals);
    }

    /// Notes what the line should say of a cut with that reason, if no more is noted.
    pub(super) fn note_cut(&mut self, reason: Outcome) {
        if reason == Outcome::Overloaded {
            let quiet = self.ticket.seat().quiet().as_secs_f64();
            let detail = format!("strait was overloaded, and no byte had flowed for {quiet:.1} s");
            self.record.note(Some(detail));
        }
    }

    /// The end of a connection that was cut. The reason is on its seat; a connection that nobody cut has
    /// panicked.
    pub(super) fn cut_ending(&self) -> Ending {
        let reason = self.ticket.seat().cut_reason();
        Ending::of(reason.unwrap_or(Outcome::InternalError))
    }
}

impl Drop for Connection {
    /// Writes the record of a connection that was cut.
    fn drop(&mut self) {
        self.close(self.cut_ending());
    }
}

/// A connection that was accepted. Nothing was read of it.
#[derive(Debug)]
pub(super) struct Arrival {
    socket: std::net::TcpStream,
    connection: Box<Connection>,
}

/// A connection whose peer must announce the client before anything else.
#[derive(Debug)]
pub(super) struct Unannounced {
    downstream: TcpStream,
    connection: Box<Connection>,
}

/// A connection whose source may connect, and that its limits count.
#[derive(Debug)]
pub(super) struct Admitted {
    downstream: TcpStream,
    connection: Box<Connection>,
}

/// A connection whose hello has a route.
#[derive(Debug)]
pub(super) struct Routed {
    /// The socket to the client.
    pub downstream: TcpStream,
    /// The request for TLS that the client sent before its hello. The endpoint gets one too.
    pub starttls: Option<StartTls>,
    /// The target that the route leads to.
    pub target: Arc<Target>,
    /// Bytes that the endpoint must get first.
    pub replay: Replay,
    /// Its record and its ticket.
    pub connection: Box<Connection>,
}

/// A connection that can relay.
#[derive(Debug)]
pub(super) struct Connected {
    /// The socket to the endpoint.
    pub endpoint: TcpStream,
    /// All that was known before.
    pub routed: Routed,
}

/// A connection that gets no relay. Its record is written; it keeps its place until its client has the
/// alert.
#[derive(Debug)]
pub(super) struct Refused {
    /// The socket to the client, unless the connection was refused before anything was read.
    pub downstream: Option<TcpStream>,
    /// The alert that the client gets before the close.
    pub alert: Option<Alert>,
    /// Its ticket.
    pub connection: Box<Connection>,
}

impl Arrival {
    /// The state of a connection just accepted.
    pub(super) fn new(
        ticket: Ticket,
        socket: std::net::TcpStream,
        source: SocketAddr,
        at: Instant,
    ) -> Self {
        Self {
            connection: Box::new(Connection::open(ticket, source, at)),
            socket,
        }
    }

    /// The connection's place among those of its worker.
    pub(super) fn seat(&self) -> &Rc<Seat> {
        self.connection.ticket.seat()
    }

    /// The address that the connection comes from.
    pub(super) fn source(&self) -> SocketAddr {
        self.connection.record.source()
    }

    /// The moment of accept.
    pub(super) fn accepted(&self) -> Instant {
        self.connection.record.accepted()
    }

    /// Refuses the connection. Its socket closes now, with what is unread.
    pub(super) fn refuse(self, refusal: Refusal) -> Refused {
        refuse(self.connection, None, refusal)
    }

    /// Lets the connection in. A socket whose source may not connect is closed unread.
    ///
    /// # Errors
    /// The source may not connect or has too many connections, or the process has no resources left.
    pub(super) fn admit(mut self) -> Result<Admitted, Refused> {
        match self.connection.admit() {
            Ok(()) => self.register().map(|(connection, downstream)| Admitted {
                connection,
                downstream,
            }),
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// Has the peer announce the client first.
    ///
    /// # Errors
    /// The process has no resources left.
    pub(super) fn expect_header(self) -> Result<Unannounced, Refused> {
        self.register().map(|(connection, downstream)| Unannounced {
            connection,
            downstream,
        })
    }

    /// Hands the socket to the runtime.
    fn register(self) -> Result<(Box<Connection>, TcpStream), Refused> {
        match TcpStream::from_std(self.socket) {
            Ok(downstream) => Ok((self.connection, downstream)),
            Err(_) => {
                let refusal = Refusal::silent(Outcome::Overloaded);
                Err(refuse(self.connection, None, refusal))
            }
        }
    }
}

impl Unannounced {
    /// The socket to the proxy.
    pub(super) fn downstream(&self) -> &TcpStream {
        &self.downstream
    }

    /// Lets the connection in that `header` announces.
    ///
    /// # Errors
    /// There is no valid header, or the source may not connect or has too many connections.
    pub(super) fn admit(
        mut self,
        header: Result<ProxyHeader, Refusal>,
    ) -> Result<Admitted, Refused> {
        let admitted = header.and_then(|header| {
            if let Some(proxied) = header.proxied {
                self.connection.announced(&proxied);
            }
            self.connection.admit()
        });
        match admitted {
            Ok(()) => Ok(Admitted {
                connection: self.connection,
                downstream: self.downstream,
            }),
            Err(refusal) => Err(refuse(self.connection, Some(self.downstream), refusal)),
        }
    }
}

impl Admitted {
    /// The socket to the client.
    pub(super) fn downstream(&self) -> &TcpStream {
        &self.downstream
    }

    /// Takes the route that the hello gets.
    ///
    /// # Errors
    /// There is no valid hello, no route for it, or the route has too many connections.
    pub(super) fn route(mut self, hello: Result<Preread<'_>, Refusal>) -> Result<Routed, Refused> {
        match route(&mut self.connection, hello) {
            Ok(HelloRoute {
                starttls,
                target,
                replay,
            }) => Ok(Routed {
                connection: self.connection,
                downstream: self.downstream,
                starttls,
                target,
                replay,
            }),
            Err(refusal) => Err(refuse(self.connection, Some(self.downstream), refusal)),
        }
    }
}

/// The part of [`Routed`] that the hello brings.
struct HelloRoute {
    starttls: Option<StartTls>,
    target: Arc<Target>,
    replay: Replay,
}

fn route(
    connection: &mut Connection,
    hello: Result<Preread<'_>, Refusal>,
) -> Result<HelloRoute, Refusal> {
    let Connection { record, ticket } = connection;
    if !matches!(&hello, Err(refusal) if refusal.outcome == Outcome::Probe) {
        record.hello_ended(ticket);
    }
    let Preread {
        server_name,
        starttls,
        route,
        alpn,
        offers,
        ja4,
        replay,
    } = hello?;
    record.offered(ticket, server_name, alpn, offers, ja4);
    let route = route.map_err(|unrouted| {
        if let Some(route) = unrouted.route {
            record.count_on(ticket, route.targets.choose());
        }
        unrouted.refusal
    })?;
    let target = route.targets.choose();
    record
        .routed(ticket, route, target)
        .map_err(|over| Refusal::noted(Outcome::OverLimit, over.to_string()))?;
    Ok(HelloRoute {
        starttls,
        target: target.clone(),
        replay,
    })
}

impl Routed {
    /// Takes the socket to the endpoint.
    ///
    /// # Errors
    /// No endpoint was reached.
    pub(super) fn connected(
        self,
        endpoint: Result<TcpStream, Refusal>,
    ) -> Result<Connected, Refused> {
        match endpoint {
            Ok(endpoint) => Ok(Connected {
                routed: self,
                endpoint,
            }),
            Err(refusal) => Err(refuse(self.connection, Some(self.downstream), refusal)),
        }
    }
}

/// Writes the record of a connection that gets no relay.
fn refuse(
    mut connection: Box<Connection>,
    downstream: Option<TcpStream>,
    refusal: Refusal,
) -> Refused {
    let alert = refusal.answer(connection.ticket.policy().refuse);
    let Connection { record, ticket } = &mut *connection;
    record.note(refusal.detail.map(String::from));
    if let Some(hello) = refusal.hello {
        record.keep_hello(ticket, refusal.outcome, hello);
    }
    connection.close(Ending::of(refusal.outcome));
    Refused {
        connection,
        downstream,
        alert,
    }
}
