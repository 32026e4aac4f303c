//! Connect: one endpoint after another until one answers, before any byte goes upstream.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::conduct;
use super::dial::{AttemptTime, First, NotConnected, attempt};
use super::pauses::Pauses;
use super::proxy_protocol;
use super::record::ConnectionRecord;
use super::refusal::Refusal;
use super::source_wait;
use super::states::{Connection, Routed};
use super::ticket::Ticket;
use super::time_limit::{Timer, until};
use super::worker::Worker;
use crate::client_hello::SSL_REQUEST;
use crate::config::{AddressKind, ProxyVersion, StartTls, UpstreamConfig, UpstreamSource};
use crate::metrics::ConnectResult;
use crate::outcome::Outcome;
use crate::recent_connections::SlowConnect;
use crate::upstream::{
    Conduct, NotPicked, Picked, SourceAddresses, Ties, Upstream, is_own_shortage,
};

/// The pauses before the endpoints are tried again, all of which have failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Failures of this host that do not count as attempts, since they take no time: its routes lead nowhere, or its
/// address family is missing.
const MOST_LOCAL_FAILURES: u32 = 16;

/// Connects to an endpoint of the upstream that the connection is routed to.
///
/// # Errors
/// `no_endpoint`, `over_limit`, the reason of the last attempt, `downstream_reset` when the client gave up, or
/// `overloaded` when the bytes to replay had to give way to other hellos meanwhile.
pub(super) async fn connect(routed: &mut Routed) -> Result<TcpStream, Refusal> {
    let started = Instant::now();
    let Connection { record, ticket } = &mut *routed.connection;
    let (downstream, target) = (&routed.downstream, &routed.target);
    let upstream = &target.upstream;
    let config = upstream.config();
    let header = match config.proxy_protocol {
        Some(ProxyVersion::V2) => {
            let (source, destination) = (record.source(), record.announced_destination());
            proxy_protocol::header(downstream, source, destination, record.server_name())
        }
        None => Ok(Vec::new()),
    };
    let mut first = header.map_err(Refusal::silent)?;
    if let Some(StartTls::Postgres) = routed.starttls {
        first.extend_from_slice(&SSL_REQUEST);
    }
    let common = Common {
        worker: ticket.worker().clone(),
        upstream: upstream.clone(),
        timeout: target.timeouts.connect.unwrap_or(config.connect.timeout),
        config,
        first: First {
            bytes: first,
            starttls: routed.starttls,
        },
        source: record.source(),
        ties: upstream.ties_of(record.source().ip(), record.server_name()),
    };
    let work = async {
        source_wait::first_answer(ticket.shared(), upstream, common.timeout).await;
        Connecting::new(common).run(record, ticket).await
    };
    // A client that resets is not worth an endpoint's connection. One that only closed its sending
    // side still wants its answer.
    let result = tokio::select! {
        biased;
        _ = downstream.ready(Interest::ERROR) => Err(Outcome::DownstreamReset),
        () = routed.replay.evicted() => Err(Outcome::Overloaded),
        result = work => result,
    };
    record.connect_ended(ticket, started);
    result.map_err(|outcome| match outcome {
        Outcome::NoEndpoint => {
            let ties = upstream.ties_of(record.source().ip(), record.server_name());
            let detail = upstream.problem().map(String::into_boxed_str);
            Refusal {
                detail: detail.or_else(|| ties.no_endpoint().map(Into::into)),
                ..Refusal::silent(outcome)
            }
        }
        _ => Refusal::silent(outcome),
    })
}

/// The inputs of all attempts for one connection.
#[derive(Debug)]
struct Common {
    worker: Rc<Worker>,
    upstream: Arc<Upstream>,
    config: Arc<UpstreamConfig>,
    /// The time limit of an attempt: the route's, or the upstream's.
    timeout: Duration,
    first: First,
    /// The client.
    source: SocketAddr,
    /// What the client, or its hello, says about the endpoint.
    ties: Ties,
}

/// The attempts for one connection: endpoint after endpoint, until one connects or `connect.attempts` have failed. Any
/// failure leads to another endpoint.
///
/// An attempt that takes longer than `connect.hedge` goes on while the next one begins. When every endpoint has failed
/// and the last one refuses connections, all are tried again after a pause, until `connect.timeout` has passed since the
/// first attempt.
struct Connecting {
    common: Rc<Common>,
    started: Instant,
    /// The endpoints that need not be tried again.
    tried: Vec<SocketAddr>,
    attempts_left: u32,
    local_failures: u32,
    /// The attempt that was begun last, while no other runs: a queue of one costs more than it.
    only: Option<BegunAttempt>,
    /// The others, once there are some.
    running: Option<FuturesUnordered<BegunAttempt>>,
}

