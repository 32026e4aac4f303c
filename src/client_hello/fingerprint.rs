//! The fingerprint of a client's software: the versions and post-quantum groups that it offers, as
//! closed sets, and its JA4.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::ClientHello;
use super::extensions::{ALPN, SERVER_NAME};
use super::reader::Reader;
use crate::tls_version::TlsVersion;

/// The named groups with ML-KEM or its draft version, with their names in IANA's registry of TLS
/// supported groups.
const POST_QUANTUM: [(u16, &str); 8] = [
    (0x11ec, "X25519MLKEM768"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x6399, "X25519Kyber768Draft00"),
    (0x639a, "SecP256r1Kyber768Draft00"),
];

/// The index of a group in [`POST_QUANTUM`], by one or two comparisons, since a hello may list 30,000
/// groups.
const fn post_quantum(number: u16) -> Option<usize> {
    Some(match number {
        0x11ec => 0,
        0x11eb => 1,
        0x11ed => 2,
        0x0200 => 3,
        0x0201 => 4,
        0x0202 => 5,
        0x6399 => 6,
        0x639a => 7,
        _ => return None,
    })
}

/// The largest number of items, of each kind, for which a JA4 is computed. No client lists more, and
/// sorting and hashing them would be most of the work for such a hello.
const MOST_LISTED: usize = 1024;

/// The versions and post-quantum groups that a client offers, in three bytes whatever it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// One bit for each of [`TlsVersion::ALL`].
    versions: u8,
    /// One bit for each of [`POST_QUANTUM`].
    groups: u8,
    resumes: bool,
}

impl Offers {
    /// The offers of `hello`.
    pub fn of(hello: &ClientHello<'_>) -> Self {
        let numbers = hello.versions().filter(|number| !is_grease(*number));
        Self {
            versions: bits(numbers.map(|number| TlsVersion::of(number).index())),
            groups: bits(hello.groups().filter_map(post_quantum)),
            resumes: hello.extensions.resumes,
        }
    }

    /// The newest known version offered, or [`TlsVersion::Other`] without one.
    pub fn newest(self) -> TlsVersion {
        let mut offered = names(self.versions, &TlsVersion::ALL);
        offered.next().copied().unwrap_or(TlsVersion::Other)
    }

    /// Whether the client asks to resume a session, by a pre-shared key or a ticket.
    pub fn resumes(self) -> bool {
        self.resumes
    }

    /// Whether any offered group is post-quantum.
    pub fn post_quantum(self) -> bool {
        self.groups != 0
    }

    /// The versions, newest first, joined by commas; `None` when nothing was offered.
    pub fn versions(self) -> Option<impl fmt::Display> {
        let labels = move || names(self.versions, &TlsVersion::ALL).map(|one| one.label());
        (self.versions != 0).then(|| joined(labels))
    }

    /// The post-quantum groups, joined by commas; `None` without any.
    pub fn groups(self) -> Option<impl fmt::Display> {
        let labels = move || names(self.groups, &POST_QUANTUM).map(|(_, name)| *name);
        self.post_quantum().then(|| joined(labels))
    }
}

fn bits(positions: impl Iterator<Item = usize>) -> u8 {
    positions.fold(0, |bits, position| bits | 1 << position)
}

fn names<T>(bits: u8, all: &[T]) -> impl Iterator<Item = &T> {
    let set = move |(position, _): &(usize, &T)| bits & 1 << position != 0;
    all.iter().enumerate().filter(set).map(|(_, one)| one)
}

fn joined<I: Iterator<Item = &'static str>>(labels: impl Fn() -> I) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (position, label) in labels().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{label}")?;
        }
        Ok(())
    })
}

/// RFC 8701: values that clients send so that servers stay tolerant.
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

