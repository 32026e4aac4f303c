//! `/sources`: the source addresses with most connections.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};

use super::connections::ask_workers;
use super::dump::timestamp;
use super::{AdminState, JSON, bad_request, dump};
use crate::clock;
use crate::open_connections::{
    ConnectionAct, ConnectionFilter, ConnectionList, ConnectionOrder, ConnectionQuery, MOST_SHOWN,
    SourceUse,
};

/// Sources that an answer has unless the request says otherwise.
const TOP: usize = 50;

/// The query of such a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceParameters {
    top: Option<String>,
    sort: Option<String>,
    group: Option<String>,
    listener: Option<String>,
}

/// The order of an answer. The first are those that have most of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SourceOrder {
    Open,
    Rate,
    Refused,
    Seen,
}

#[derive(Serialize)]
struct SourcesDump {
    /// Connections of all sources.
    open: u64,
    /// The number of sources with an open connection.
    sources_open: usize,
    /// Connections whose source address had no place in the book of its worker.
    connections_not_booked: u64,
    unanswered_workers: Vec<usize>,
    sources: Vec<TopSource>,
}

#[derive(Serialize)]
struct TopSource {
    #[serde(serialize_with = "address_or_net")]
    source: IpNet,
    source_group: String,
    open: u64,
    connections_per_second: f64,
    /// Refused connections by outcome.
    refused: BTreeMap<&'static str, u64>,
    last_seen: Option<String>,
    to_upstream_bytes: u64,
    to_downstream_bytes: u64,
    oldest_ms: Option<u64>,
    #[serde(skip)]
    seen: Option<Instant>,
}

/// Writes an address as one, and a prefix as CIDR.
fn address_or_net<S: Serializer>(net: &IpNet, serializer: S) -> Result<S::Ok, S::Error> {
    match net.prefix_len() == net.max_prefix_len() {
        true => serializer.collect_str(&net.addr()),
        false => serializer.collect_str(net),
    }
}

impl TopSource {
    fn new(source: IpNet, one: SourceUse, now: Instant) -> Self {
        let (per_second, refused, seen) = match one.recent {
            Some(recent) => (recent.per_second, recent.refused, Some(recent.seen)),
            None => (0.0, Vec::new(), None),
        };
        let at = |seen: Instant| SystemTime::now().checked_sub(now.saturating_duration_since(seen));
        let refused = refused.into_iter();
        Self {
            source,
            source_group: one.group,
            open: one.open,
            connections_per_second: (per_second * 100.0).round() / 100.0,
            refused: refused
                .map(|(outcome, count)| (outcome.label(), count))
                .collect(),
            last_seen: seen.and_then(at).map(timestamp),
            to_upstream_bytes: one.to_upstream,
            to_downstream_bytes: one.to_downstream,
            oldest_ms: one.oldest.map(|oldest| clock::millis(oldest.elapsed())),
            seen,
        }
    }

    fn compare(&self, other: &Self, order: SourceOrder) -> Ordering {
        let refused = |one: &Self| one.refused.values().sum::<u64>();
        let most = match order {
            SourceOrder::Open => other.open.cmp(&self.open),
            SourceOrder::Rate => {
                let rate = |one: &Self| one.connections_per_second;
                rate(other).total_cmp(&rate(self))
            }
            SourceOrder::Refused => refused(other).cmp(&refused(self)),
            SourceOrder::Seen => other.seen.cmp(&self.seen),
        };
        most.then_with(|| other.open.cmp(&self.open))
            .then_with(|| self.source.cmp(&other.source))
    }
}

impl SourcesDump {
    fn new(list: ConnectionList, top: usize, order: SourceOrder) -> Self {
        let now = Instant::now();
        let uses = list.sources.into_iter();
        let mut sources: Vec<TopSource> = uses
            .map(|(source, one)| TopSource::new(source, one, now))
            .collect();
        sources.sort_unstable_by(|one, other| one.compare(other, order));
        let sources_open = sources.iter().filter(|one| one.open > 0).count();
        sources.truncate(top);
        Self {
            open: list.matched,
            sources_open,
            connections_not_booked: list.connections_without_page,
            unanswered_workers: list.unanswered_workers,
            sources,
        }
    }
}

/// `GET /sources`.
pub(super) async fn top(
    State(shared): State<AdminState>,
    parameters: Result<Query<SourceParameters>, QueryRejection>,
) -> Response {
    let parameters = match parameters {
        Ok(Query(parameters)) => parameters,
        Err(error) => return bad_request(&error.body_text()),
    };
    let top = match parameters.top.as_deref().map(str::parse) {
        None => TOP,
        Some(Ok(top)) if top <= MOST_SHOWN => top,
        Some(_) => return bad_request(&format!("`top` is a number up to {MOST_SHOWN}")),
    };
    let order = match parameters.sort.as_deref() {
        None | Some("open") => SourceOrder::Open,
        Some("rate") => SourceOrder::Rate,
        Some("refused") => SourceOrder::Refused,
        Some("seen") => SourceOrder::Seen,
        Some(_) => return bad_request("`sort` is open, rate, refused or seen"),
    };
    let query = ConnectionQuery {
        filter: ConnectionFilter {
            group: parameters.group,
            listener: parameters.listener,
            ..ConnectionFilter::default()
        },
        order: ConnectionOrder::Age,
        limit: 0,
        act: ConnectionAct::Show,
        sources: true,
        at: Instant::now(),
    };
    let (list, turn) = ask_workers(&shared, query).await;
    let write = move || {
        let _turn = turn;
        dump::to_json(&SourcesDump::new(list, top, order))
    };
    shared.renderer.render_alone(JSON, write).await
}
