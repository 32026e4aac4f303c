//! The rules for names and routes once more, written down as plainly as can be: what the program's
//! own normaliser and route table are compared with, by the tests and by the fuzzer.

use std::sync::{Arc, OnceLock};

use strait::config::{Config, ListenerConfig, RouteConfig, RouteMatch, SniPattern};
use strait::limits::Scopes;
use strait::route::RouteTable;
use strait::server_name::ServerName;
use strait::upstream::Upstreams;

/// Asserts that `raw` is a name exactly if
/// `docs/src/internals/hello-policy.md#names` says so, and that it is normalised to
/// what the policy says, once and for all.
pub fn check_normaliser(raw: &[u8]) {
    let parsed = ServerName::parse(raw);
    let expected = normalised(raw);
    let got = parsed.as_ref().ok().map(ServerName::as_str);
    assert_eq!(got, expected.as_deref(), "{}", raw.escape_ascii());
    let Ok(name) = parsed else { return };
    let text = name.as_str();
    let upper = text.to_ascii_uppercase();
    for same in [text, &format!("{text}."), &upper] {
        assert_eq!(ServerName::parse(same.as_bytes()).as_ref(), Ok(&name));
    }
    if let Some(istio) = name.as_name().istio() {
        let plain_port = text.split("_.").nth(1) == Some(&istio.port.to_string());
        let host = ServerName::parse(istio.host.as_bytes());
        if let (Ok(host), true, "outbound") = (host, plain_port, istio.direction) {
            assert_eq!(host.istio_outbound(istio.port, istio.subset), Ok(name));
        }
    }
}

/// "ASCII letters, digits, `-`, `_`, `.`; labels 1..63 not starting or ending with `-`; at most 253;
/// one trailing dot is stripped; lower-cased; last label not all digits".
fn normalised(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?;
    let text = text.strip_suffix('.').unwrap_or(text);
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(letters)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let labels: Vec<&str> = text.split('.').collect();
    let last = labels.last()?;
    let numeric = last.chars().all(|c| c.is_ascii_digit());
    let valid = text.len() <= 253 && labels.iter().all(|label| good(label)) && !numeric;
    valid.then(|| text.to_lowercase())
}

/// A pattern as a config spells it: `*`, `*.NAME` or `NAME`.
pub fn pattern(text: &[u8]) -> Option<SniPattern> {
    match text {
        b"*" => Some(SniPattern::Any),
        [b'*', b'.', name @ ..] => ServerName::parse(name).ok().map(SniPattern::Below),
        name => ServerName::parse(name).ok().map(SniPattern::Exact),
    }
}

/// Asserts that a table of `patterns` gives `asked` the route that reading them one by one gives,
/// and that it reports a conflict exactly if one stands there twice.
pub fn check_table(patterns: &[SniPattern], asked: &ServerName) {
    let twice = |(at, one)| patterns.iter().take(at).any(|before| before == one);
    let ambiguous = patterns.iter().enumerate().any(twice);
    let table = table(patterns);
    assert_eq!(!table.conflicts().is_empty(), ambiguous, "{patterns:?}");
    if ambiguous {
        return;
    }
    let found = table.find(asked).map(|route| route.name.to_string());
    let expected = naive(patterns, asked).map(|position| position.to_string());
    assert_eq!(found, expected, "{asked} among {patterns:?}");
    let decided = table.decide(Some(&asked.as_name()), std::iter::empty());
    let decided = decided.map(|decided| decided.route.name.to_string());
    assert_eq!(decided.ok(), found, "{asked} among {patterns:?}");
}

/// The position of the pattern that takes `asked`: an exact one, else the longest wildcard.
fn naive(patterns: &[SniPattern], asked: &ServerName) -> Option<usize> {
    let asked = asked.as_str();
    let rank = |pattern: &SniPattern| match pattern {
        SniPattern::Exact(name) => (name.as_str() == asked).then_some(usize::MAX),
        SniPattern::OneBelow(_) => None,
        SniPattern::Below(name) => asked
            .ends_with(&format!(".{name}"))
            .then(|| 1 + name.as_str().len()),
        SniPattern::Any => Some(0),
        SniPattern::Absent => None,
    };
    let ranked = patterns.iter().enumerate();
    let ranked = ranked.filter_map(|(position, pattern)| Some((rank(pattern)?, position)));
    ranked.max().map(|(_, position)| position)
}

/// A table whose routes are called by the positions of their patterns.
fn table(patterns: &[SniPattern]) -> RouteTable {
    static BASE: OnceLock<(Config, Upstreams)> = OnceLock::new();
    let (config, upstreams) = BASE.get_or_init(|| {
        let yaml = "
listeners: [{ name: a, bind: '127.0.0.1:0', routes: [{ sni: a, alpn: any, upstream: u }] }]
upstreams: { u: { endpoints: ['127.0.0.1:1'] } }
";
        let config = Config::parse(yaml, "oracle").unwrap();
        let upstreams = Upstreams::default().prepare(&config);
        (config, upstreams)
    });
    let [listener] = config.listeners.as_slice() else {
        panic!("one listener");
    };
    let [base] = listener.routes.own() else {
        panic!("one route");
    };
    let route = |(position, pattern): (usize, &SniPattern)| {
        let mut route = RouteConfig::clone(base);
        route.name = position.to_string().into();
        route.matches = RouteMatch::Sni(pattern.clone());
        Arc::new(route)
    };
    let listener = ListenerConfig {
        routes: patterns.iter().enumerate().map(route).collect(),
        ..ListenerConfig::clone(listener)
    };
    RouteTable::build(&listener, &config.sources, &Scopes::default(), |name| {
        upstreams.get(name).cloned()
    })
}