impl ClientHello<'_> {
    /// The named groups that the client offers, as numbers of the wire; empty without the
    /// supported_groups extension.
    pub fn groups(&self) -> impl Iterator<Item = u16> {
        listed(self.extensions.supported_groups)
    }

    /// The client's JA4: 36 characters, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`; `None` for a
    /// hello that lists more than 1,024 cipher suites, extensions or signature algorithms.
    ///
    /// <https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>; This is JA4 itself, not
    /// one of the JA4+ methods, which have another licence.
    pub fn ja4(&self) -> Option<String> {
        let algorithms = self.extensions.signature_algorithms.unwrap_or(&[]);
        let most = [self.cipher_suites.len(), algorithms.len()].map(|bytes| bytes / 2);
        if most
            .into_iter()
            .chain([self.extensions.count])
            .any(|count| count > MOST_LISTED)
        {
            return None;
        }
        let ciphers = sorted(numbers(self.cipher_suites));
        let kinds = sorted(self.extensions.kinds());
        let signature_algorithms = listed(self.extensions.signature_algorithms);
        let signature_algorithms = hex(signature_algorithms.filter(|number| !is_grease(*number)));
        let counted = kinds.len().min(99);
        let named = |kind: &u16| !matches!(*kind, SERVER_NAME | ALPN);
        let mut described = hex(kinds.into_iter().filter(named));
        if !described.is_empty() && !signature_algorithms.is_empty() {
            described = format!("{described}_{signature_algorithms}");
        }
        let destination = match self.server_name {
            Some(_) => 'd',
            None => 'i',
        };
        Some(format!(
            "t{}{destination}{:02}{counted:02}{}_{}_{}",
            self.ja4_version(),
            ciphers.len().min(99),
            self.ja4_alpn(),
            truncated_hash(&hex(ciphers.into_iter())),
            truncated_hash(&described),
        ))
    }

    fn ja4_version(&self) -> &'static str {
        match self.versions().filter(|number| !is_grease(*number)).max() {
            Some(0x0304) => "13",
            Some(0x0303) => "12",
            Some(0x0302) => "11",
            Some(0x0301) => "10",
            Some(0x0300) => "s3",
            Some(0x0002) => "s2",
            _ => "00",
        }
    }

    /// The first and the last character of the first protocol, or of its hex form if one of them is
    /// neither a letter nor a digit.
    fn ja4_alpn(&self) -> String {
        let first = self.alpn().next().unwrap_or(&[]);
        match (first.first(), first.last()) {
            (Some(a), Some(z)) if a.is_ascii_alphanumeric() && z.is_ascii_alphanumeric() => {
                [char::from(*a), char::from(*z)].iter().collect()
            }
            (Some(a), Some(z)) => format!("{:x}{:x}", a >> 4, z & 0x0f),
            _ => "00".to_owned(),
        }
    }
}

/// The numbers of an extension whose content is one vector of numbers.
fn listed(content: Option<&[u8]>) -> impl Iterator<Item = u16> {
    let mut content = Reader::new(content.unwrap_or(&[]));
    numbers(content.vector_u16().unwrap_or(&[]))
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let mut bytes = Reader::new(bytes);
    std::iter::from_fn(move || bytes.u16())
}

/// The numbers without GREASE, sorted.
fn sorted(numbers: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut numbers: Vec<u16> = numbers.filter(|number| !is_grease(*number)).collect();
    numbers.sort_unstable();
    numbers
}

fn hex(numbers: impl Iterator<Item = u16>) -> String {
    let mut text = String::new();
    for number in numbers {
        if !text.is_empty() {
            text.push(',');
        }
        for shift in [12, 8, 4, 0] {
            let digit = char::from_digit(u32::from(number >> shift & 0xf), 16);
            text.extend(digit);
        }
    }
    text
}

