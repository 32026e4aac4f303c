//! Open connections: the questions that an operator has about them, and the answers of the workers.
//!
//! The admin server asks ([`ConnectionAsker`]). Each worker answers for its own connections, a few at a time
//! between its other work (`proxy::survey`), with as many as the question wants to see.

use std::cmp::{Ordering, Reverse};
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::clock;
use crate::source_book::{RecentUse, SourceBook};

/// The most connections that an answer describes.
pub const MOST_SHOWN: usize = 10_000;
/// Source addresses that a worker tells apart in an answer.
const MOST_SOURCES: usize = 65_536;
/// Questions that may wait for a worker.
const QUESTIONS: usize = 8;
/// The time that the workers have for an answer that nobody needs sooner.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);

/// The order of an answer. The first are those that have most of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionOrder {
    /// The time since accept.
    #[default]
    Age,
    /// The time since a byte has flowed.
    Idle,
    /// The bytes both ways.
    Bytes,
}

/// The connections that a question is about. A part that is `None` takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// The connection's number.
    pub id: Option<u64>,
    /// The network of the client.
    pub source: Option<IpNet>,
    /// The name of the source group.
    pub group: Option<String>,
    /// The name of the listener.
    pub listener: Option<String>,
    /// The server name, or `*.` and its end.
    pub server_name: Option<String>,
    /// The name of the route.
    pub route: Option<String>,
    /// The name of the upstream.
    pub upstream: Option<String>,
    /// The address of the endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The state, in the word of an answer.
    pub state: Option<String>,
}

/// The act that a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionAct {
    /// Show the connections.
    Show,
    /// Show them and end them.
    End,
}

/// A question about open connections.
#[derive(Debug, Clone)]
pub struct ConnectionQuery {
    /// The connections that it is about.
    pub filter: ConnectionFilter,
    /// The order of the answer.
    pub order: ConnectionOrder,
    /// The number of connections that the answer describes, at most [`MOST_SHOWN`].
    pub limit: usize,
    /// The act.
    pub act: ConnectionAct,
    /// Whether the answer has the sources of the connections.
    pub sources: bool,
    /// The moment at which ages are compared: workers answer one after the other.
    pub at: Instant,
}

/// The facts about one open connection, borrowed from where it lives.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts<'a> {
    /// Its number, as in the access log.
    pub id: u64,
    /// The listener's name.
    pub listener: &'a str,
    /// The client's address.
    pub source: SocketAddr,
    /// The peer that announced the client's address.
    pub proxy: Option<SocketAddr>,
    /// The network that counts as one source with the client's address.
    pub source_net: IpNet,
    /// The name of the source group.
    pub source_group: &'a str,
    /// The server name, if it is known.
    pub server_name: Option<&'a str>,
    /// The ALPN offers, joined by commas.
    pub alpn: Option<&'a str>,
    /// The route, if there is one.
    pub route: Option<&'a str>,
    /// The upstream of that route.
    pub upstream: Option<&'a str>,
    /// The endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The number of endpoints tried.
    pub attempts: u32,
    /// The stage that the connection has reached, in a word.
    pub state: &'static str,
    /// The stage of the TLS handshake as far as it was seen, in a word.
    pub handshake: Option<&'static str>,
    /// The moment of accept.
    pub accepted: Instant,
    /// The time since a byte has flowed.
    pub idle: Duration,
    /// Bytes that went to the upstream.
    pub to_upstream: u64,
    /// Bytes that went to the downstream.
    pub to_downstream: u64,
}

/// One open connection as an answer describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenConnection {
    pub(crate) id: u64,
    /// The thread that serves it.
    pub(crate) worker: usize,
    pub(crate) listener: String,
    pub(crate) source: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) source_group: String,
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) endpoint: Option<SocketAddr>,
    /// The address from which strait has connected to the endpoint.
    pub(crate) upstream_local: Option<SocketAddr>,
    pub(crate) attempts: u32,
    pub(crate) state: &'static str,
    pub(crate) handshake: Option<&'static str>,
    pub(crate) tls_version: Option<&'static str>,
    #[serde(serialize_with = "timestamp")]
    pub(crate) start: SystemTime,
    pub(crate) age_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) to_upstream_bytes: u64,
    pub(crate) to_downstream_bytes: u64,
}

fn timestamp<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(clock::writable(*at)))
}

