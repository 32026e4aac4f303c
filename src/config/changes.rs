//! The differences between two configs, in a few words for the log.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;

use super::checked::Config;

/// The number of names that one part of the text has.
const NAMES: usize = 5;

/// The names of one kind of thing that differ, in the file's order.
#[derive(Debug, Default)]
struct Changed {
    added: Vec<String>,
    altered: Vec<String>,
    removed: Vec<String>,
}

impl Config {
    /// The differences from `before` to this config, each as a few words: `+1 route (new.example)`,
    /// `~2 upstreams (a, b)`, `-1 listener (old)`, `~limits`. Each names at most five things. Without
    /// `before`, everything with a name is new.
    pub fn changes_since(&self, before: Option<&Self>) -> Vec<String> {
        let listeners = |config: &Self| config.listeners.clone();
        let listener = changed(
            &before.map(listeners).unwrap_or_default(),
            &listeners(self),
            |one| one.name.clone(),
            |before, after| before.has_policy_of(after),
        );
        let routes = |config: &Self| {
            let listeners = config.listeners.iter();
            let with_name =
                listeners.flat_map(|one| one.routes.iter().map(|route| (one.name.clone(), route)));
            with_name.collect::<Vec<_>>()
        };
        let route = changed(
            &before.map(routes).unwrap_or_default(),
            &routes(self),
            |(listener, route)| OfListener(listener.clone(), route.name.clone()),
            |before, after| before.1 == after.1,
        );
        let upstreams = |config: &Self| {
            let upstreams = config.upstreams.iter();
            let upstreams = upstreams.map(|(name, one)| (name.clone(), one.clone()));
            upstreams.collect::<Vec<_>>()
        };
        let upstream = changed(
            &before.map(upstreams).unwrap_or_default(),
            &upstreams(self),
            |(name, _)| name.clone(),
            |before, after| before.1 == after.1,
        );
        let groups = |config: &Self| config.sources.0.clone();
        let group = changed(
            &before.map(groups).unwrap_or_default(),
            &groups(self),
            |one| one.name.clone(),
            |before, after| before == after,
        );
        let named = [
            ("listener", listener),
            ("route", route),
            ("upstream", upstream),
            ("source group", group),
        ];
        let mut words: Vec<String> = named
            .iter()
            .flat_map(|(what, one)| one.words(what))
            .collect();
        if let Some(before) = before {
            words.extend(self.other_keys(before).map(|key| format!("~{key}")));
        }
        words
    }

    /// The keys of the whole process that differ.
    fn other_keys(&self, before: &Self) -> impl Iterator<Item = &'static str> {
        // Without `..`: a new key is named here, or has names of its own.
        let Self {
            workers,
            zone,
            sources: _,
            listeners: _,
            upstreams: _,
            kubernetes,
            resolver,
            limits,
            drain,
            takeover,
            access_log,
            log,
            hellos,
            admin,
            status,
            metrics,
            metric_endpoints,
            metric_routes_from_zero,
            metric_istio,
        } = self;
        let keys = [
            ("workers", *workers != before.workers),
            ("zone", *zone != before.zone),
            ("kubernetes", *kubernetes != before.kubernetes),
            ("resolver", *resolver != before.resolver),
            ("limits", *limits != before.limits),
            ("drain", *drain != before.drain),
            ("takeover", *takeover != before.takeover),
            ("access_log", *access_log != before.access_log),
            ("log", *log != before.log),
            ("hellos", *hellos != before.hellos),
            ("admin", *admin != before.admin),
            ("status", *status != before.status),
            (
                "metrics",
                *metrics != before.metrics
                    || *metric_endpoints != before.metric_endpoints
                    || *metric_routes_from_zero != before.metric_routes_from_zero
                    || *metric_istio != before.metric_istio,
            ),
        ];
        let changed = keys.into_iter().filter(|(_, changed)| *changed);
        changed.map(|(key, _)| key)
    }
}

/// A name within a listener. It is shown without the listener.
#[derive(PartialEq, Eq, Hash)]
struct OfListener<L, N>(L, N);

impl<L, N: Display> Display for OfListener<L, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

