//! Feeds a parser in pieces and says what came of it in a form that tests can compare.

use strait::client_hello::{HelloError, HelloParser, Progress};
use strait::outcome::Outcome;

/// What a parser made of all that it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Incomplete,
    Routed {
        name: String,
        wire_len: usize,
        alpn: Vec<Vec<u8>>,
        versions: Vec<u16>,
    },
    Refused(Outcome, Option<HelloError>),
}

/// The verdict on `wire` in one piece.
pub fn whole(wire: &[u8], max_size: usize) -> Verdict {
    in_pieces(wire, max_size, [])
}

/// The verdict of one parser that is shown `wire` up to each of `ends`, then all of it. Stops at
/// the first verdict other than incomplete, as a connection does.
pub fn in_pieces(wire: &[u8], max_size: usize, ends: impl IntoIterator<Item = usize>) -> Verdict {
    let mut parser = HelloParser::new(max_size);
    for end in ends.into_iter().chain([wire.len()]) {
        let verdict = verdict(parser.parse(&wire[..end]));
        assert!(
            parser.buffered() <= max_size.min(2 * end),
            "buffer at {end}"
        );
        if verdict != Verdict::Incomplete {
            let again = self::verdict(parser.parse(&wire[..end]));
            assert_eq!(again, verdict, "the second call at {end}");
            return verdict;
        }
    }
    Verdict::Incomplete
}

/// What a peer speaks that is no TLS is named from as many bytes as have come, so that it is not
/// the same at every split; that it is no TLS is.
fn verdict(result: Result<Progress<'_>, HelloError>) -> Verdict {
    match result {
        Ok(Progress::Incomplete) => Verdict::Incomplete,
        Ok(Progress::Complete(hello)) => Verdict::Routed {
            name: hello.server_name.to_string(),
            wire_len: hello.wire_len,
            alpn: hello.alpn().map(<[u8]>::to_vec).collect(),
            versions: hello.versions().collect(),
        },
        Err(error @ HelloError::NotTls(_)) => Verdict::Refused(error.outcome(), None),
        Err(error) => Verdict::Refused(error.outcome(), Some(error)),
    }
}
