//! Traces: the steps of the connections that an operator wants to follow, one line for each in strait's own log.
//!
//! A trace takes the connections that are accepted while it runs and that its filter takes. A filter may ask for what
//! is known only later, such as the server name: until then the steps of a connection are kept, and written as soon as
//! it is known to match. One trace follows a connection: the first that takes it, and the next one when that is over.
//! Traces are few, write few lines a second, and end by themselves.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::Notify;

use crate::clock;
use crate::limits::{self, TokenBucket};
use crate::log::TRACE_TARGET;

/// The traces that there may be at a time.
pub const MOST_TRACES: usize = 8;
/// The lines that one trace writes in a second. Further ones are counted.
pub const LINES_PER_SECOND: u32 = 50;
/// The steps of a connection that are kept until it is known whether it matches. There are no more before its route.
const MOST_EARLY: usize = 4;

/// The connections that a trace takes. A part that is `None` takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TraceFilter {
    /// The network of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// The server name, or `*.` and its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The name of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// A trace. Clones are the same.
#[derive(Debug)]
pub struct Trace {
    /// Its number, unique in the process.
    pub id: u64,
    /// The connections that it takes.
    pub filter: TraceFilter,
    until: Instant,
    budget: TokenBucket,
    lines: AtomicU64,
    left_out: AtomicU64,
    is_over: AtomicBool,
    over: Notify,
}

/// A trace as an answer describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceReport {
    id: u64,
    #[serde(flatten)]
    filter: TraceFilter,
    left_ms: u64,
    lines: u64,
    lines_left_out: u64,
}

/// All traces.
#[derive(Debug, Default)]
pub struct Traces {
    /// True while there is one.
    active: AtomicBool,
    all: ArcSwap<Vec<Arc<Trace>>>,
    /// The number of the last one. Held while the traces change.
    last: Mutex<u64>,
}

/// The error that there are as many traces as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST_TRACES} traces already; end one: DELETE /trace/ID")]
pub struct TooManyTraces;

impl Traces {
    /// Whether there is any.
    pub fn are_active(&self) -> bool {
        // Relaxed: a connection that is accepted at the very start of a trace may miss it.
        self.active.load(Ordering::Relaxed)
    }

    /// Begins a trace. The caller ends it after that time; it stops by itself then.
    ///
    /// # Errors
    /// There are [`MOST_TRACES`] already.
    pub fn begin(&self, filter: TraceFilter, time: Duration) -> Result<Arc<Trace>, TooManyTraces> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&self.all.load());
        all.retain(|trace| trace.runs());
        if all.len() >= MOST_TRACES {
            return Err(TooManyTraces);
        }
        *last += 1;
        let trace = Arc::new(Trace {
            id: *last,
            filter,
            until: Instant::now() + time,
            budget: TokenBucket::default(),
            lines: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
        });
        all.push(trace.clone());
        self.put(all);
        Ok(trace)
    }

    /// Ends the trace with that number, or all. Returns those that ran.
    pub fn end(&self, id: Option<u64>) -> Vec<Arc<Trace>> {
        let _last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let all = Vec::clone(&self.all.load());
        let is_meant = |trace: &Arc<Trace>| id.is_none_or(|id| id == trace.id);
        let (ended, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_meant);
        self.put(rest);
        for trace in &ended {
            trace.is_over.store(true, Ordering::Relaxed);
            trace.over.notify_one();
        }
        ended
    }

    fn put(&self, all: Vec<Arc<Trace>>) {
        let active = !all.is_empty();
        self.all.store(Arc::new(all));
        self.active.store(active, Ordering::Relaxed);
    }

    /// Every trace that runs, in the order of their numbers.
    pub fn list(&self) -> Vec<TraceReport> {
        let all = self.all.load();
        let running = all.iter().filter(|trace| trace.runs());
        running.map(|trace| trace.report()).collect()
    }

    /// The traces that may follow a connection, if there are any.
    pub fn follow(&self, connection: u64, accepted: Instant) -> Option<Box<Followed>> {
        let all = self.all.load();
        let candidates: Vec<_> = all.iter().filter(|trace| trace.runs()).cloned().collect();
        let followed = Followed {
            connection,
            accepted,
            candidates,
            trace: None,
            early: Vec::new(),
        };
        (!followed.candidates.is_empty()).then(|| Box::new(followed))
    }
}

