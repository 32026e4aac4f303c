//! The verdicts on what real clients and servers sent, and what holds for all verdicts.

mod orders;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::table::{FlightTable, Line, played, sealed};
use super::{Evidence, FlightWatch, Side};
use crate::outcome::Outcome;

/// The tables of a folder, each with its file's name and its place there.
fn tables_in(folder: &str) -> Vec<(String, FlightTable)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "flights"))
        .collect();
    files.sort();
    let read = files.into_iter().flat_map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let tables = FlightTable::parse_all(&fs::read_to_string(path).unwrap());
        let numbered = tables.into_iter().enumerate();
        numbered.map(move |(place, table)| (format!("{name} {}", place + 1), table))
    });
    read.collect()
}

/// The tables that were written by hand, and those of real connections.
fn tables() -> Vec<(String, FlightTable)> {
    let mut tables = tables_in("tests/flights");
    tables.extend(tables_in("tests/flights/captured"));
    tables
}

#[test]
fn each_recorded_connection_gets_its_verdict() {
    let tables = tables();
    assert!(tables.len() >= 300, "{} tables", tables.len());
    let wrong: Vec<_> = tables
        .iter()
        .map(|(name, table)| (name, &table.expected, table.judged().1))
        .filter(|(_, expected, said)| *expected != said)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Segments are cut anywhere. Then a close_notify may not be recognised, which makes a reset a reset; but no
/// certificate is blamed for it.
#[test]
fn no_split_of_the_bytes_blames_a_certificate() {
    for (name, table) in tables() {
        let (whole, _) = table.judged();
        let blamed = whole
            .evidence
            .is_some_and(|evidence| evidence.blames_a_certificate());
        for most in [1, 2, 5, 7, 100] {
            let (verdict, said) = table.judged_in_pieces(most);
            let blames = verdict
                .evidence
                .is_some_and(|evidence| evidence.blames_a_certificate());
            assert_eq!(blames, blamed, "{name} in pieces of {most}: {said}");
            if whole.outcome == Outcome::HandshakeRefused {
                assert_eq!(verdict.outcome, whole.outcome, "{name}");
            }
        }
    }
}

#[test]
fn what_is_kept_is_small() {
    assert!(
        size_of::<FlightWatch>() <= 32,
        "{} bytes",
        size_of::<FlightWatch>()
    );
    let early = FlightWatch::early_size();
    assert!(
        early + size_of::<FlightWatch>() <= 200,
        "{early} bytes more"
    );
}

#[test]
fn what_was_agreed_on_is_seen() {
    let text = "expect: -\n> 22:512\n< 22:127=0304,1302,11ec,psk 20:1 23:80\n";
    let mut watch = FlightWatch::new();
    for line in FlightTable::parse(text).lines {
        watch.passed(line.side, &line.bytes);
    }
    let flights = watch.flights(false);
    assert_eq!(flights.version().unwrap().label(), "1.3");
    assert_eq!(
        (flights.cipher(), flights.group()),
        (Some(0x1302), Some(0x11ec))
    );
    assert!(!flights.retried());
    assert_eq!(flights.resumption(), Some(super::Resumption::Accepted));
}

/// The records that a side sends in one go: flights that decide anything, and any others.
fn records() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let kind = prop_oneof![Just(20u8), Just(21), Just(22), Just(23), Just(23)];
    let length = prop::sample::select(vec![1, 2, 19, 21, 25, 35, 41, 53, 61, 69, 85, 255, 900]);
    let flights: [&[usize]; 13] = [
        &[19],
        &[35],
        &[35, 35],
        &[19, 19],
        &[53],
        &[69],
        &[900],
        &[900, 53],
        &[900, 69, 100],
        &[25, 53],
        &[900, 280, 53, 90],
        &[250, 250],
        &[53, 19],
    ];
    let sealed = |lengths: &[usize]| lengths.iter().map(|length| (23, *length)).collect();
    prop_oneof![
        1 => prop::collection::vec((kind, length), 0..4),
        4 => prop::sample::select(flights.map(sealed).to_vec()),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let side = prop_oneof![Just(Side::Downstream), Just(Side::Upstream)];
    let ends = (
        prop::bool::weighted(0.15),
        prop::option::weighted(0.15, 0u32..600),
    );
    (side, records(), ends).prop_map(|(side, records, (fin, reset))| {
        let bytes = records
            .iter()
            .flat_map(|(kind, length)| sealed(*kind, &vec![0; *length]));
        Line {
            side,
            bytes: bytes.collect(),
            fin,
            reset,
        }
    })
}

/// The records of one line.
fn lengths(line: &Line) -> Vec<(u8, usize)> {
    let (mut records, mut rest) = (Vec::new(), &line.bytes[..]);
    while let [kind, _, _, high, low, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([high, low]));
        records.push((kind, length));
        rest = &rest[5 + length..];
    }
    records
}

