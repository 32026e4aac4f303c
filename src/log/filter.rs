//! Log filters, stricter than `tracing` reads them.

use tracing_subscriber::EnvFilter;

use super::LogError;

/// Bytes; a filter is typed by a person.
const MAX_LEN: usize = 1024;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The library that talks to the Kubernetes API. What it warns of, with every attempt, is said by the
/// source once; a filter that names it gets it.
const CLIENT: [&str; 2] = ["kube=", "kube_"];

/// Reads a filter.
///
/// To `tracing` a word alone that is no level is a target, so a mistyped level would silence
/// everything but a module of that name. Here a target always takes `=level`.
pub(super) fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let refuse = |why: String| Err(LogError::Filter(why));
    if filter.len() > MAX_LEN {
        return refuse(format!("longer than {MAX_LEN} bytes"));
    }
    // What a directive with a span may be is left to `tracing`.
    if !filter.contains('[') {
        for directive in filter.split(',') {
            let is_level = |word: &str| LEVELS.iter().any(|l| l.eq_ignore_ascii_case(word));
            let (_, level) = directive.split_once('=').unwrap_or(("", directive));
            if !is_level(level) {
                let levels = LEVELS.join(", ");
                return refuse(format!("`{level}` is not a level; levels are {levels}"));
            }
            if directive.starts_with('=') {
                return refuse(format!("`{directive}` names no part of the program"));
            }
        }
    }
    let named = CLIENT.iter().any(|target| filter.contains(target));
    let filter = match named {
        true => filter.to_owned(),
        false => format!("{filter},kube_runtime=off,kube_client=off"),
    };
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_a_filter_and_what_is_not() {
        for good in [
            "info",
            "WARN",
            "info,strait::proxy=debug",
            "off,strait=trace",
            "strait[connection{number=1}]=debug,info",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = "a=info,".repeat(1000);
        for (bad, says) in [
            ("", "`` is not a level"),
            ("debugg", "`debugg` is not a level"),
            ("info,", "`` is not a level"),
            ("strait::proxy", "`strait::proxy` is not a level"),
            ("info,strait=loud", "`loud` is not a level"),
            ("=info", "names no part"),
            ("info, strait=debug", ""),
            ("[=", ""),
            (&long, "longer than"),
        ] {
            let error = parse(bad).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
