//! The troubles of calls: routes, endpoints and refusals that lose them.

use std::collections::{BTreeMap, HashMap};

use super::TroubleFacts;
use super::words::{callers, clock, command, explain, outcome_of, sides, since};
use crate::admin::overview::history::float;
use crate::admin::overview::judge::urgency;
use crate::admin::overview::rows::is_ready;
use crate::admin::overview::traffic::most_common;
use crate::admin::overview::{
    EndpointRow, FailureRow, OutcomeRow, RouteRow, Trouble, TroubleLevel,
};
use crate::outcome::Outcome;

/// The share of refusals before a route from which on they are told, and from which on they are a failure.
const REFUSED: [f64; 2] = [0.05, 0.5];

/// The failures of each route, by listener and route.
type FailuresOf<'a> = HashMap<(&'a str, &'a str), Vec<&'a FailureRow>>;

/// Routes and upstreams that fail. Endpoints are named where others of their upstream work, otherwise the route is.
pub(super) fn of_routes(facts: &TroubleFacts<'_>) -> Vec<Trouble> {
    let mut failures: FailuresOf<'_> = HashMap::new();
    for failure in facts.failures {
        if let Some(route) = &failure.route {
            let key = (&*failure.listener, &**route);
            failures.entry(key).or_default().push(failure);
        }
    }
    let mut upstreams: BTreeMap<&str, Vec<&EndpointRow>> = BTreeMap::new();
    for endpoint in facts.endpoints {
        upstreams
            .entry(&endpoint.upstream)
            .or_default()
            .push(endpoint);
    }
    let mut routes_of: HashMap<&str, Vec<&RouteRow>> = HashMap::new();
    for route in facts.routes {
        for upstream in &route.upstreams {
            routes_of.entry(upstream).or_default().push(route);
        }
    }
    let mut troubles = Vec::new();
    let mut unready = Vec::new();
    for (upstream, endpoints) in &upstreams {
        let routes = routes_of.get(upstream).map_or(&[][..], Vec::as_slice);
        if let Some(trouble) = of_upstream(upstream, endpoints, routes) {
            troubles.push(trouble);
        }
    }
    for route in facts.routes {
        let some_work = route.upstreams.iter().any(|upstream| {
            let endpoints = upstreams.get(&**upstream).map_or(&[][..], Vec::as_slice);
            parts_of(endpoints).is_some_and(|(bad, good)| !bad.is_empty() && !good.is_empty())
        });
        match &*route.state {
            "failing" if !some_work => {
                let key = (&*route.listener, &*route.route);
                let failures = failures.get(&key).map_or(&[][..], Vec::as_slice);
                troubles.push(of_route(route, failures, facts.minute_ends));
            }
            "unready" if !facts.is_silent(route) => unready.push(route),
            _ => {}
        }
    }
    troubles.extend(of_unready(&unready));
    troubles
}

/// The endpoints that do not work, and those that do. `None` without any.
fn parts_of<'a>(
    endpoints: &[&'a EndpointRow],
) -> Option<(Vec<&'a EndpointRow>, Vec<&'a EndpointRow>)> {
    let known = endpoints.iter().filter(|row| row.address.is_some());
    let known: Vec<&EndpointRow> = known.copied().collect();
    let is_bad = |row: &EndpointRow| {
        row.state == "failing" || ["ejected", "unhealthy"].contains(&&*row.state)
    };
    let (bad, rest): (Vec<_>, Vec<_>) = known.into_iter().partition(|row| is_bad(row));
    let good: Vec<_> = rest
        .iter()
        .copied()
        .filter(|row| is_ready(&row.state))
        .collect();
    (!bad.is_empty() || !rest.is_empty()).then_some((bad, good))
}

/// The trouble of an upstream of which some endpoints do not work.
fn of_upstream(
    upstream: &str,
    endpoints: &[&EndpointRow],
    routes: &[&RouteRow],
) -> Option<Trouble> {
    let (bad, good) = parts_of(endpoints)?;
    if bad.is_empty() || good.is_empty() {
        return None;
    }
    let first = bad.iter().min_by_key(|row| urgency(&row.state))?;
    let address = first.address.map(|address| address.to_string());
    let address = address.unwrap_or_default();
    let lost: f64 = routes.iter().map(|route| route.failing_per_second).sum();
    let is_failing = bad.iter().any(|row| row.state == "failing");
    let (count, all) = (bad.len(), endpoints.len());
    let (level, title) = match (is_failing, count) {
        (true, 1) => (
            TroubleLevel::Failing,
            format!("One of {all} endpoints of {upstream} fails calls"),
        ),
        (true, _) => (
            TroubleLevel::Failing,
            format!("{count} of {all} endpoints of {upstream} fail calls"),
        ),
        (false, 1) => (
            TroubleLevel::Contained,
            format!("{address} of {upstream} is {}", first.state),
        ),
        (false, _) => (
            TroubleLevel::Contained,
            format!("{count} of {all} endpoints of {upstream} are out"),
        ),
    };
    let sentence = match good.len() {
        1 => "The other one serves.".to_owned(),
        others => format!("The other {others} serve."),
    };
    let since = bad.iter().filter_map(|row| row.last_failure.clone()).max();
    let sentence = match (&since, &first.last_outcome) {
        (Some(at), Some(outcome)) => {
            format!(
                "{sentence} The last failure was {outcome} at {}.",
                clock(at)
            )
        }
        _ => sentence,
    };
    let trouble = Trouble::new(level, title, sentence);
    Some(Trouble {
        lost_per_second: Some(lost),
        search: Some(address),
        ..trouble
            .details(bad.iter().map(|row| said_of(row)))
            .command(command("strait upstreams", &[("", upstream)]))
    })
}

