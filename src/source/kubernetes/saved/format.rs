//! The lines of the file, all JSON: a header, for each kind a line and then its objects, and at the end
//! the checksum of everything before. The kinds of the own cluster come first, then those of each other cluster in the
//! order of the header.
//!
//! ```text
//! {"format":2,"strait":"0.1.0","policy":"5f...","confirmed_ms":1790000000000,"boot":"...","uptime_ms":1,"kinds":2,
//!  "clusters":[{"name":"c2","confirmed_ms":1790000000000,"boot":"...","uptime_ms":1,"kinds":0}]}
//! {"kind":"service","version":"v1","objects":1,"unreadable":0}
//! {"metadata":{"namespace":"apps","name":"svcb"},"spec":{"ports":[{"name":"","port":80}]}}
//! {"kind":"service_export","version":"v1","not_installed":true}
//! {"crc32c":"0a1b2c3d"}
//! ```
//!
//! A kind without a line is not known. A file is used as a whole or not at all.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::age::{Boot, ClockTime};
use super::object::SavedObject;
use crate::clock;
use crate::source::kubernetes::api_names::ApiNames;
use crate::source::kubernetes::cluster::{Kind, Record, Unreadable};
use crate::source::kubernetes::records::ObjectKey;

/// The number of the format. Another meaning of the lines needs another number.
const FORMAT: u32 = 2;

/// The state of one kind that the API has stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::kubernetes) enum KindState {
    /// Every object there is.
    Listed(Vec<(ObjectKey, Record)>),
    /// The API does not serve the kind.
    NotInstalled,
}

/// The program and the policy that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::kubernetes) struct StateOrigin {
    /// The version of strait: another one may read other fields of an object.
    pub(in crate::source::kubernetes) strait: &'static str,
    /// A hash of the section `kubernetes`.
    pub(in crate::source::kubernetes) policy: String,
}

/// A state that was read.
#[derive(Debug)]
pub(in crate::source::kubernetes) struct SavedState {
    /// The time when the API last confirmed it.
    pub(in crate::source::kubernetes) confirmed: ClockTime,
    /// The time since then.
    pub(in crate::source::kubernetes) age: Duration,
    /// By kind, each once.
    pub(in crate::source::kubernetes) kinds: Vec<(Kind, KindState)>,
    /// The states of other clusters, each with a time of its own.
    pub(in crate::source::kubernetes) others: Vec<(Arc<str>, SavedState)>,
}

/// The known content of another cluster.
#[derive(Debug)]
pub(in crate::source::kubernetes) struct ClusterPart {
    /// Its name in the config.
    pub(in crate::source::kubernetes) name: Arc<str>,
    /// The time when its API last confirmed all of it.
    pub(in crate::source::kubernetes) confirmed: ClockTime,
    /// By kind, each once.
    pub(in crate::source::kubernetes) kinds: Vec<(Kind, KindState)>,
}

impl ClusterPart {
    /// The same as a state.
    pub(in crate::source::kubernetes) fn into_state(self) -> SavedState {
        let age = self.confirmed.age(&ClockTime::now()).unwrap_or_default();
        SavedState {
            confirmed: self.confirmed,
            age,
            kinds: self.kinds,
            others: Vec::new(),
        }
    }
}

/// The reason why a file is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::source::kubernetes) enum Unusable {
    /// It is not whole, or somebody has changed it.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Another strait has written it.
    #[error("another version of strait has written it")]
    Version,
    /// It belongs to another policy.
    #[error("it was written under another section `kubernetes` of the config")]
    Policy,
    /// It is older than `max_age`.
    #[error("it is {0:?} old, and `max_age` is {1:?}")]
    TooOld(Duration, Duration),
    /// A clock has jumped back.
    #[error("by the clock it is from the future")]
    Future,
}

fn damaged(what: impl fmt::Display) -> Unusable {
    Unusable::Damaged(what.to_string())
}

/// The first line. A field that is not known is ignored, since the format decides first.
#[derive(Serialize, Deserialize)]
struct Header<'a> {
    format: u32,
    strait: &'a str,
    policy: &'a str,
    #[serde(borrow, flatten)]
    time: TimeLine<'a>,
    /// The number of kinds of the own cluster.
    #[serde(default)]
    kinds: usize,
    #[serde(default)]
    clusters: Vec<ClusterLine<'a>>,
}

/// A moment in a header.
#[derive(Serialize, Deserialize)]
struct TimeLine<'a> {
    confirmed_ms: u64,
    boot: Option<&'a str>,
    uptime_ms: Option<u64>,
}

/// Another cluster in the header.
#[derive(Serialize, Deserialize)]
struct ClusterLine<'a> {
    name: Arc<str>,
    #[serde(borrow, flatten)]
    time: TimeLine<'a>,
    kinds: usize,
}

