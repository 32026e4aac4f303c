//! The status page as text: ASCII, at most 100 columns, for `curl` and for a terminal of any kind. Only a long word
//! of a command takes more: a part of it would be another command.

mod words;

use super::numbers::{bytes, clock, count, millis, percent, rate, size, span};
use super::overview::view::View;
use super::overview::{
    ConnectionRow, EndpointRow, FailureRow, LimitRow, Overview, RouteRow, RowPage, SlowConnectRow,
    Spans, Trouble, limit_amount, limit_in_words,
};
use super::page::{exec_in_pod, tallied, tally};
use super::plain;
use words::{cell, command_lines, fitting, right, wrapped};

/// The longest line.
const COLUMNS: usize = 100;
/// Slow connects that are shown.
pub(super) const SLOW_CONNECTS: usize = 10;

/// The overview as text.
pub(super) fn render(overview: &Overview, view: &View) -> String {
    let mut text = TextPage {
        lines: Vec::new(),
        rows: view.rows,
        now: &overview.identity.now,
    };
    text.head(overview);
    text.troubles(overview);
    text.traffic(overview);
    text.outcomes(overview);
    text.routes(&overview.routes);
    text.endpoints(&overview.endpoints);
    text.limits(&overview.limits);
    text.slow_connects(&overview.slow_connects);
    text.failures(&overview.failures);
    text.connections(&overview.connections, &overview.unanswered_workers);
    text.rest(overview);
    text.lines.join("\n") + "\n"
}

struct TextPage<'a> {
    lines: Vec<String>,
    rows: usize,
    now: &'a str,
}