/// The first 12 characters of the SHA-256; zeroes for an empty text.
fn truncated_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let hash = digest(&SHA256, text.as_bytes());
    let shown = hash.as_ref().iter().take(6);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_hello::vectors::{HelloBuilder, MAX_SIZE, vector_u8, vector_u16};
    use crate::client_hello::{HelloParser, Progress};

    fn read(hello: &HelloBuilder) -> (String, Offers) {
        let wire = hello.wire();
        let mut parser = HelloParser::new(MAX_SIZE).nameless(true);
        match parser.parse(&wire).unwrap() {
            Progress::Complete(hello) => (hello.ja4().unwrap(), Offers::of(&hello)),
            Progress::Incomplete => panic!("incomplete"),
        }
    }

    fn ja4(hello: &HelloBuilder) -> String {
        read(hello).0
    }

    fn u16s(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// The example of the specification, with the GREASE that a browser mixes in.
    fn example() -> HelloBuilder {
        let signature_algorithms = [
            0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
        ];
        let hello = HelloBuilder::bare(0x0303)
            .session_id(32)
            .cipher_suites(&[
                0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ])
            .extension(0x3a3a, [])
            .extension(0x001b, [])
            .server_name("example.com")
            .extension(0x0033, [])
            .alpn(&["h2", "http/1.1"]);
        let empty = |hello: HelloBuilder, kinds: &[u16]| {
            kinds
                .iter()
                .fold(hello, |hello, kind| hello.extension(*kind, []))
        };
        empty(hello, &[0x4469, 0x0017, 0x002d])
            .extension(0x000d, vector_u16(&u16s(&signature_algorithms)))
            .extension(0x0005, [])
            .extension(0x0023, [])
            .extension(0x0012, [])
            .extension(0x002b, vector_u8(&u16s(&[0x4a4a, 0x0304, 0x0303])))
            .extension(0xff01, [])
            .extension(0x000b, [])
            .extension(0x000a, vector_u16(&u16s(&[0x5a5a, 0x11ec, 0x001d])))
            .extension(0x0015, [])
            .extension(0x6a6a, [])
    }

    #[test]
    fn ja4_says_whether_the_client_names_a_server() {
        let without = HelloBuilder::tls12();
        assert!(ja4(&without.clone().server_name("a")).starts_with("t12d"));
        assert!(ja4(&without).starts_with("t12i"));
    }

    #[test]
    fn ja4_of_the_specifications_example() {
        assert_eq!(ja4(&example()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn ja4_without_signature_algorithms_and_without_extensions() {
        let hashed = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01";
        assert_eq!(truncated_hash(hashed), "6d807ffa2a79");
        let bare = HelloBuilder::bare(0x0302)
            .server_name("a")
            .alpn(&["http/1.1"]);
        assert_eq!(&ja4(&bare)[..11], "t11d0102h1_");
        assert_eq!(&ja4(&bare)[23..], "_000000000000");
    }

    #[test]
    fn ja4_of_protocols_that_are_not_text() {
        for (protocol, shown) in [
            (&[0xab][..], "ab"),
            (&[0xab, 0xcd], "ad"),
            (&[0x30, 0xab], "3b"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (&[0x30, 0xab, 0xcd, 0x31], "01"),
            (b"h", "hh"),
            (b"istio", "io"),
        ] {
            let hello = HelloBuilder::bare(0x0303)
                .server_name("a")
                .alpn(&[protocol]);
            assert_eq!(&ja4(&hello)[8..10], shown, "{protocol:?}");
        }
    }

    #[test]
    fn ja4_counts_no_further_than_99_and_knows_old_and_unknown_versions() {
        let suites: Vec<u16> = (0..200).collect();
        let many = (256..456).fold(HelloBuilder::bare(0x0300), |hello, kind| {
            hello.extension(kind, [])
        });
        let many = many.cipher_suites(&suites).server_name("a");
        assert_eq!(&ja4(&many)[..10], "ts3d999900");
        let draft = HelloBuilder::bare(0x0303).server_name("a");
        let draft = draft.extension(43, vector_u8(&u16s(&[0x7f17, 0x0303])));
        assert_eq!(&ja4(&draft)[..3], "t00");
    }

    #[test]
    fn a_hello_that_no_client_sends_has_no_ja4() {
        let suites: Vec<u16> = (0..1025).collect();
        let hello = HelloBuilder::bare(0x0303).server_name("a");
        let (most, more) = (&suites[..1024], &suites[..]);
        for (hello, has) in [
            (hello.clone().cipher_suites(most), true),
            (hello.clone().cipher_suites(more), false),
            (hello.clone().extension(13, vector_u16(&u16s(more))), false),
            (
                (256..1281).fold(hello, |hello, kind| hello.extension(kind, [])),
                false,
            ),
        ] {
            let wire = hello.wire();
            let mut parser = HelloParser::new(MAX_SIZE);
            let Progress::Complete(hello) = parser.parse(&wire).unwrap() else {
                panic!("incomplete");
            };
            assert_eq!(hello.ja4().is_some(), has);
        }
    }

    #[test]
    fn every_post_quantum_group_has_its_place() {
        for number in 0..=u16::MAX {
            let listed = POST_QUANTUM.iter().position(|(one, _)| *one == number);
            assert_eq!(post_quantum(number), listed, "{number:#06x}");
        }
    }

    #[test]
    fn offers_are_closed_sets() {
        let shown = |hello: &HelloBuilder| {
            let (_, offers) = read(hello);
            let versions = offers.versions().map(|text| text.to_string());
            let groups = offers.groups().map(|text| text.to_string());
            (versions.unwrap(), groups, offers.newest().label())
        };
        let pq = Some("X25519MLKEM768".to_owned());
        assert_eq!(shown(&example()), ("1.3,1.2".to_owned(), pq, "1.3"));
        let tls10 = HelloBuilder::bare(0x0301).server_name("a");
        assert_eq!(shown(&tls10), ("1.0".to_owned(), None, "1.0"));
        let numbers = u16s(&[0x7f17, 0x0302, 0x7f18, 0x0302]);
        let odd = HelloBuilder::bare(0x0303).server_name("a");
        let odd = odd.extension(43, vector_u8(&numbers));
        let odd = odd.extension(10, vector_u16(&u16s(&[0x6399, 0x11eb, 0x11eb])));
        let groups = Some("SecP256r1MLKEM768,X25519Kyber768Draft00".to_owned());
        assert_eq!(shown(&odd), ("1.1,other".to_owned(), groups, "1.1"));
        assert_eq!(Offers::default().newest(), TlsVersion::Other);
        assert!(Offers::default().versions().is_none());
    }
}