impl Trace {
    fn runs(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed) && Instant::now() < self.until
    }

    /// Waits until the trace is ended by [`Traces::end`].
    pub async fn ended(&self) {
        self.over.notified().await;
    }

    /// The trace as an answer describes it.
    pub fn report(&self) -> TraceReport {
        let left = self.until.saturating_duration_since(Instant::now());
        TraceReport {
            id: self.id,
            filter: self.filter.clone(),
            left_ms: clock::millis(left),
            lines: self.lines.load(Ordering::Relaxed),
            lines_left_out: self.left_out.load(Ordering::Relaxed),
        }
    }

    /// The number of lines that it has written, and of those that it has left out.
    pub fn lines(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.lines), count(&self.left_out))
    }

    fn write(&self, connection: u64, source: SocketAddr, step: &TracedStep) {
        if !self.budget.take(LINES_PER_SECOND, limits::now()) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(step.at.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: TRACE_TARGET,
            trace = self.id,
            connection,
            %source,
            step = step.step,
            after_us = micros,
            detail = &*step.detail,
            "a step of a connection that a trace follows"
        );
    }
}

/// The facts about a connection that filters ask for. A part that is `None` is not known yet, or is not there.
#[derive(Debug, Clone, Copy)]
pub struct TracedFacts<'a> {
    /// The client.
    pub source: SocketAddr,
    /// The server name.
    pub server_name: Option<&'a str>,
    /// The route.
    pub route: Option<&'a str>,
}

impl TraceFilter {
    /// Whether it takes all connections.
    pub fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes a connection of which this is known.
    pub fn takes(&self, facts: &TracedFacts<'_>) -> bool {
        let source = facts.source.ip().to_canonical();
        let names = |wanted: &str, name: &str| match wanted.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == wanted,
        };
        let named = |wanted: &String| facts.server_name.is_some_and(|name| names(wanted, name));
        self.source.is_none_or(|net| net.contains(&source))
            && self.sni.as_ref().is_none_or(named)
            && self
                .route
                .as_deref()
                .is_none_or(|route| facts.route == Some(route))
    }
}

/// A step of a connection.
#[derive(Debug)]
struct TracedStep {
    /// The time since accept.
    at: Duration,
    step: &'static str,
    detail: Box<str>,
}

/// A connection that a trace follows, or may follow once more is known of it.
#[derive(Debug)]
pub struct Followed {
    connection: u64,
    accepted: Instant,
    candidates: Vec<Arc<Trace>>,
    /// The trace that follows it: the first that takes it, and the next one when that is over.
    trace: Option<Arc<Trace>>,
    early: Vec<TracedStep>,
}