type BegunAttempt = Pin<Box<dyn Future<Output = Tried>>>;

/// The end of an attempt.
struct Tried {
    picked: Picked,
    /// The number of addresses tried.
    addresses: u32,
    result: Result<TcpStream, NotConnected>,
}

/// The reason why no attempt began.
enum NoneLeft {
    Attempts,
    Endpoints(NotPicked),
}

impl Connecting {
    fn new(common: Common) -> Self {
        Self {
            attempts_left: common.config.connect.attempts.get(),
            common: Rc::new(common),
            started: Instant::now(),
            tried: Vec::new(),
            local_failures: 0,
            only: None,
            running: None,
        }
    }

    async fn run(
        mut self,
        record: &mut ConnectionRecord,
        ticket: &Ticket,
    ) -> Result<TcpStream, Outcome> {
        let common = self.common.clone();
        let policy = &common.config.connect;
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut reason = Outcome::NoEndpoint;
        loop {
            let begun = self.begin(record);
            if !self.is_under_way() {
                if let Err(NoneLeft::Endpoints(NotPicked::OverLimit(over))) = &begun
                    && reason == Outcome::NoEndpoint
                {
                    record.over_limit(ticket, *over);
                    return Err(Outcome::OverLimit);
                }
                let no_other = matches!(begun, Err(NoneLeft::Endpoints(_)));
                let again = may_try_all_again(reason) && no_other && policy.attempts.get() > 1;
                let rest = self.common.timeout.saturating_sub(self.started.elapsed());
                let pause = pauses.next();
                if !again || rest < pause {
                    return Err(reason);
                }
                sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                self.tried.clear();
                self.attempts_left = policy.attempts.get();
                continue;
            }
            let hedge = policy.hedge.filter(|_| begun.is_ok());
            let Some(tried) = self.first_end(hedge).await else {
                continue;
            };
            record.attempts += tried.addresses - 1;
            record.trace("connect", |_| {
                let address = tried.picked.address();
                match &tried.result {
                    Ok(_) => format!("connected to {address}"),
                    Err(failed) => format!("{}: {address}", failed.outcome.label()),
                }
            });
            record.endpoint = Some(tried.picked);
            match tried.result {
                Ok(stream) => {
                    self.leave_the_others();
                    return Ok(stream);
                }
                Err(failed) => {
                    if failed.local && self.local_failures < MOST_LOCAL_FAILURES {
                        self.local_failures += 1;
                        self.attempts_left += 1;
                    }
                    reason = failed.outcome;
                    record.note(failed.detail.map(String::from));
                }
            }
        }
    }

    /// Begins an attempt at an endpoint that was not tried.
    fn begin(&mut self, record: &mut ConnectionRecord) -> Result<(), NoneLeft> {
        if self.attempts_left == 0 {
            let all_tried = self.common.upstream.endpoints().len() <= self.tried.len();
            return Err(match all_tried {
                true => NoneLeft::Endpoints(NotPicked::NoneLeft),
                false => NoneLeft::Attempts,
            });
        }
        let Common { upstream, ties, .. } = &*self.common;
        let picked = upstream.pick(&self.tried, ties);
        let picked = picked.map_err(NoneLeft::Endpoints)?;
        self.attempts_left -= 1;
        record.attempts += 1;
        self.tried.push(picked.endpoint());
        record.trace("pick", |record| {
            let (endpoint, attempt) = (picked.endpoint(), record.attempts);
            format!("endpoint {endpoint}, attempt {attempt}")
        });
        let others_run = self.is_under_way();
        // The only one is polled again when the hedge is over, and joins the others.
        let connect = &self.common.config.connect;
        let is_hedged = connect
            .hedge
            .is_some_and(|hedge| hedge < self.common.timeout);
        let timer = match is_hedged && !others_run {
            true => Timer::SecondPoll,
            false => Timer::FirstPoll,
        };
        let attempt = Box::pin(try_endpoint(self.common.clone(), picked, timer));
        match others_run {
            true => self.running.get_or_insert_default().push(attempt),
            false => self.only = Some(attempt),
        }
        Ok(())
    }

    /// Whether an attempt has begun and not ended.
    fn is_under_way(&self) -> bool {
        self.only.is_some() || self.others() > 0
    }