impl OpenConnection {
    /// The description of a connection that `worker` serves. `upstream_local` is the address from which strait has
    /// connected to the endpoint, `tls_version` the version that both sides have agreed on.
    pub fn new(
        facts: &ConnectionFacts<'_>,
        worker: usize,
        upstream_local: Option<SocketAddr>,
        tls_version: Option<&'static str>,
    ) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (now, age) = (SystemTime::now(), facts.accepted.elapsed());
        Self {
            id: facts.id,
            worker,
            listener: facts.listener.to_owned(),
            source: facts.source,
            proxy: facts.proxy,
            source_group: facts.source_group.to_owned(),
            server_name: owned(facts.server_name),
            alpn: owned(facts.alpn),
            route: owned(facts.route),
            upstream: owned(facts.upstream),
            endpoint: facts.endpoint,
            upstream_local,
            attempts: facts.attempts,
            state: facts.state,
            handshake: facts.handshake,
            tls_version,
            start: now.checked_sub(age).unwrap_or(now),
            age_ms: clock::millis(age),
            idle_ms: clock::millis(facts.idle),
            to_upstream_bytes: facts.to_upstream,
            to_downstream_bytes: facts.to_downstream,
        }
    }
}

impl ConnectionFilter {
    /// Whether it takes all connections.
    pub fn takes_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes a connection.
    pub fn takes(&self, facts: &ConnectionFacts<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.id.is_none_or(|id| id == facts.id)
            && self
                .source
                .is_none_or(|net| contains(&net, facts.source.ip()))
            && is(&self.group, Some(facts.source_group))
            && is(&self.listener, Some(facts.listener))
            && is(&self.route, facts.route)
            && is(&self.upstream, facts.upstream)
            && is(&self.state, Some(facts.state))
            && self
                .endpoint
                .is_none_or(|endpoint| facts.endpoint == Some(endpoint))
            && self.server_name.as_deref().is_none_or(|wanted| {
                let names = |name: &str| match wanted.strip_prefix('*') {
                    Some(end) => name.ends_with(end),
                    None => name == wanted,
                };
                facts.server_name.is_some_and(names)
            })
    }
}

fn contains(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address.to_canonical())
}

impl ConnectionOrder {
    fn rank(self, facts: &ConnectionFacts<'_>, at: Instant) -> u64 {
        let micros = |time: Duration| time.as_micros().try_into().unwrap_or(u64::MAX);
        match self {
            Self::Age => micros(at.saturating_duration_since(facts.accepted)),
            Self::Idle => micros(facts.idle),
            Self::Bytes => facts.to_upstream.saturating_add(facts.to_downstream),
        }
    }
}

/// The connections of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceUse {
    /// The name of its source group.
    pub group: String,
    /// Connections.
    pub open: u64,
    /// Their bytes to the upstream.
    pub to_upstream: u64,
    /// Their bytes to the downstream.
    pub to_downstream: u64,
    /// The moment when the oldest was accepted, if one is open.
    pub oldest: Option<Instant>,
    /// Its recent connections, if they are known.
    pub recent: Option<RecentUse>,
}

impl SourceUse {
    fn of(facts: &ConnectionFacts<'_>) -> Self {
        Self {
            group: facts.source_group.to_owned(),
            open: 1,
            to_upstream: facts.to_upstream,
            to_downstream: facts.to_downstream,
            oldest: Some(facts.accepted),
            recent: None,
        }
    }

    /// That of a source without an open connection.
    fn of_recent(group: &str, recent: RecentUse) -> Self {
        Self {
            group: group.to_owned(),
            open: 0,
            to_upstream: 0,
            to_downstream: 0,
            oldest: None,
            recent: Some(recent),
        }
    }

    fn add(&mut self, other: Self) {
        self.open += other.open;
        self.to_upstream += other.to_upstream;
        self.to_downstream += other.to_downstream;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        match (&mut self.recent, other.recent) {
            (Some(recent), Some(other)) => recent.add(other),
            (recent, other) => *recent = recent.take().or(other),
        }
    }
}