impl Followed {
    /// Notes a step, with what is known of the connection by then.
    pub fn step(&mut self, facts: &TracedFacts<'_>, step: &'static str, detail: String) {
        let step = TracedStep {
            at: self.accepted.elapsed(),
            step,
            detail: detail.into(),
        };
        if self.trace.as_ref().is_none_or(|trace| !trace.runs()) {
            let takes = |one: &&Arc<Trace>| one.runs() && one.filter.takes(facts);
            self.trace = self.candidates.iter().find(takes).cloned();
        }
        let Some(trace) = &self.trace else {
            if self.early.len() < MOST_EARLY {
                self.early.push(step);
            }
            return;
        };
        for early in self.early.drain(..) {
            trace.write(self.connection, facts.source, &early);
        }
        trace.write(self.connection, facts.source, &step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(name: Option<&'a str>, route: Option<&'a str>) -> TracedFacts<'a> {
        TracedFacts {
            source: "10.1.2.3:4567".parse().unwrap(),
            server_name: name,
            route,
        }
    }

    #[test]
    fn a_filter_takes_what_has_all_of_its_parts() {
        let text = |text: &str| Some(text.to_owned());
        for (source, sni, route, takes) in [
            (None, None, None, true),
            (Some("10.1.0.0/16"), None, None, true),
            (Some("10.2.0.0/16"), None, None, false),
            (None, text("a.b.example"), None, true),
            (None, text("*.example"), None, true),
            (None, text("b.example"), None, false),
            (None, None, text("calls"), true),
            (Some("10.1.0.0/16"), text("*.example"), text("other"), false),
        ] {
            let filter = TraceFilter {
                source: source.map(|net| net.parse().unwrap()),
                sni,
                route,
            };
            let known = facts(Some("a.b.example"), Some("calls"));
            assert_eq!(filter.takes(&known), takes, "{filter:?}");
            let unknown = filter.sni.is_some() || filter.route.is_some();
            assert_eq!(
                filter.takes(&facts(None, None)),
                takes && !unknown,
                "{filter:?}"
            );
        }
    }

    #[test]
    fn steps_wait_until_it_is_known_whether_the_connection_matches() {
        let traces = Traces::default();
        let filter = |route: &str| TraceFilter {
            route: Some(route.to_owned()),
            ..TraceFilter::default()
        };
        let minute = Duration::from_secs(60);
        let other = traces.begin(filter("other"), minute).unwrap();
        let calls = traces.begin(filter("calls"), minute).unwrap();
        let mut followed = traces.follow(7, Instant::now()).unwrap();
        followed.step(&facts(None, None), "accept", String::new());
        followed.step(&facts(Some("a"), None), "hello", String::new());
        assert_eq!((calls.lines(), other.lines()), ((0, 0), (0, 0)));
        followed.step(&facts(Some("a"), Some("calls")), "route", String::new());
        followed.step(&facts(Some("a"), Some("calls")), "close", String::new());
        assert_eq!((calls.lines(), other.lines()), ((4, 0), (0, 0)));
        for _ in 0..2 * LINES_PER_SECOND {
            followed.step(&facts(None, None), "pick", String::new());
        }
        let (written, left_out) = calls.lines();
        assert_eq!(written + left_out, 4 + u64::from(2 * LINES_PER_SECOND));
        assert!(left_out >= 4, "{left_out}");
    }

    #[test]
    fn a_connection_goes_over_to_another_trace_when_its_own_is_over() {
        let traces = Traces::default();
        let begin = |time| traces.begin(TraceFilter::default(), time).unwrap();
        let hour = Duration::from_secs(3600);
        let (first, second) = (begin(hour), begin(hour));
        let mut followed = traces.follow(1, Instant::now()).unwrap();
        let mut step = |step| followed.step(&facts(None, None), step, String::new());
        step("accept");
        traces.end(Some(first.id));
        step("hello");
        assert_eq!((first.lines(), second.lines()), ((1, 0), (1, 0)));
        traces.end(Some(second.id));
        step("close");
        assert_eq!((first.lines(), second.lines()), ((1, 0), (1, 0)));
    }

    #[test]
    fn traces_are_few_and_end() {
        let traces = Traces::default();
        assert!(!traces.are_active());
        assert!(traces.follow(1, Instant::now()).is_none());
        let begin = |time| traces.begin(TraceFilter::default(), time);
        let hour = Duration::from_secs(3600);
        let first = begin(hour).unwrap();
        for _ in 1..MOST_TRACES {
            begin(hour).unwrap();
        }
        assert_eq!(begin(hour).err(), Some(TooManyTraces));
        assert_eq!(traces.list().len(), MOST_TRACES);
        let mut followed = traces.follow(1, Instant::now()).unwrap();
        followed.step(&facts(None, None), "accept", String::new());
        assert_eq!(traces.end(Some(first.id)).len(), 1);
        assert_eq!(traces.end(Some(first.id)).len(), 0);
        followed.step(&facts(None, None), "close", String::new());
        assert_eq!(first.lines(), (1, 0), "it is over");
        let over = begin(Duration::ZERO).unwrap();
        assert!(over.id > first.id);
        assert_eq!(traces.list().len(), MOST_TRACES - 1, "its time is over");
        assert_eq!(traces.end(None).len(), MOST_TRACES);
        assert!(!traces.are_active());
    }
}