    /// The number of attempts beside the only one.
    fn others(&self) -> usize {
        self.running.as_ref().map_or(0, FuturesUnordered::len)
    }

    /// The end of the attempt that ends first. `None` if none has ended in time.
    async fn first_end(&mut self, time: Option<Duration>) -> Option<Tried> {
        let end = time.map(|time| (Instant::now() + time).into());
        if let Some(mut only) = self.only.take() {
            let Some(end) = end else {
                return Some(only.await);
            };
            let ended = until(end, Timer::FirstPoll, &mut only).await;
            if ended.is_none() {
                self.running.get_or_insert_default().push(only);
            }
            return ended;
        }
        let running = self.running.as_mut()?;
        match end {
            Some(end) => until(end, Timer::FirstPoll, running.next()).await.flatten(),
            None => running.next().await,
        }
    }

    /// Lets the attempts end that were slower, so that a failure counts against its endpoint.
    fn leave_the_others(self) {
        let attempts = self.others();
        let Some(mut running) = self.running.filter(|_| attempts > 0) else {
            return;
        };
        if let Some(share) = self.common.worker.shared.late_attempts.take(attempts) {
            tokio::task::spawn_local(async move {
                while running.next().await.is_some() {}
                drop(share);
            });
        }
    }
}

/// Whether all endpoints may be tried again after a pause, when the last one has failed for `reason`. Nothing listens at
/// the port of a program that restarts, so its host refuses connections for a moment. Other failures last longer than a
/// client waits: a host that is gone, a way that leads nowhere, a server without TLS, a gateway without local ports.
fn may_try_all_again(reason: Outcome) -> bool {
    reason == Outcome::ConnectRefused
}

/// Tries an endpoint, and counts the result. A pod of both address families is one endpoint with two addresses.
/// `timer` is that of the first.
async fn try_endpoint(common: Rc<Common>, mut picked: Picked, timer: Timer) -> Tried {
    let Common {
        upstream,
        config,
        timeout: most,
        first,
        ..
    } = &*common;
    let shared = &common.worker.shared;
    let own = (!may_lead_here(config)).then_some(&shared.own);
    let counter = |result| shared.metrics.connect_attempts(&config.name, result);
    // A series of an upstream that is gone would stay for ever.
    let count_failure = |outcome| {
        if !upstream.is_retired() {
            counter(ConnectResult::Failed(outcome)).inc();
        }
    };
    let mut addresses = 1;
    let (result, time) = loop {
        let from = SourceAddresses::of(upstream, config, picked.address());
        let began = Instant::now();
        let time = AttemptTime {
            began,
            most: *most,
            timer: match addresses {
                1 => timer,
                _ => Timer::FirstPoll,
            },
        };
        let result = attempt(picked.address(), config, from, time, first, own).await;
        if let Err(failed) = &result
            && addresses == 1
            && upstream.turn(&mut picked)
        {
            count_failure(failed.outcome);
            addresses = 2;
        } else {
            break (result, began.elapsed());
        }
    };
    match &result {
        Ok(_) => {
            picked.connected(time);
            shared.recent.slow_connects.note(time, || SlowConnect {
                at: SystemTime::now(),
                took: time,
                upstream: config.name.clone(),
                endpoint: picked.address(),
                source: common.source,
                starttls: first.starttls.is_some(),
            });
            if addresses == 2 {
                picked.prefer();
            }
            if !upstream.is_retired() {
                let counter = || counter(ConnectResult::Connected);
                upstream.connected(counter).inc();
            }
        }
        Err(failed) => {
            count_failure(failed.outcome);
            report_failure(&common, &picked, failed.outcome);
            picked.failed();
        }
    }
    Tried {
        picked,
        addresses,
        result,
    }
}

fn report_failure(common: &Common, picked: &Picked, outcome: Outcome) {
    let Common {
        upstream, source, ..
    } = common;
    if is_own_shortage(outcome) {
        let (name, endpoint) = (&upstream.config().name, picked.address());
        tracing::warn!(upstream = %name, %endpoint, outcome = outcome.label(), "strait cannot connect: this host lacks local ports or descriptors");
        return;
    }
    conduct::report(upstream, picked, Conduct::Failed, source.ip(), outcome);
}

/// Whether the config asks by name for endpoints that are the gateway's own.
fn may_lead_here(config: &UpstreamConfig) -> bool {
    match &config.source {
        UpstreamSource::Dns(dns) => dns.allow.contains(&AddressKind::OwnListener),
        UpstreamSource::Static(_) | UpstreamSource::Kubernetes(_) => false,
    }
}