/// Whether something speaks against the evidence that the upstream refused the downstream's certificate:
/// the downstream spoke after the upstream's answer, or closed before it, or sent no certificate. It may have
/// spoken before it knew the answer, if that cannot be application data.
fn speaks_against_the_upstreams_refusal(
    lines: &[Line],
    finished_length: usize,
    no_data: bool,
) -> bool {
    let sealed = |line: &Line| {
        lengths(line)
            .into_iter()
            .filter(|(kind, _)| *kind == 23)
            .count()
            > 0
    };
    let spoke = |line: &Line| !line.bytes.is_empty();
    let Some(finished) = lines
        .iter()
        .position(|line| line.side == Side::Downstream && sealed(line))
    else {
        return true;
    };
    let after = &lines[finished..];
    let Some(answer) = after
        .iter()
        .position(|line| line.side == Side::Upstream && spoke(line))
    else {
        return true;
    };
    let closed_before = after[..answer]
        .iter()
        .any(|line| line.side == Side::Downstream && line.fin);
    // A change_cipher_spec says nothing in TLS 1.3 (RFC 8446, section 5).
    let went_on = after[answer..]
        .iter()
        .filter(|line| line.side == Side::Downstream)
        .flat_map(lengths)
        .any(|(kind, _)| kind != 20);
    let only_finished = after[..answer]
        .iter()
        .flat_map(lengths)
        .find(|(kind, _)| *kind == 23)
        .is_some_and(|(_, length)| length == finished_length || length == finished_length + 16);
    closed_before || (went_on && !no_data) || only_finished
}

/// Whether the downstream sent application data after a record that is a Finished alone.
fn asked(lines: &[Line], finished: usize) -> bool {
    let sent = lines.iter().filter(|line| line.side == Side::Downstream);
    let sealed = sent.flat_map(lengths).filter(|(kind, _)| *kind == 23);
    let after = sealed
        .map(|(_, length)| length)
        .skip_while(|length| *length != finished && *length != finished + 16);
    after.skip(1).any(|length| length != 19 && length != 35)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    /// In doubt nobody's certificate is blamed.
    #[test]
    fn a_certificate_is_blamed_only_if_nothing_speaks_against_it(
        cipher in prop::sample::select(vec!["1301", "1302"]),
        more in prop::collection::vec(line(), 0..6),
        long in any::<bool>(),
    ) {
        let start = format!("expect: -\n> 22:512\n< 22:122=0304,{cipher},001d 20:1 23:900\n");
        let mut lines = FlightTable::parse(&start).lines;
        // Nothing comes of a side after its FIN, and nothing at all after a reset.
        let mut closed = [false; 2];
        for line in more {
            let of = &mut closed[usize::from(line.side == Side::Upstream)];
            if *of {
                continue;
            }
            *of = line.fin;
            let is_last = line.reset.is_some();
            lines.push(line);
            if is_last {
                break;
            }
        }
        let verdict = played(&lines, long.then_some("h2,http/1.1"), usize::MAX);
        match verdict.evidence {
            Some(Evidence::RefusedDownstream { .. }) => {
                let by_reset = lines
                    .last()
                    .is_some_and(|line| line.side == Side::Upstream && line.reset.is_some());
                let finished = if cipher == "1302" { 69 } else { 53 };
                let against = speaks_against_the_upstreams_refusal(&lines[2..], finished, long || by_reset);
                prop_assert!(!against, "{lines:?}");
                let asked = asked(&lines[2..], finished);
                prop_assert!(long || by_reset || !asked, "{lines:?}");
            }
            Some(Evidence::RefusedUpstream) => {
                let sealed = lines[2..].iter().filter(|line| line.side == Side::Downstream);
                let mut sealed = sealed.flat_map(lengths).filter(|(kind, _)| *kind == 23);
                prop_assert!(sealed.all(|(_, length)| matches!(length, 19 | 25 | 35 | 41)), "{lines:?}");
            }
            Some(Evidence::Alert(..)) => {
                let alerts = lines[2..].iter().flat_map(lengths);
                prop_assert!(alerts.into_iter().any(|record| record == (21, 2)), "{lines:?}");
            }
            _ => {}
        }
    }
}