fn changed<T, K: Eq + Hash + Display>(
    before: &[T],
    after: &[T],
    key: impl Fn(&T) -> K,
    same: impl Fn(&T, &T) -> bool,
) -> Changed {
    let mut changed = Changed::default();
    let old: HashMap<K, &T> = before.iter().map(|one| (key(one), one)).collect();
    let mut kept = HashSet::with_capacity(after.len());
    for one in after {
        let name = key(one);
        match old.get(&name) {
            None => changed.added.push(name.to_string()),
            Some(before) if !same(before, one) => changed.altered.push(name.to_string()),
            Some(_) => {}
        }
        kept.insert(name);
    }
    let gone = before.iter().map(key).filter(|name| !kept.contains(name));
    changed.removed = gone.map(|name| name.to_string()).collect();
    changed
}

impl Changed {
    fn words(&self, what: &'static str) -> impl Iterator<Item = String> {
        let kinds = [
            ('+', &self.added),
            ('~', &self.altered),
            ('-', &self.removed),
        ];
        let kinds = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        kinds.map(move |(sign, names)| {
            let plural = if names.len() == 1 { "" } else { "s" };
            let shown = names.iter().take(NAMES).map(String::as_str);
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = match names.len().saturating_sub(NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{sign}{} {what}{plural} ({shown}{more})", names.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "a test").unwrap()
    }

    const FIRST: &str = "
sources: [{ name: alpha, cidrs: [10.0.0.0/8] }]
listeners:
  - name: east
    bind: '127.0.0.1:1'
    routes:
      - { sni: a.example, alpn: any, upstream: a }
      - { sni: b.example, alpn: any, upstream: a }
upstreams: { a: { endpoints: ['127.0.0.1:9'] }, b: { endpoints: ['127.0.0.1:9'] } }
";

    #[test]
    fn the_first_config_is_all_new() {
        let words = config(FIRST).changes_since(None);
        let expected = [
            "+1 listener (east)",
            "+2 routes (a.example, b.example)",
            "+2 upstreams (a, b)",
            "+1 source group (alpha)",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn each_difference_is_named_once() {
        let first = config(FIRST);
        for (from, to, expected) in [
            ("", "", &[][..]),
            (
                "sni: b.example",
                "sni: c.example",
                &["+1 route (c.example)", "-1 route (b.example)"],
            ),
            (
                "alpn: any, upstream: a }",
                "alpn: any, upstream: b }",
                &["~2 routes (a.example, b.example)"],
            ),
            (
                "name: east",
                "name: west",
                &[
                    "+1 listener (west)",
                    "-1 listener (east)",
                    "+2 routes (a.example, b.example)",
                    "-2 routes (a.example, b.example)",
                ],
            ),
            (
                "bind: '127.0.0.1:1'",
                "bind: '127.0.0.1:2'",
                &["~1 listener (east)"],
            ),
            (
                "b: { endpoints: ['127.0.0.1:9']",
                "b: { endpoints: ['127.0.0.1:8']",
                &["~1 upstream (b)"],
            ),
            ("10.0.0.0/8", "10.0.0.0/9", &["~1 source group (alpha)"]),
            ("sources:", "drain: { window: 1s }\nsources:", &["~drain"]),
            (
                "sources:",
                "metrics: { endpoints: 7 }\nsources:",
                &["~metrics"],
            ),
            (
                "sources:",
                "metrics: { routes_from_zero: 7 }\nsources:",
                &["~metrics"],
            ),
            (
                "sources:",
                "metrics: { istio: { services: 7 } }\nsources:",
                &["~metrics"],
            ),
            ("sources:", "hellos: { keep: 7 }\nsources:", &["~hellos"]),
        ] {
            let second = config(&FIRST.replace(from, to));
            assert_eq!(second.changes_since(Some(&first)), expected, "{to}");
        }
    }

    #[test]
    fn many_names_are_counted() {
        let route = |number: usize| format!("{{ sni: n{number}.example, alpn: any, upstream: a }}");
        let routes: Vec<String> = (0..9).map(route).collect();
        let first = "{ sni: b.example, alpn: any, upstream: a }";
        let second = FIRST.replace(
            &format!("- {first}"),
            &format!("- {}", routes.join("\n      - ")),
        );
        let words = config(&second).changes_since(Some(&config(FIRST)));
        let names = "n0.example, n1.example, n2.example, n3.example, n4.example and 4 more";
        assert_eq!(
            words,
            [
                format!("+9 routes ({names})"),
                "-1 route (b.example)".to_owned()
            ]
        );
    }
}