impl<'a> TimeLine<'a> {
    fn of(time: &'a ClockTime) -> Self {
        let boot = time.boot.as_ref();
        Self {
            confirmed_ms: clock::millis(time.wall),
            boot: boot.map(|boot| &*boot.id),
            uptime_ms: boot.map(|boot| clock::millis(boot.uptime)),
        }
    }

    fn time(&self) -> ClockTime {
        let uptime = self.uptime_ms.map(Duration::from_millis);
        let boot = self.boot.zip(uptime).map(|(id, uptime)| Boot {
            id: id.to_owned(),
            uptime,
        });
        ClockTime {
            wall: Duration::from_millis(self.confirmed_ms),
            boot,
        }
    }
}

/// The line of a kind.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindLine<'a> {
    kind: &'a str,
    /// The version in which the API serves it.
    version: &'a str,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    not_installed: bool,
    /// The number of lines with an object, and of those after them with one that cannot be read.
    #[serde(default)]
    objects: usize,
    #[serde(default)]
    unreadable: usize,
}

/// An object that exists and cannot be read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnreadableLine {
    namespace: Arc<str>,
    name: Arc<str>,
    problem: Arc<str>,
    about: Option<Arc<str>>,
}

/// The last line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine<'a> {
    crc32c: &'a str,
}

/// Writes lines, with a sum of their bytes and a limit on them.
struct Summed<W> {
    to: W,
    crc: u32,
    left: usize,
    /// The line that is made. A writer gets it as a whole.
    line: Vec<u8>,
}

impl<W: Write> Summed<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        let Some(left) = self.left.checked_sub(self.line.len()) else {
            let text = "the state is larger than `max_size`";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        };
        self.left = left;
        self.crc = crc32c::crc32c_append(self.crc, &self.line);
        self.to.write_all(&self.line)
    }
}

/// Writes a state and those of other clusters, up to `max_size` bytes. Returns the number of bytes.
///
/// # Errors
/// A write fails, or the state is too large.
pub(in crate::source::kubernetes) fn encode(
    to: impl Write,
    max_size: usize,
    origin: &StateOrigin,
    confirmed: &ClockTime,
    (kinds, others): (&[(Kind, KindState)], &[ClusterPart]),
) -> io::Result<usize> {
    let mut to = Summed {
        to,
        crc: 0,
        left: max_size,
        line: Vec::new(),
    };
    let clusters = others.iter().map(|part| ClusterLine {
        name: part.name.clone(),
        time: TimeLine::of(&part.confirmed),
        kinds: part.kinds.len(),
    });
    to.line(&Header {
        format: FORMAT,
        strait: origin.strait,
        policy: &origin.policy,
        time: TimeLine::of(confirmed),
        kinds: kinds.len(),
        clusters: clusters.collect(),
    })?;
    let of_others = others.iter().flat_map(|part| &part.kinds);
    for (kind, state) in kinds.iter().chain(of_others) {
        encode_kind(&mut to, *kind, state)?;
    }
    let crc = format!("{:08x}", to.crc);
    to.line(&EndLine { crc32c: &crc })?;
    to.to.flush()?;
    Ok(max_size.saturating_sub(to.left))
}

fn encode_kind<W: Write>(to: &mut Summed<W>, kind: Kind, state: &KindState) -> io::Result<()> {
    let records = match state {
        KindState::Listed(records) => &**records,
        KindState::NotInstalled => &[],
    };
    let is_readable = |(_, record): &&(ObjectKey, Record)| !matches!(record, Record::Unreadable(_));
    let objects = records.iter().filter(is_readable).count();
    to.line(&KindLine {
        kind: kind.label(),
        version: version(kind, records),
        not_installed: *state == KindState::NotInstalled,
        objects,
        unreadable: records.len().saturating_sub(objects),
    })?;
    for (key, record) in records.iter().filter(is_readable) {
        to.line(&SavedObject(key, record))?;
    }
    for (key, record) in records {
        if let Record::Unreadable(Unreadable { problem, about, .. }) = record {
            to.line(&UnreadableLine {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                problem: problem.clone(),
                about: about.clone(),
            })?;
        }
    }
    Ok(())
}

/// The version in which the API serves the kind: statuses of TLSRoutes are written with it.
fn version(kind: Kind, records: &[(ObjectKey, Record)]) -> &str {
    let mut of_routes = records.iter().filter_map(|(_, record)| match record {
        Record::TlsRoute(route) => Some(&*route.api_version),
        _ => None,
    });
    let first = || ApiNames::of(kind).versions.first().copied();
    of_routes.next().or_else(first).unwrap_or_default()
}

