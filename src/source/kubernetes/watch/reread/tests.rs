//! The saved state, written and read again by the parser of the API's answers.

mod world;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::cpu_time;
use crate::source::kubernetes::cluster::Unreadable;
use crate::source::kubernetes::records::{PodRecord, ServiceRecord, SliceEndpoint, SliceRecord};
use crate::source::kubernetes::saved::{
    ClockTime, ClusterPart, KindState, StateOrigin, Unusable, decode, encode,
};
use world::{endpoint, key, labels, service, slices, world};

const HOUR: Duration = Duration::from_secs(3600);

fn origin() -> StateOrigin {
    StateOrigin {
        strait: "1.2.3",
        policy: "abc".to_owned(),
    }
}

fn written(kinds: &[(Kind, KindState)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let parts = (kinds, &[][..]);
    encode(&mut bytes, 1 << 30, &origin(), &ClockTime::now(), parts).unwrap();
    bytes
}

fn refusal(bytes: &[u8]) -> Unusable {
    let read = decode(bytes, &origin(), &ClockTime::now(), HOUR, reread);
    read.map(|state| state.kinds).unwrap_err()
}

/// The file of these lines, with the checksum that they have.
fn summed(lines: &str) -> Vec<u8> {
    let sum = crc32c::crc32c(lines.as_bytes());
    format!("{lines}{{\"crc32c\":\"{sum:08x}\"}}\n").into_bytes()
}

#[test]
fn every_record_is_read_as_it_was_written() {
    let kinds = world();
    let read = decode(&written(&kinds), &origin(), &ClockTime::now(), HOUR, reread).unwrap();
    assert_eq!(read.kinds.len(), kinds.len());
    for (read, written) in read.kinds.iter().zip(&kinds) {
        assert_eq!(read, written);
    }
}

#[test]
fn what_cannot_be_read_and_what_is_not_installed_stay_so() {
    let unreadable = |kind, about: Option<&str>| {
        Record::Unreadable(Unreadable {
            kind,
            problem: "port: \"x\"\n".into(),
            about: about.map(Arc::from),
        })
    };
    let slice = Kind::Slice;
    let mut slices = slices();
    slices.push((key("apps", "odd"), unreadable(slice, Some("svcb"))));
    slices.push((key("", ""), unreadable(slice, None)));
    let kinds = vec![
        (slice, KindState::Listed(slices)),
        (Kind::PeerAuthentication, KindState::NotInstalled),
        (Kind::Pod, KindState::Listed(Vec::new())),
    ];
    let bytes = written(&kinds);
    let read = decode(&bytes, &origin(), &ClockTime::now(), HOUR, reread).unwrap();
    assert_eq!(read.kinds, kinds);
    // An object that an API could send and that cannot be read costs itself alone, as there.
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.replace("\"port\":8080", "\"port\":-1");
    let (lines, _) = lines.split_at(lines.rfind("{\"crc32c\"").unwrap());
    let read = decode(&summed(lines), &origin(), &ClockTime::now(), HOUR, reread).unwrap();
    let KindState::Listed(records) = &read.kinds[0].1 else {
        panic!("{:?}", read.kinds);
    };
    let Record::Unreadable(object) = &records[0].1 else {
        panic!("{records:?}");
    };
    assert_eq!(object.about.as_deref(), Some("svcb"));
}

#[test]
fn a_file_that_is_cut_or_changed_anywhere_is_damaged() {
    let kinds = [(Kind::Slice, KindState::Listed(slices()))];
    let bytes = written(&kinds);
    for length in 0..bytes.len() {
        let refusal = refusal(&bytes[..length]);
        assert!(
            matches!(refusal, Unusable::Damaged(_)),
            "{length}: {refusal}"
        );
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let refusal = refusal(&changed);
        assert!(matches!(refusal, Unusable::Damaged(_)), "{at}: {refusal}");
    }
    let twice = [&bytes[..], &bytes[..]].concat();
    assert!(matches!(refusal(&twice), Unusable::Damaged(_)));
}

#[test]
fn lines_that_no_strait_writes_are_refused_whatever_their_checksum() {
    let text = String::from_utf8(written(&[])).unwrap();
    let header = text.lines().next().unwrap();
    for lines in [
        "",
        "{}",
        "[]",
        "{\"kind\":\"secret\",\"version\":\"v1\"}",
        "{\"kind\":\"pod\",\"version\":\"v9\"}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"objects\":-1}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"objects\":18446744073709551615}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"objects\":1}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"objects\":1}\n{\"metadata\":",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"objects\":0}\n{\"metadata\":{}}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"unreadable\":1}\n{\"namespace\":\"a\"}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"not_installed\":true,\"objects\":1}\n{\"metadata\":{}}",
        "{\"kind\":\"pod\",\"version\":\"v1\"}\n{\"kind\":\"pod\",\"version\":\"v1\"}",
        "{\"kind\":\"pod\",\"version\":\"v1\",\"more\":1}",
        "\u{0}",
    ] {
        let kinds = lines.matches("\"kind\"").count().max(1);
        let header = header.replace("\"kinds\":0", &format!("\"kinds\":{kinds}"));
        let refusal = refusal(&summed(&format!("{header}\n{lines}\n")));
        assert!(
            matches!(refusal, Unusable::Damaged(_)),
            "{lines}: {refusal}"
        );
    }
    assert!(matches!(refusal(&summed("")), Unusable::Damaged(_)));
    // As deep as the parser allows, and deeper.
    let header = header.replace("\"kinds\":0", "\"kinds\":1");
    for depth in [100, 100_000] {
        let lines = format!("{header}\n{}\n", "[".repeat(depth));
        assert!(matches!(refusal(&summed(&lines)), Unusable::Damaged(_)));
    }
}

#[test]
fn another_version_another_policy_and_a_wrong_time_are_refused() {
    let now = ClockTime::now();
    let read = |confirmed: ClockTime, now: &ClockTime, change: fn(&mut StateOrigin)| {
        let mut bytes = Vec::new();
        let mut origin = origin();
        encode(&mut bytes, 1 << 20, &origin, &confirmed, (&[], &[])).unwrap();
        change(&mut origin);
        decode(&bytes, &origin, now, HOUR, reread).map(|state| state.age)
    };
    let same: fn(&mut StateOrigin) = |_| {};
    assert!(read(now.clone(), &now, same).unwrap() < Duration::from_secs(1));
    let half = read(now.clone().before(HOUR / 2), &now, same).unwrap();
    assert!(half >= HOUR / 2);
    let version = read(now.clone(), &now, |origin| origin.strait = "1.2.4");
    assert_eq!(version, Err(Unusable::Version));
    let policy = read(now.clone(), &now, |origin| origin.policy.push('x'));
    assert_eq!(policy, Err(Unusable::Policy));
    let old = read(now.clone().before(2 * HOUR), &now, same);
    assert!(matches!(old, Err(Unusable::TooOld(age, HOUR)) if age >= 2 * HOUR));
    let future = read(now.clone(), &now.clone().before(HOUR), same);
    assert_eq!(future, Err(Unusable::Future));
    let text = String::from_utf8(written(&[])).unwrap();
    let header = text
        .lines()
        .next()
        .unwrap()
        .replace("\"format\":2", "\"format\":3");
    assert_eq!(refusal(&summed(&format!("{header}\n"))), Unusable::Version);
}

#[test]
fn the_state_of_another_cluster_is_read_unless_it_is_too_old() {
    let kinds = world();
    let part = |name: &str, age| ClusterPart {
        name: name.into(),
        confirmed: ClockTime::now().before(age),
        kinds: kinds.clone(),
    };
    let others = [part("old", 2 * HOUR), part("c2", HOUR / 2)];
    let mut bytes = Vec::new();
    let now = ClockTime::now();
    encode(&mut bytes, 1 << 30, &origin(), &now, (&kinds[..1], &others)).unwrap();
    let read = decode(&bytes, &origin(), &ClockTime::now(), HOUR, reread).unwrap();
    assert_eq!(read.kinds, kinds[..1]);
    let [(name, other)] = &*read.others else {
        panic!("{:?}", read.others);
    };
    assert_eq!((&**name, &other.kinds), ("c2", &kinds));
    assert!(other.age >= HOUR / 2 && other.age < HOUR);
}

#[test]
fn a_state_that_is_too_large_is_not_written() {
    let kinds = world();
    let length = written(&kinds).len();
    let limited = |most| {
        encode(
            Vec::new(),
            most,
            &origin(),
            &ClockTime::now(),
            (&kinds, &[]),
        )
    };
    // The times in the header have different lengths at other times.
    assert!(limited(length + 8).is_ok());
    let error = limited(length - 8).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
}

/// Prints the figures of `docs/src/kubernetes.md`.
#[test]
fn a_large_cluster_is_read_as_it_was_written() {
    const SERVICES: usize = 10_000;
    const PODS: usize = 5;
    let namespace = |number: usize| format!("team-{}", number % 100);
    let pod_name = |number, pod| format!("service-{number}-6d4cf56db6-abc{pod:02}");
    let service = |number: usize| {
        let record = ServiceRecord {
            annotations: labels(&[("export", "true")]),
            labels: labels(&[("app.kubernetes.io/name", &format!("service-{number}"))]),
            addresses: Box::default(),
            export_to: Box::default(),
            ..service()
        };
        let name = format!("service-{number}");
        (key(&namespace(number), &name), Record::Service(record))
    };
    let slice = |number: usize| {
        let endpoint = |pod: usize| SliceEndpoint {
            zone: Some(format!("zone-{}", pod % 3).into()),
            node: Some(format!("node-{}", (number + pod) % 500).into()),
            pod: Some(pod_name(number, pod).into()),
            ..endpoint(&format!("10.{}.{}.{pod}", number / 250, number % 250))
        };
        let record = SliceRecord {
            service: format!("service-{number}").into(),
            ports: [("https".into(), 8443)].into(),
            endpoints: (0..PODS).map(endpoint).collect(),
        };
        let name = format!("service-{number}-x7x2p");
        (key(&namespace(number), &name), Record::Slice(record))
    };
    let pods = |number: usize| {
        (0..PODS).map(move |pod| {
            let app = format!("service-{number}");
            let labels = labels(&[
                ("app.kubernetes.io/name", &app),
                ("pod-template-hash", "6d4cf56db6"),
                ("security.istio.io/tlsMode", "istio"),
                ("service.istio.io/canonical-name", &app),
                ("service.istio.io/canonical-revision", "latest"),
            ]);
            let key = key(&namespace(number), &pod_name(number, pod));
            (key, Record::Pod(PodRecord { labels }))
        })
    };
    let all = 0..SERVICES;
    let kinds = vec![
        (
            Kind::Service,
            KindState::Listed(all.clone().map(service).collect()),
        ),
        (
            Kind::Slice,
            KindState::Listed(all.clone().map(slice).collect()),
        ),
        (Kind::Pod, KindState::Listed(all.flat_map(pods).collect())),
    ];
    let start = cpu_time();
    let copy = kinds.clone();
    let copied = cpu_time();
    let bytes = written(&copy);
    let wrote = cpu_time();
    let read = decode(&bytes, &origin(), &ClockTime::now(), HOUR, reread).unwrap();
    let parsed = cpu_time();
    println!(
        "10,000 Services, 50,000 pods: {} bytes; CPU time: copy {:?}, encode {:?}, decode {:?}",
        bytes.len(),
        copied - start,
        wrote - copied,
        parsed - wrote
    );
    assert_eq!(read.kinds, kinds);
    assert!(bytes.len() < 64 << 20, "below the default of max_size");
}