/// The answer to a [`ConnectionQuery`].
#[derive(Debug, Default, Serialize)]
pub struct ConnectionList {
    /// Connections that were asked.
    pub open: u64,
    /// Those among them that the filter takes.
    pub matched: u64,
    /// Those among them that were ended.
    pub ended: u64,
    /// The bytes of those that the filter takes, to the upstream.
    pub to_upstream_bytes: u64,
    /// The same to the downstream.
    pub to_downstream_bytes: u64,
    /// Workers that have not answered in time.
    pub unanswered_workers: Vec<usize>,
    /// The sources of those that the filter takes, if the question asks for them.
    #[serde(skip)]
    pub sources: HashMap<IpNet, SourceUse>,
    /// Connections whose source address had no place in the book of its worker.
    #[serde(skip)]
    pub connections_without_page: u64,
    /// The first ones, in the order of the question.
    #[serde(serialize_with = "described")]
    connections: Vec<Ranked>,
}

impl ConnectionList {
    /// The connections that it describes, in the order of the question.
    pub fn connections(&self) -> impl Iterator<Item = &OpenConnection> {
        self.connections.iter().map(|one| &*one.connection)
    }

    fn add(&mut self, other: Self) {
        self.open += other.open;
        self.matched += other.matched;
        self.ended += other.ended;
        self.to_upstream_bytes += other.to_upstream_bytes;
        self.to_downstream_bytes += other.to_downstream_bytes;
        self.connections.extend(other.connections);
        self.connections_without_page += other.connections_without_page;
        for (source, one) in other.sources {
            match self.sources.entry(source) {
                Entry::Occupied(mut known) => known.get_mut().add(one),
                Entry::Vacant(place) => drop(place.insert(one)),
            }
        }
    }

    /// Takes in what a worker's book says of those of `sources` that `query` asks for.
    pub fn add_pages(&mut self, book: &SourceBook, sources: &[IpNet], query: &ConnectionQuery) {
        let ConnectionFilter {
            group, listener, ..
        } = &query.filter;
        for (source, of, recent) in book.recent(sources, Instant::now()) {
            if group.as_deref().is_some_and(|group| group != of) {
                continue;
            }
            // The book does not know listeners.
            let room = listener.is_none() && self.sources.len() < MOST_SOURCES;
            match self.sources.entry(source) {
                Entry::Occupied(mut known) => {
                    known.get_mut().add(SourceUse::of_recent(of, recent));
                }
                Entry::Vacant(place) if room => {
                    place.insert(SourceUse::of_recent(of, recent));
                }
                Entry::Vacant(_) => {}
            }
        }
    }

    fn sort(&mut self, limit: usize) {
        self.connections
            .sort_unstable_by(|one, other| other.cmp(one));
        self.connections.truncate(limit);
    }
}

fn described<S: Serializer>(ranked: &[Ranked], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ranked.iter().map(|one| &*one.connection))
}

/// A connection with its rank in the order of the question. Of equal ranks the smaller number is the greater.
#[derive(Debug)]
struct Ranked {
    rank: u64,
    connection: Box<OpenConnection>,
}

