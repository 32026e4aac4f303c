//! Feeds a parser in pieces and says what came of it in a form that tests can compare. The fuzzer
//! takes part: `fuzz/fuzz_targets/client_hello.rs`.

use rustls::server::Acceptor;
use strait::client_hello::vectors::{MAX_SIZE, fragments, records};
use strait::client_hello::{HelloError, HelloParser, MalformedReason, Progress};
use strait::outcome::Outcome;
use strait::server_name::ServerName;

/// A parser's result of the bytes that it was given.
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

/// The parser names another protocol from the bytes that have come so far, so its name differs from
/// split to split. That it is not TLS does not.
fn verdict(result: Result<Progress<'_>, HelloError>) -> Verdict {
    match result {
        Ok(Progress::Incomplete) => Verdict::Incomplete,
        Ok(Progress::Complete(hello)) => Verdict::Routed {
            name: hello.server_name.as_ref().unwrap().to_string(),
            wire_len: hello.wire_len,
            alpn: hello.alpn().map(<[u8]>::to_vec).collect(),
            versions: hello.versions().collect(),
        },
        Err(error @ HelloError::NotTls(_)) => Verdict::Refused(error.outcome(), None),
        Err(error) => Verdict::Refused(error.outcome(), Some(error)),
    }
}

/// Asserts what must hold for any bytes, cut in any way.
pub fn check(wire: &[u8], cuts: impl Iterator<Item = usize>) {
    let verdict = whole(wire, MAX_SIZE);
    let mut ends: Vec<usize> = cuts.filter(|end| *end <= wire.len()).collect();
    ends.sort_unstable();
    assert_eq!(in_pieces(wire, MAX_SIZE, ends), verdict);
    assert_eq!(in_pieces(wire, MAX_SIZE, 1..wire.len()), verdict);
    check_nameless(wire, &verdict);
    if let Verdict::Routed { name, wire_len, .. } = &verdict {
        let normalised = ServerName::parse(name.as_bytes());
        assert_eq!(normalised.as_ref().map(ServerName::as_str), Ok(&**name));
        check_hello(&wire[..*wire_len], &verdict);
    }
}

/// Asserts that a parser that accepts hellos without a name differs for those alone.
fn check_nameless(wire: &[u8], verdict: &Verdict) {
    let mut parser = HelloParser::new(MAX_SIZE).nameless(true);
    let result = parser.parse(wire);
    let Verdict::Refused(Outcome::NoSni, _) = verdict else {
        assert_eq!(&self::verdict(result), verdict, "with nameless hellos");
        return;
    };
    match result {
        Ok(Progress::Complete(hello)) => {
            assert_eq!(hello.server_name, None);
            if let Some((name, _)) = rustls_reading(&wire[..hello.wire_len]) {
                assert_eq!(name, None, "rustls reads a name");
            }
        }
        other => assert!(
            matches!(other, Err(HelloError::Malformed(MalformedReason::Alpn))),
            "{other:?}"
        ),
    }
}

/// Asserts what must hold for a hello that is routed.
fn check_hello(hello: &[u8], verdict: &Verdict) {
    assert_eq!(&whole(hello, MAX_SIZE), verdict, "without what follows");
    let prefix = &hello[..hello.len() - 1];
    assert_eq!(whole(prefix, MAX_SIZE), Verdict::Incomplete);

    let message = fragments(hello);
    assert_eq!(&whole(hello, message.len()), verdict, "the bound is exact");
    let too_small = whole(hello, message.len() - 1);
    let too_large = |outcome: &Outcome| *outcome == Outcome::HelloTooLarge;
    assert!(matches!(&too_small, Verdict::Refused(outcome, _) if too_large(outcome)));

    let recut = records([3, 3], &message, 1);
    let (read, again) = (verdict.reading(), whole(&recut, MAX_SIZE));
    assert_eq!(again.reading(), read, "in records of 1 byte");
    let ja4 = ja4(hello);
    assert!(ja4.as_ref().is_none_or(|ja4| ja4.len() == 36), "{ja4:?}");
    assert_eq!(self::ja4(&recut), ja4, "in records of 1 byte");

    // No smuggling: where rustls takes the hello at all, it must read the same out of it.
    if let Some((name, alpn)) = rustls_reading(hello) {
        assert_eq!(
            Some((name.as_deref(), &*alpn)),
            read.map(|(name, alpn)| (Some(name), alpn))
        );
    }
}

fn ja4(hello: &[u8]) -> Option<String> {
    match HelloParser::new(MAX_SIZE).parse(hello) {
        Ok(Progress::Complete(hello)) => hello.ja4(),
        other => panic!("{other:?}"),
    }
}

impl Verdict {
    fn reading(&self) -> Option<(&str, &[Vec<u8>])> {
        match self {
            Self::Routed { name, alpn, .. } => Some((name, alpn)),
            _ => None,
        }
    }
}

/// The name, normalised, and the protocols that rustls reads; `None` when it refuses the hello.
pub fn rustls_reading(mut wire: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) if wire.is_empty() => return None,
            Ok(None) => acceptor.read_tls(&mut wire).ok()?,
            Err(_) => return None,
        };
    };
    let hello = accepted.client_hello();
    let name = hello.server_name();
    let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    let alpn = hello.alpn().into_iter().flatten();
    Some((name, alpn.map(<[u8]>::to_vec).collect()))
}