impl TextPage<'_> {
    fn line(&mut self, line: impl Into<String>) {
        let line: String = line.into();
        let line = fitting(line.trim_end(), COLUMNS);
        self.lines.push(line);
    }

    fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrapped(text, COLUMNS - indent) {
            self.line(format!("{:indent$}{line}", ""));
        }
    }

    /// The heading of a table with the position of its rows. Returns their number.
    fn heading<T>(&mut self, title: &str, rows: &RowPage<T>, order: &str) -> usize {
        self.heading_of(title, rows, self.rows, order)
    }

    /// The same for a table with at most `most` rows.
    fn heading_of<T>(&mut self, title: &str, rows: &RowPage<T>, most: usize, order: &str) -> usize {
        let shown = rows.rows.len().min(most);
        self.line("");
        let position = match shown {
            0 => "none".to_owned(),
            shown => format!(
                "{} to {} of {}",
                rows.first + 1,
                rows.first + shown,
                rows.matched
            ),
        };
        let found = match rows.matched == rows.all {
            true => String::new(),
            false => format!(" found among {}", rows.all),
        };
        let order = if shown > 1 { order } else { "" };
        self.line(format!("{title}, {position}{found}{order}"));
        shown
    }

    fn head(&mut self, overview: &Overview) {
        let identity = &overview.identity;
        let place = [identity.pod.as_deref(), identity.zone.as_deref()];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        let commit = identity.commit.get(..9).unwrap_or(&identity.commit);
        let now = identity
            .now
            .get(..19)
            .unwrap_or(&identity.now)
            .replace('T', " ");
        let (version, place) = (&identity.version, place.join("  "));
        self.line(format!("strait {version} ({commit})  {now} UTC  {place}"));
        let tally: Vec<String> = tally(overview)
            .into_iter()
            .map(|(level, count)| tallied(level, count))
            .collect();
        let troubles = match tally.is_empty() {
            true => "no troubles".to_owned(),
            false => tally.join(", "),
        };
        self.line(format!("{}; {troubles}", overview.state.words));
        let node = identity.node.as_deref().unwrap_or("unknown");
        let up = span(identity.uptime_seconds.saturating_mul(1000));
        self.line(format!(
            "node {node}; up {up}; {} workers",
            identity.workers
        ));
        let configuration = &overview.configuration;
        let generation = configuration.generation.unwrap_or(0);
        let hash = configuration
            .sha256
            .as_deref()
            .and_then(|hash| hash.get(..8));
        let hash = hash.map(|hash| format!(" ({hash})")).unwrap_or_default();
        let loaded = configuration.loaded.as_deref().unwrap_or("not yet");
        let loaded = clock(loaded, self.now);
        let refused = match configuration.refused {
            Some(_) => "; a newer file is refused",
            None => "",
        };
        self.line(format!(
            "generation {generation}{hash}, loaded {loaded}{refused}"
        ));
    }

    fn troubles(&mut self, overview: &Overview) {
        let troubles = &overview.troubles;
        self.line("");
        if troubles.all == 0 {
            self.line("TROUBLES none");
            return;
        }
        self.line("TROUBLES");
        for trouble in &troubles.rows {
            self.trouble(trouble);
        }
        let more = troubles.matched.saturating_sub(troubles.rows.len());
        if more > 0 {
            self.line(format!("  and {more} more: ?rows=1000"));
        }
        self.line("  The commands run in the pod:");
        self.line(format!("    {}strait ...", exec_in_pod(&overview.identity)));
    }

    fn trouble(&mut self, trouble: &Trouble) {
        let lost = match trouble.lost_per_second {
            Some(lost) => format!("{}/s lost", rate(lost)),
            None => "loss unknown".to_owned(),
        };
        let since = trouble.since.as_deref();
        let since = since.map(|since| format!("since {}", clock(since, self.now)));
        let mut left = [Some(trouble.level.words().to_owned()), Some(lost), since]
            .into_iter()
            .flatten();
        let mut said = wrapped(&trouble.title, COLUMNS - 18);
        said.extend(wrapped(&trouble.sentence, COLUMNS - 18));
        for detail in &trouble.details {
            let lines = wrapped(detail, COLUMNS - 20).into_iter();
            let signs = std::iter::once("- ").chain(std::iter::repeat("  "));
            said.extend(signs.zip(lines).map(|(sign, line)| format!("{sign}{line}")));
        }
        for line in said {
            let left = left.next().unwrap_or_default();
            self.line(format!("  {}{line}", cell(&left, 16)));
        }
        for left in left {
            self.line(format!("  {left}"));
        }
        if let Some(command) = &trouble.command {
            let lines = command_lines(command, COLUMNS - 6);
            self.lines.push(format!("    {}", lines.join(" \\\n    ")));
        }
    }

    fn traffic(&mut self, overview: &Overview) {
        let traffic = &overview.traffic;
        self.line("");
        if traffic.connections == 0 {
            let probes = count(traffic.probes);
            self.line(format!(
                "TRAFFIC no connection has come yet; {probes} probes"
            ));
            return;
        }
        let head = ["now", "10 min", "60 min", "most"].map(|head| right(head, 12));
        self.line(format!("{}{}", cell("TRAFFIC", 30), head.concat()));
        type Shown = fn(f64) -> String;
        let whole: Shown = |number| rate(number.round()).replace(".0", "");
        let lines: [(&str, &Spans, Shown); 7] = [
            ("new connections/s", &traffic.new_per_second, rate),
            ("open", &traffic.open, whole),
            ("to downstream/s", &traffic.to_downstream_per_second, bytes),
            ("to upstream/s", &traffic.to_upstream_per_second, bytes),
            ("connect p99, ms", &traffic.connect_p99_ms, millis),
            ("failing/s", &traffic.failing_per_second, rate),
            ("refused/s", &traffic.refused_per_second, rate),
        ];
        for (name, spans, shown) in lines {
            let values = [spans.now, spans.ten_minutes, spans.hour, spans.most];
            let values = values.map(|value| right(&value.map_or("-".to_owned(), shown), 12));
            self.line(format!("  {}{}", cell(name, 28), values.concat()));
        }
        let (all, failed) = (count(traffic.connections), count(traffic.failed));
        self.line(format!(
            "  since the start {all} connections, of which {failed} failed"
        ));
    }

    fn outcomes(&mut self, overview: &Overview) {
        let bad = overview.outcomes.iter().filter(|row| row.class != "well");
        let bad: Vec<_> = bad.collect();
        if bad.is_empty() {
            return;
        }
        self.line("");
        let head = ["now", "10 min", "60 min", "total"].map(|head| right(head, 9));
        let title = cell("OUTCOMES that did not end well", 38);
        self.line(format!("{title}{}  where", head.concat()));
        for row in bad {
            let shown = |number: Option<u64>| number.map_or("-".to_owned(), count);
            let numbers = [Some(row.now), row.ten_minutes, row.hour, Some(row.total)];
            let numbers = numbers.map(|number| right(&shown(number), 9)).concat();
            let place = fitting(row.place.as_deref().unwrap_or("-"), 24);
            let (name, flag) = (cell(&row.outcome, 29), cell(&row.flag, 7));
            self.line(format!("  {name}{flag}{numbers}  {place}"));
        }
    }

    fn routes(&mut self, routes: &RowPage<RouteRow>) {
        let shown = self.heading("ROUTES", routes, ", troubled first");
        if shown == 0 {
            return;
        }
        self.line(
            "           route                            ready   new/s failing    open        up      down p99 ms",
        );
        for row in routes.rows.iter().take(shown) {
            let ready = format!("{}/{}", row.ready_endpoints, row.endpoints);
            let failing = row.failing_share.map_or("-".to_owned(), percent);
            let p99 = row.connect_p99_ms.map_or("-".to_owned(), millis);
            let state = cell(&row.state, 9);
            let route = cell(&row.route, 29);
            let columns = [
                right(&ready, 9),
                right(&rate(row.new_per_second), 8),
                right(&failing, 8),
                right(&count(row.open), 8),
                right(&bytes(row.to_upstream_per_second), 10),
                right(&bytes(row.to_downstream_per_second), 10),
                right(&p99, 7),
            ];
            self.line(format!("  {state}{route}{}", columns.concat()));
        }
    }

    fn endpoints(&mut self, endpoints: &RowPage<EndpointRow>) {
        let shown = self.heading("ENDPOINTS", endpoints, ", troubled first");
        if shown == 0 {
            return;
        }
        self.line(
            "  state     endpoint              upstream             active    total  fail reset refused  last",
        );
        for row in endpoints.rows.iter().take(shown) {
            let address = row.address.map(|address| address.to_string());
            let address = address.or_else(|| row.reason.clone());
            let last = row.last_failure.as_deref();
            let last = last.map_or("none".to_owned(), |at| clock(at, self.now));
            let columns = [
                right(&count(row.active), 7),
                right(&row.connections.to_string(), 9),
                right(&row.failed_connects.to_string(), 6),
                right(&row.failed_before_reply.to_string(), 6),
                right(&row.refused_handshakes.to_string(), 8),
            ];
            let (state, upstream) = (cell(&row.state, 10), cell(&row.upstream, 20));
            let address = cell(address.as_deref().unwrap_or("no endpoint"), 22);
            // The time of today, or the date.
            let last = last.get(2..10).unwrap_or(&last);
            self.line(format!(
                "  {state}{address}{upstream}{}  {last}",
                columns.concat()
            ));
        }
    }

    fn limits(&mut self, limits: &RowPage<LimitRow>) {
        let shown = self.heading("LIMITS", limits, ", fullest first");
        for row in limits.rows.iter().take(shown) {
            let [used, most] = [row.used, row.most].map(|amount| limit_amount(row, amount));
            let used = format!("{used} of {most}");
            let filled = (0..18).filter(|step| f64::from(*step) < row.share * 18.0);
            let bar = "#".repeat(filled.count());
            let near = if row.share >= super::overview::NEAR {
                "  near"
            } else {
                ""
            };
            let name = cell(&limit_in_words(row), 40);
            let share = right(&percent(row.share), 7);
            self.line(format!(
                "  {name}{}  [{bar:<18}]{share}{near}",
                right(&used, 22)
            ));
        }
    }

    fn slow_connects(&mut self, slow: &RowPage<SlowConnectRow>) {
        if slow.all == 0 {
            return;
        }
        let title = "SLOWEST CONNECTS of the last 10 minutes";
        let most = self.rows.min(SLOW_CONNECTS);
        let shown = self.heading_of(title, slow, most, ", slowest first");
        for row in slow.rows.iter().take(shown) {
            let took = right(&format!("{} ms", millis(row.took_ms)), 12);
            let endpoint = row.endpoint.map(|endpoint| endpoint.to_string());
            let endpoint = cell(&endpoint.unwrap_or_default(), 23);
            let (upstream, zone) = (
                cell(&row.upstream, 26),
                cell(row.zone.as_deref().unwrap_or("-"), 8),
            );
            let hint = row.hint.as_deref().unwrap_or_default();
            let at = cell(&clock(&row.at, self.now), 13);
            self.line(format!("  {at}{took}  {endpoint}{upstream}{zone}"));
            if !hint.is_empty() {
                self.paragraph(6, &format!("inferred: {hint}"));
            }
        }
    }

    fn failures(&mut self, failures: &RowPage<FailureRow>) {
        let shown = self.heading("LAST FAILURES", failures, ", newest first");
        for row in failures.rows.iter().take(shown) {
            let at = clock(&row.at, self.now);
            let source = row.source.map(|source| source.to_string());
            let (outcome, source) = (
                cell(&row.outcome, 28),
                cell(&source.unwrap_or_default(), 22),
            );
            let (group, by) = (plain(&row.group), &row.ended_by);
            let alike = match row.alike {
                0 | 1 => String::new(),
                many => format!(", {many} alike"),
            };
            self.line(format!("  {at} {outcome} {source} {group}  by {by}{alike}"));
            let name = row.server_name.as_deref().unwrap_or("no name read");
            let endpoint = row.endpoint.map(|endpoint| format!(" -> {endpoint}"));
            self.paragraph(6, &format!("{name}{}", endpoint.unwrap_or_default()));
            if let Some(detail) = &row.detail {
                self.paragraph(6, &format!("{}: {detail}", row.confidence));
            }
        }
    }

    fn connections(&mut self, connections: &RowPage<ConnectionRow>, unanswered: &[usize]) {
        let shown = self.heading("CONNECTIONS", connections, " open, most bytes first");
        if shown > 0 {
            self.line(
                "      number  source                 group     endpoint                   age       up     down  state",
            );
        }
        for row in connections.rows.iter().take(shown) {
            let [source, endpoint] = [row.source, row.endpoint]
                .map(|address| address.map_or("-".to_owned(), |address| address.to_string()));
            let number = right(&row.connection.to_string(), 10);
            let columns = [
                cell(&source, 23),
                cell(&row.group, 10),
                cell(&endpoint, 18),
                right(&span(row.age_ms), 12),
                right(&size(row.to_upstream_bytes), 9),
                right(&size(row.to_downstream_bytes), 9),
            ];
            self.line(format!("  {number}  {}  {}", columns.concat(), row.state));
        }
        if !unanswered.is_empty() {
            let silent: Vec<String> = unanswered.iter().map(usize::to_string).collect();
            let silent = silent.join(", ");
            self.paragraph(
                2,
                &format!("connections are missing here: these workers have not answered: {silent}"),
            );
        }
    }

    fn rest(&mut self, overview: &Overview) {
        let (configuration, state) = (&overview.configuration, &overview.state);
        self.line("");
        if let Some(kubernetes) = &configuration.kubernetes {
            let sync = if kubernetes.in_sync {
                "in sync"
            } else {
                "not in sync"
            };
            let not_watched: Vec<&str> = kubernetes
                .not_watched
                .iter()
                .map(|kind| kind.kind.as_str())
                .collect();
            let not_watched = match not_watched.is_empty() {
                true => String::new(),
                false => format!("; not watched: {}", not_watched.join(", ")),
            };
            let unrouted = kubernetes.unrouted_hosts;
            self.paragraph(
                0,
                &format!("KUBERNETES {sync}{not_watched}; not exported: {unrouted} hosts"),
            );
        }
        let drain = match &state.drain {
            Some(drain) => {
                let left = drain.left_ms.map(|left| format!(", {}", span(left)));
                let connections = count(drain.connections_left);
                format!(
                    "{}: {connections} connections left{}",
                    state.words,
                    left.unwrap_or_default()
                )
            }
            None => format!(
                "not draining; would take {} at most",
                span(
                    state
                        .readiness_delay_ms
                        .saturating_add(state.drain_window_ms)
                )
            ),
        };
        self.line(format!("DRAIN      {drain}"));
        self.line("");
        self.line("More: ?q=TEXT ?group=NAME ?rows=N ?page=N ?sort=KEY, /status /connections /upstreams /sources /help");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::overview::TroubleLevel;

    /// An overview in which every text is as hostile as it can be.
    fn hostile() -> Overview {
        let hostile = || "\u{1b}[31m<script>\u{202e}\u{0}\u{e9}".repeat(20);
        let mut overview = Overview::default();
        overview.identity.pod = Some(hostile());
        overview.identity.zone = Some(hostile());
        overview.state.words = hostile();
        overview.traffic.connections = 3;
        overview.troubles = RowPage {
            all: 2,
            matched: 2,
            first: 0,
            rows: vec![Trouble {
                level: TroubleLevel::Failing,
                title: hostile(),
                sentence: hostile(),
                details: vec![hostile()],
                lost_per_second: Some(1.5),
                since: None,
                command: Some(format!("strait {}", "word ".repeat(40))),
                search: None,
            }],
        };
        let page = |rows: usize| (rows, rows, 0);
        let (all, matched, first) = page(1);
        overview.routes = RowPage {
            all,
            matched,
            first,
            rows: vec![RouteRow {
                route: hostile(),
                state: "failing".to_owned(),
                ..RouteRow::default()
            }],
        };
        overview.failures = RowPage {
            all,
            matched,
            first,
            rows: vec![FailureRow {
                server_name: Some(hostile()),
                detail: Some(hostile()),
                group: hostile(),
                ..FailureRow::default()
            }],
        };
        overview.endpoints = RowPage {
            all,
            matched,
            first,
            rows: vec![EndpointRow {
                upstream: hostile(),
                reason: Some(hostile()),
                ..EndpointRow::default()
            }],
        };
        overview.connections = RowPage {
            all,
            matched,
            first,
            rows: vec![ConnectionRow {
                group: hostile(),
                ..ConnectionRow::default()
            }],
        };
        overview
    }

    #[test]
    fn every_line_is_short_ascii_whatever_the_names_are() {
        for overview in [Overview::default(), hostile()] {
            let text = render(&overview, &View::default());
            for line in text.lines() {
                assert!(line.len() <= COLUMNS, "{} columns: {line}", line.len());
                let shows = |byte: u8| (b' '..=b'~').contains(&byte);
                assert!(line.bytes().all(shows), "{line:?}");
                assert_eq!(line, line.trim_end());
            }
        }
    }

    #[test]
    fn workers_that_have_not_answered_are_told_in_both_forms() {
        let overview = Overview {
            unanswered_workers: vec![0, 2],
            ..Overview::default()
        };
        let view = View::default();
        let text = render(&overview, &view);
        assert!(
            text.contains("connections are missing here: these workers have not answered: 0, 2")
        );
        let page = super::super::page::render(&overview, &view);
        assert!(page.contains("Connections are missing here"));
        assert!(page.contains("None is known."));
        assert!(!page.contains("None is open."));
    }

    #[test]
    fn a_long_command_is_broken_and_not_cut() {
        let text = render(&hostile(), &View::default());
        let lines: Vec<&str> = text.lines().collect();
        let begin = lines
            .iter()
            .position(|line| line.starts_with("    strait word"));
        let begin = begin.unwrap();
        assert!(lines[begin].ends_with(" \\"), "{}", lines[begin]);
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn no_word_of_a_command_is_broken() {
        // A stranger's server name, which must not become an option of its own.
        let name = format!("{}--alpn.{}", "a".repeat(COLUMNS - 6), "b".repeat(100));
        let mut overview = hostile();
        let command = format!("strait explain --live --sni {name} --from 10.0.0.1");
        overview.troubles.rows[0].command = Some(command.clone());
        let text = render(&overview, &View::default());
        let mut lines = text.lines();
        let first = lines.find(|line| line.starts_with("    strait explain"));
        let mut said = first.unwrap().to_owned();
        while let Some(begin) = said.strip_suffix('\\') {
            said = begin.to_owned() + lines.next().unwrap();
        }
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words.join(" "), command);
    }
}