/// The parser of the API's answers: it reads the text of an object of a kind that was served in this
/// version. No record: the object has no meaning for strait.
///
/// # Errors
/// The text is not JSON. An object that cannot be read has a record that says so.
pub(in crate::source::kubernetes) type Parse =
    fn(Kind, &'static str, &[u8]) -> Result<(ObjectKey, Option<Record>), String>;

/// Reads a state.
///
/// # Errors
/// The reason why it must not be used.
pub(in crate::source::kubernetes) fn decode(
    bytes: &[u8],
    origin: &StateOrigin,
    now: &ClockTime,
    max_age: Duration,
    parse: Parse,
) -> Result<SavedState, Unusable> {
    let mut lines = Lines(checked(bytes)?);
    let header: Header<'_> = lines.next()?;
    if header.format != FORMAT || header.strait != origin.strait {
        return Err(Unusable::Version);
    }
    if header.policy != origin.policy {
        return Err(Unusable::Policy);
    }
    let confirmed = header.time.time();
    let age = confirmed.age(now).ok_or(Unusable::Future)?;
    if age > max_age {
        return Err(Unusable::TooOld(age, max_age));
    }
    let kinds = decode_kinds(&mut lines, header.kinds, parse)?;
    let mut others = Vec::new();
    for cluster in header.clusters {
        let kinds = decode_kinds(&mut lines, cluster.kinds, parse)?;
        let confirmed = cluster.time.time();
        // A cluster that was away for too long leaves the others as they are.
        if let Some(age) = confirmed.age(now).filter(|age| *age <= max_age) {
            let state = SavedState {
                confirmed,
                age,
                kinds,
                others: Vec::new(),
            };
            others.push((cluster.name, state));
        }
    }
    if !lines.0.is_empty() {
        return Err(damaged("a kind of no cluster"));
    }
    Ok(SavedState {
        confirmed,
        age,
        kinds,
        others,
    })
}

/// Reads so many kinds of a cluster.
fn decode_kinds(
    lines: &mut Lines<'_>,
    count: usize,
    parse: Parse,
) -> Result<Vec<(Kind, KindState)>, Unusable> {
    let mut kinds: Vec<(Kind, KindState)> = Vec::new();
    for _ in 0..count {
        let (kind, state) = decode_kind(lines, parse)?;
        if kinds.iter().any(|(known, _)| *known == kind) {
            return Err(damaged(format_args!("{} twice", kind.label())));
        }
        kinds.push((kind, state));
    }
    Ok(kinds)
}

/// The lines without the last one, which has their sum.
fn checked(bytes: &[u8]) -> Result<&[u8], Unusable> {
    let whole = bytes.strip_suffix(b"\n");
    let whole = whole.ok_or_else(|| damaged("its last line is not complete"))?;
    let last = whole.iter().rposition(|byte| *byte == b'\n');
    let (lines, last) = bytes.split_at(last.map_or(0, |at| at + 1));
    let end: EndLine<'_> = serde_json::from_slice(last).map_err(damaged)?;
    let crc = format!("{:08x}", crc32c::crc32c(lines));
    if crc != end.crc32c {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(lines)
}

fn decode_kind(lines: &mut Lines<'_>, parse: Parse) -> Result<(Kind, KindState), Unusable> {
    let line: KindLine<'_> = lines.next()?;
    let mut known = Kind::ALL.iter();
    let kind = known.find(|kind| kind.label() == line.kind);
    let kind = *kind.ok_or_else(|| damaged("a kind that is not known"))?;
    let mut versions = ApiNames::of(kind).versions.iter();
    let version = versions.find(|version| **version == line.version);
    let version = version.ok_or_else(|| damaged("a version that is not known"))?;
    if line.not_installed {
        return match (line.objects, line.unreadable) {
            (0, 0) => Ok((kind, KindState::NotInstalled)),
            _ => Err(damaged("objects of a kind that is not installed")),
        };
    }
    let mut records = Vec::new();
    for _ in 0..line.objects {
        let (key, record) = parse(kind, version, lines.text()?).map_err(damaged)?;
        records.extend(record.map(|record| (key, record)));
    }
    for _ in 0..line.unreadable {
        let line: UnreadableLine = lines.next()?;
        let key = ObjectKey {
            namespace: line.namespace,
            name: line.name,
        };
        let object = Unreadable {
            kind,
            problem: line.problem,
            about: line.about,
        };
        records.push((key, Record::Unreadable(object)));
    }
    Ok((kind, KindState::Listed(records)))
}

/// The lines that are left.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn text(&mut self) -> Result<&'a [u8], Unusable> {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| damaged("a line is missing"))?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        Ok(line)
    }

    fn next<T: Deserialize<'a>>(&mut self) -> Result<T, Unusable> {
        serde_json::from_slice(self.text()?).map_err(damaged)
    }
}
