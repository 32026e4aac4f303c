//! The parser of log filters. It is stricter than `tracing`.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// The longest filter in bytes. A person types it.
const MAX_LEN: usize = 1024;

/// A filter in tracing's syntax: directives, by commas. A directive is a level, in upper or lower case,
/// or `TARGET=LEVEL`, and may name a span: `strait[connection{number=1}]=debug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LogFilter(Arc<str>);

/// The reason why a text is not a [`LogFilter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFilterError {
    /// It is too long.
    #[error("longer than {MAX_LEN} bytes")]
    TooLong,
    /// This stands where a level should.
    #[error("`{0}` is not a level; levels are {levels}", levels = LogFilter::LEVELS.join(", "))]
    Level(String),
    /// This directive has a level and no target.
    #[error("`{0}` names no part of the program")]
    NoTarget(String),
    /// `tracing` cannot read it.
    #[error("{0}")]
    Malformed(String),
}

impl LogFilter {
    /// The levels, in lower case.
    pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// Reads a filter.
    ///
    /// For `tracing`, a single word that is not a level is a target, so a mistyped level would silence
    /// everything but a module of that name. Here a target always takes `=level`.
    ///
    /// # Errors
    /// The reason why the text is not a filter.
    pub fn parse(text: &str) -> Result<Self, LogFilterError> {
        if text.len() > MAX_LEN {
            return Err(LogFilterError::TooLong);
        }
        // The directives of a filter with a span are left to `tracing`: values may hold commas.
        if !text.contains('[') {
            for directive in text.split(',') {
                let (_, level) = directive.split_once('=').unwrap_or(("", directive));
                let mut levels = Self::LEVELS.iter();
                if !levels.any(|known| known.eq_ignore_ascii_case(level)) {
                    return Err(LogFilterError::Level(level.to_owned()));
                }
                if directive.starts_with('=') {
                    return Err(LogFilterError::NoTarget(directive.to_owned()));
                }
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(LogFilterError::Malformed(error.to_string())),
        }
    }
}

impl Deref for LogFilter {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_filter_and_what_is_not() {
        for good in [
            "info",
            "WARN",
            "info,strait::proxy=debug",
            "off,strait=trace",
            "strait[connection{number=1}]=debug,info",
        ] {
            assert!(LogFilter::parse(good).is_ok(), "{good}");
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
            let error = LogFilter::parse(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