/// An endpoint in one line.
fn said_of(row: &EndpointRow) -> String {
    let address = row.address.map(|address| address.to_string());
    let mut said = format!("{} {}", address.unwrap_or_default(), row.state);
    if let Some(left) = row.ejection_left_ms {
        said += &format!(" for {} s more", left.div_ceil(1000));
    }
    let counts = [
        (row.failed_connects, "connects that failed"),
        (row.failed_before_reply, "ends before a reply"),
        (row.refused_handshakes, "refused handshakes"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    said += &format!("; {} connections made", row.connections);
    for count in counts {
        said += ", ";
        said += &count;
    }
    if let Some(reason) = &row.reason {
        said += &format!("; {reason}");
    }
    said
}

/// The trouble of a route on which most calls fail.
fn of_route(route: &RouteRow, failures: &[&FailureRow], minute_ends: &[String]) -> Trouble {
    let outcomes = failures.iter().take(32).map(|failure| &*failure.outcome);
    let outcome = most_common(outcomes);
    let newest = failures
        .iter()
        .find(|failure| Some(&failure.outcome) == outcome.as_ref());
    let share = route.failing_share.unwrap_or(1.0);
    let calls = match share > 0.995 {
        true => "Every call".to_owned(),
        false => format!("{:.0} % of calls", share * 100.0),
    };
    let reason = outcome.as_deref();
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let title = match share > 0.995 {
        true => format!("{calls} to {} fails{reason}", route.route),
        false => format!("{calls} to {} fail{reason}", route.route),
    };
    let mut sentence = String::new();
    if let Some(detail) = newest.and_then(|failure| failure.detail.as_deref()) {
        sentence += &format!("{detail}. ");
    } else if let Some(reason) = &route.empty_because {
        sentence += &format!("{reason}. ");
    }
    sentence += &match (route.ready_endpoints, route.endpoints) {
        (_, 0) => "No endpoint is known.".to_owned(),
        (ready, 1) => format!("{ready} of 1 endpoint is ready."),
        (ready, all) => format!("{ready} of {all} endpoints are ready."),
    };
    if let Some(sides) = sides(failures) {
        sentence += &format!(" {sides}");
    }
    sentence += &callers(failures);
    let known = outcome.as_deref().and_then(outcome_of);
    let look_at = known.map(Outcome::look_at).filter(|text| *text != "-");
    Trouble {
        lost_per_second: Some(route.failing_per_second),
        since: since(&route.failing_minutes, minute_ends),
        search: Some(route.route.clone()),
        command: Some(explain(newest.copied(), &route.route)),
        ..Trouble::new(TroubleLevel::Failing, title, sentence).details(
            look_at
                .into_iter()
                .map(|text| format!("Look at: {}", text.replace('`', ""))),
        )
    }
}

/// Routes without an endpoint to which nobody has called lately.
fn of_unready(routes: &[&RouteRow]) -> Option<Trouble> {
    let first = routes.first()?;
    let title = match routes.len() {
        1 => format!("{} has no endpoint that is ready", first.route),
        many => format!("{many} routes have no endpoint that is ready"),
    };
    let said = |route: &&RouteRow| {
        let reason = route.empty_because.as_deref();
        let out = "its endpoints are drained, ejected or unhealthy";
        let reason = reason.unwrap_or(if route.endpoints == 0 {
            "none is known"
        } else {
            out
        });
        format!("{}: {reason}", route.route)
    };
    let sentence = "Nobody has called them in the last minutes; a call would end no_endpoint.";
    let trouble = Trouble::new(TroubleLevel::Note, title, sentence);
    Some(
        trouble
            .details(routes.iter().map(said))
            .command("strait upstreams"),
    )
}

/// Connections that are refused before they have a route, if they are many.
pub(super) fn of_refusals(facts: &TroubleFacts<'_>) -> Option<Trouble> {
    let refused = facts.outcomes.iter().filter(|row| row.class == "refused");
    let of_routes = [Outcome::OverLimit.label(), Outcome::Overloaded.label()];
    let refused = refused.filter(|row| !of_routes.contains(&&*row.outcome));
    let refused: Vec<&OutcomeRow> = refused.filter(|row| row.now > 0).collect();
    let most = refused.iter().max_by_key(|row| row.now)?;
    let count: u64 = refused.iter().map(|row| row.now).sum();
    let lost = float(count) / facts.traffic.now_seconds.max(1.0);
    let share = lost / facts.traffic.new_per_second.now.unwrap_or(0.0).max(lost);
    let level = match share {
        share if count < 3 || share < REFUSED[0] => return None,
        share if share < REFUSED[1] => TroubleLevel::Note,
        _ => TroubleLevel::Failing,
    };
    let of_outcome = |failure: &&FailureRow| failure.outcome == most.outcome;
    let newest = facts.failures.iter().find(of_outcome);
    let detail = newest.and_then(|failure| failure.detail.as_deref());
    let mut sentence = most.meaning.replace('`', "");
    if let Some(detail) = detail {
        sentence += &format!(" The last one: {detail}.");
    }
    let failures: Vec<&FailureRow> = facts.failures.iter().filter(of_outcome).collect();
    sentence += &callers(&failures);
    let title = format!(
        "{:.0} % of connections are refused before a route: {}",
        share * 100.0,
        most.outcome
    );
    let look_at = outcome_of(&most.outcome).map(Outcome::look_at);
    let look_at = look_at.map(|text| format!("Look at: {}", text.replace('`', "")));
    Some(Trouble {
        lost_per_second: Some(lost),
        search: Some(most.outcome.clone()),
        command: Some(explain(newest, "")),
        ..Trouble::new(level, title, sentence).details(look_at)
    })
}