impl Ranked {
    fn key(&self) -> (u64, Reverse<u64>) {
        (self.rank, Reverse(self.connection.id))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ranked {}

/// An answer that grows: it keeps as many connections as the question wants to see.
#[derive(Debug)]
pub struct Selection {
    query: Arc<ConnectionQuery>,
    list: ConnectionList,
    first: BinaryHeap<Reverse<Ranked>>,
}

impl Selection {
    /// The answer to `query` before anything was found.
    pub fn new(query: Arc<ConnectionQuery>) -> Self {
        Self {
            query,
            list: ConnectionList::default(),
            first: BinaryHeap::new(),
        }
    }

    /// Takes a connection in if the filter takes it. Returns whether it is to be ended.
    pub fn look(
        &mut self,
        facts: &ConnectionFacts<'_>,
        describe: impl FnOnce() -> OpenConnection,
    ) -> bool {
        let (list, query) = (&mut self.list, &*self.query);
        list.open += 1;
        if !query.filter.takes(facts) {
            return false;
        }
        list.matched += 1;
        list.to_upstream_bytes += facts.to_upstream;
        list.to_downstream_bytes += facts.to_downstream;
        if query.sources {
            let room = list.sources.len() < MOST_SOURCES;
            match list.sources.entry(facts.source_net) {
                Entry::Occupied(mut known) => known.get_mut().add(SourceUse::of(facts)),
                Entry::Vacant(place) if room => drop(place.insert(SourceUse::of(facts))),
                // The sums have them.
                Entry::Vacant(_) => {}
            }
        }
        let rank = query.order.rank(facts, query.at);
        let limit = query.limit.min(MOST_SHOWN);
        let least = self.first.peek().map(|Reverse(least)| least.rank);
        if self.first.len() < limit || (limit > 0 && least.is_some_and(|least| rank > least)) {
            if self.first.len() == limit {
                self.first.pop();
            }
            self.first.push(Reverse(Ranked {
                rank,
                connection: Box::new(describe()),
            }));
        }
        let end = query.act == ConnectionAct::End;
        list.ended += u64::from(end);
        end
    }

    /// The answer.
    pub fn list(self) -> ConnectionList {
        let connections = self.first.into_iter().map(|Reverse(one)| one);
        ConnectionList {
            connections: connections.collect(),
            ..self.list
        }
    }
}

/// A question with the place for its answer.
#[derive(Debug)]
pub struct ConnectionQuestion {
    /// The question.
    pub query: Arc<ConnectionQuery>,
    /// The place for the answer. Closed when nobody waits for it any more.
    pub answer: oneshot::Sender<ConnectionList>,
}

/// The questions of one worker, in the order in which they came.
pub type ConnectionQuestions = mpsc::Receiver<ConnectionQuestion>;

/// The queue of a worker's questions: where to ask, and where the worker finds them.
pub fn questions() -> (mpsc::Sender<ConnectionQuestion>, ConnectionQuestions) {
    mpsc::channel(QUESTIONS)
}

/// Asks all workers. Clones ask the same ones.
#[derive(Debug, Clone, Default)]
pub struct ConnectionAsker(Arc<[mpsc::Sender<ConnectionQuestion>]>);

impl ConnectionAsker {
    /// Asks these workers, which are in the order of their numbers.
    pub fn new(workers: impl IntoIterator<Item = mpsc::Sender<ConnectionQuestion>>) -> Self {
        Self(workers.into_iter().collect())
    }

    /// An answer in which every worker is named as one that has not answered.
    pub fn without_answers(&self) -> ConnectionList {
        ConnectionList {
            unanswered_workers: (0..self.0.len()).collect(),
            ..ConnectionList::default()
        }
    }

    /// The answer of all workers. A worker that has too many questions, or that does not answer until `deadline`, is
    /// named.
    pub async fn ask(&self, query: ConnectionQuery, deadline: Deadline) -> ConnectionList {
        let query = Arc::new(query);
        let ask = |worker: &mpsc::Sender<ConnectionQuestion>| {
            let (answer, answered) = oneshot::channel();
            let query = query.clone();
            let question = ConnectionQuestion { query, answer };
            worker.try_send(question).ok().map(|()| answered)
        };
        let asked: Vec<_> = self.0.iter().map(ask).collect();
        let mut all = ConnectionList::default();
        for (worker, answered) in asked.into_iter().enumerate() {
            let answer = match answered {
                Some(answered) => timeout_at(deadline, answered).await.ok(),
                None => None,
            };
            match answer {
                Some(Ok(list)) => all.add(list),
                _ => all.unanswered_workers.push(worker),
            }
        }
        all.sort(query.limit.min(MOST_SHOWN));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn facts(id: u64) -> ConnectionFacts<'static> {
        ConnectionFacts {
            id,
            listener: "east-west",
            source: "10.1.2.3:4567".parse().unwrap(),
            source_net: "10.1.2.3/32".parse().unwrap(),
            proxy: None,
            source_group: "alpha",
            server_name: Some("a.b.example"),
            alpn: None,
            route: Some("calls"),
            upstream: Some("svcb"),
            endpoint: Some("10.9.0.1:8443".parse().unwrap()),
            attempts: 1,
            state: "relaying",
            handshake: Some("established"),
            accepted: *START + Duration::from_secs(100 - id),
            idle: Duration::from_secs(100 - id),
            to_upstream: id % 3,
            to_downstream: 0,
        }
    }

    fn query(order: ConnectionOrder, limit: usize) -> ConnectionQuery {
        ConnectionQuery {
            filter: ConnectionFilter::default(),
            order,
            limit,
            act: ConnectionAct::Show,
            sources: false,
            at: *START + Duration::from_secs(100),
        }
    }

    fn ids(list: &ConnectionList) -> Vec<u64> {
        list.connections
            .iter()
            .map(|one| one.connection.id)
            .collect()
    }

    #[test]
    fn a_filter_takes_what_has_all_of_its_parts() {
        let text = |text: &str| Some(text.to_owned());
        let none = ConnectionFilter::default;
        for (filter, takes) in [
            (none(), true),
            (
                ConnectionFilter {
                    id: Some(7),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    id: Some(8),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    source: "10.1.0.0/16".parse().ok(),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    source: "10.2.0.0/16".parse().ok(),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    group: text("alpha"),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    group: text("beta"),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    server_name: text("a.b.example"),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    server_name: text("*.example"),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    server_name: text("b.example"),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    route: text("calls"),
                    upstream: text("svcb"),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    route: text("calls"),
                    upstream: text("other"),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    endpoint: "10.9.0.1:8443".parse().ok(),
                    ..none()
                },
                true,
            ),
            (
                ConnectionFilter {
                    endpoint: "10.9.0.1:8444".parse().ok(),
                    ..none()
                },
                false,
            ),
            (
                ConnectionFilter {
                    state: text("hello"),
                    ..none()
                },
                false,
            ),
        ] {
            assert_eq!(filter.takes(&facts(7)), takes, "{filter:?}");
        }
    }

    #[test]
    fn an_unknown_route_is_not_one_that_is_asked_for() {
        let unrouted = ConnectionFacts {
            route: None,
            ..facts(1)
        };
        let filter = ConnectionFilter {
            route: Some("calls".to_owned()),
            ..ConnectionFilter::default()
        };
        assert!(!filter.takes(&unrouted));
        assert!(ConnectionFilter::default().takes(&unrouted));
    }

    #[test]
    fn an_answer_has_the_first_ones_in_order_and_counts_all() {
        for (order, expected) in [
            (ConnectionOrder::Age, vec![9, 8, 7]),
            (ConnectionOrder::Idle, vec![0, 1, 2]),
            (ConnectionOrder::Bytes, vec![2, 5, 8]),
        ] {
            let mut all = ConnectionList::default();
            // Two workers, whose connections differ.
            for worker in 0..2 {
                let mut selection = Selection::new(Arc::new(query(order, 3)));
                for id in (0..10).filter(|id| id % 2 == worker) {
                    let facts = facts(id);
                    assert!(!selection.look(&facts, || OpenConnection::new(&facts, 0, None, None)));
                }
                all.add(selection.list());
            }
            all.sort(3);
            assert_eq!(ids(&all), expected, "{order:?}");
            assert_eq!((all.open, all.matched, all.ended), (10, 10, 0));
            assert_eq!(all.to_upstream_bytes, 9);
        }
    }

    #[test]
    fn connections_end_even_if_the_answer_does_not_show_them() {
        let mut query = query(ConnectionOrder::Age, 1);
        query.act = ConnectionAct::End;
        query.filter.id = Some(3);
        let mut selection = Selection::new(Arc::new(query.clone()));
        let ended = |id| {
            let facts = facts(id);
            selection.look(&facts, || OpenConnection::new(&facts, 0, None, None))
        };
        assert_eq!([2, 3, 4].map(ended), [false, true, false]);
        query.filter.id = None;
        query.limit = 0;
        let mut selection = Selection::new(Arc::new(query));
        let facts = facts(5);
        assert!(selection.look(&facts, || panic!("nobody wants to see it")));
        let list = selection.list();
        assert_eq!((list.matched, list.ended, ids(&list).len()), (1, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_answer_is_named() {
        let ((first, mut asked), (second, _kept)) = (questions(), questions());
        let asker = ConnectionAsker::new([first, second]);
        let answer = async {
            let ConnectionQuestion { answer, .. } = asked.recv().await.unwrap();
            let list = ConnectionList {
                open: 4,
                ..ConnectionList::default()
            };
            answer.send(list).unwrap();
        };
        let begin = Deadline::now();
        let deadline = begin + Duration::from_secs(2);
        let asked = asker.ask(query(ConnectionOrder::Age, 1), deadline);
        let (list, ()) = tokio::join!(asked, answer);
        assert_eq!((list.open, &*list.unanswered_workers), (4, &[1][..]));
        assert_eq!(begin.elapsed().as_secs(), 2, "no longer than was asked for");
        assert_eq!(asker.without_answers().unanswered_workers, [0, 1]);
    }
}
