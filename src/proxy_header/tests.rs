use proptest::prelude::*;

use super::*;

const TLS: &[u8] = &[22, 3, 1, 2, 0, 1];

fn proxied(source: &str, destination: &str) -> Proxied {
    Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn v2(version_command: u8, family_transport: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let fixed = [version_command, family_transport, length[0], length[1]];
    [V2_SIGNATURE, &fixed, payload].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind, length[0], length[1]], value].concat()
}

const V4_ADDRESSES: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

fn v4() -> Proxied {
    proxied("192.0.2.1:12345", "198.51.100.2:443")
}

/// `header` is valid as a whole, incomplete in every strict prefix, and bytes after it make no
/// difference.
#[track_caller]
fn gives(header: &[u8], expected: Option<Proxied>) {
    let parsed = ProxyHeader {
        proxied: expected,
        len: header.len(),
    };
    for end in 0..header.len() {
        assert_eq!(ProxyHeader::parse(&header[..end]), Ok(None), "{end} bytes");
    }
    for rest in [&[][..], TLS, b"\r\n", &[0; 5000]] {
        let wire = [header, rest].concat();
        assert_eq!(ProxyHeader::parse(&wire), Ok(Some(parsed)));
    }
}

#[track_caller]
fn refused(wire: &[u8], error: ProxyHeaderError) {
    assert_eq!(ProxyHeader::parse(wire), Err(error));
    // More bytes never make it a header.
    assert_eq!(ProxyHeader::parse(&[wire, TLS].concat()), Err(error));
}

#[test]
fn lines_of_version_1() {
    gives(
        b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n",
        Some(v4()),
    );
    gives(
        b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
        Some(proxied("[2001:db8::1]:1", "[2001:db8::2]:65535")),
    );
    gives(
        b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 12345 443\r\n",
        Some(v4()),
    );
    gives(b"PROXY UNKNOWN\r\n", None);
    gives(b"PROXY UNKNOWN whatever stands here\r\n", None);
    // The longest line that section 2.1 allows.
    let longest = format!(
        "PROXY UNKNOWN {0} {0} 65535 65535\r\n",
        "ffff:".repeat(7) + "ffff"
    );
    assert_eq!(longest.len(), MAX_V1);
    gives(longest.as_bytes(), None);
}

#[test]
fn what_is_no_line_of_version_1() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY UNKNOWN2\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        "PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY UNKNOWN\0\r\n",
        "PROXY UNKNOWN \u{e9}\r\n",
    ] {
        refused(line.as_bytes(), ProxyHeaderError::V1Line);
    }
    let endless = ["PROXY UNKNOWN ", &"x".repeat(MAX_V1)].concat();
    refused(endless.as_bytes(), ProxyHeaderError::V1Unterminated);
    // A line one byte too long: CR is its 107th byte.
    let long = format!("PROXY UNKNOWN {}\r", "x".repeat(MAX_V1 - 15));
    refused(long.as_bytes(), ProxyHeaderError::V1Line);
}

#[test]
fn headers_of_version_2() {
    gives(&v2(0x21, 0x11, &V4_ADDRESSES), Some(v4()));
    let unknown_tlvs = [
        tlv(0xea, b"vpce-1234"),
        tlv(4, &[0; 40]),
        tlv(0x20, &[1, 0, 0, 0, 0]),
        tlv(2, &[0xff, 0xfe]),
    ];
    let payload = [&V4_ADDRESSES[..], &unknown_tlvs.concat()].concat();
    gives(&v2(0x21, 0x11, &payload), Some(v4()));

    let v6 = |last: u8| {
        let mut ip = [0; 16];
        (ip[0], ip[1], ip[15]) = (0x20, 0x01, last);
        ip
    };
    let payload = [&v6(1)[..], &v6(2), &[0, 1, 0, 2]].concat();
    gives(
        &v2(0x21, 0x21, &payload),
        Some(proxied("[2001::1]:1", "[2001::2]:2")),
    );
}

#[test]
fn headers_that_speak_for_nobody() {
    for family in [0x00, 0x11, 0x21, 0x31, 0x12] {
        gives(&v2(0x20, family, &[7; 216]), None);
    }
    // A load balancer's own check, whatever its family and length say.
    for family in [0x00, 0x11, 0x21, 0x31, 0x12, 0x41, 0xff] {
        for length in [0, 12] {
            gives(&v2(0x20, family, &vec![0; length]), None);
        }
    }
    gives(&v2(0x21, 0x00, &[]), None);
    gives(&v2(0x21, 0x00, b"no TLV at all"), None);
    gives(&v2(0x21, 0x31, &[b'/'; 216]), None);
}

#[test]
fn what_is_no_header_of_version_2() {
    use ProxyHeaderError as E;
    for (version_command, family, error) in [
        (0x11, 0x11, E::V2Unknown(0x11, 0x11)),
        (0x31, 0x11, E::V2Unknown(0x31, 0x11)),
        (0x22, 0x11, E::V2Unknown(0x22, 0x11)),
        (0x21, 0x41, E::V2Unknown(0x21, 0x41)),
        (0x21, 0x10, E::V2Unknown(0x21, 0x10)),
        (0x21, 0x13, E::V2Unknown(0x21, 0x13)),
        (0x21, 0x12, E::V2Datagram),
        (0x21, 0x32, E::V2Datagram),
    ] {
        refused(&v2(version_command, family, &[0; 216]), error);
    }
    for (family, needed) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        refused(&v2(0x21, family, &vec![0; needed - 1]), E::V2Addresses);
        gives_something(&v2(0x21, family, &vec![0; needed]));
    }
    let most = MAX_HEADER - V2_FIXED;
    gives_something(&v2(0x20, 0x00, &vec![0; most]));
    // Refused after its first 16 bytes, without waiting for more.
    let too_long = v2(0x20, 0x00, &vec![0; most + 1]);
    refused(&too_long[..V2_FIXED], E::V2TooLong(MAX_HEADER + 1));
    for tail in [
        &[1][..],
        &[1, 0],
        &[1, 0, 1],
        &[1, 0xff, 0xff, 0],
        &[3, 0, 3, 1, 2, 3],
    ] {
        let payload = [&V4_ADDRESSES, tail].concat();
        refused(&v2(0x21, 0x11, &payload), E::V2Tlvs);
    }
}

#[track_caller]
fn gives_something(header: &[u8]) {
    let parsed = ProxyHeader::parse(header).unwrap().unwrap();
    assert_eq!(parsed.len, header.len());
}

#[test]
fn a_checksum_is_held_to() {
    let with = |sum: [u8; 4]| {
        let tlvs = [tlv(1, b"h2"), tlv(3, &sum), tlv(0xea, b"x")].concat();
        v2(0x21, 0x11, &[&V4_ADDRESSES[..], &tlvs].concat())
    };
    let sum = crc32c::crc32c(&with([0; 4]));
    gives(&with(sum.to_be_bytes()), Some(v4()));
    refused(&with((sum ^ 1).to_be_bytes()), ProxyHeaderError::V2Checksum);
}

#[test]
fn what_is_no_header_at_all() {
    for wire in [
        TLS,
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        b"\r\n\r\n\0\r\nQUIX",
        b"\0",
    ] {
        refused(wire, ProxyHeaderError::Missing);
    }
    assert_eq!(ProxyHeader::parse(b""), Ok(None));
}

#[test]
fn what_is_written_is_read_again() {
    let name = ServerName::parse(&[b'a'; 63]).unwrap();
    for (source, destination) in [
        ("192.0.2.1:1", "192.0.2.2:15443"),
        ("[2001:db8::1]:1", "[2001:db8::2]:15443"),
        ("192.0.2.1:1", "[2001:db8::2]:15443"),
        ("[2001:db8::1]:1", "192.0.2.2:15443"),
    ] {
        let proxied = proxied(source, destination);
        gives(&proxied.header(None).unwrap(), Some(proxied));
        let header = proxied.header(Some(&name)).unwrap();
        gives(&header, Some(proxied));
        let authority = tlv(2, name.as_str().as_bytes());
        assert!(header.ends_with(&authority));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_judged_alike_at_every_length(
        start in proptest::sample::select(vec![
            &b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", V2_SIGNATURE,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\x04",
        ]),
        bytes in proptest::collection::vec(
            prop_oneof![proptest::sample::select(b" .:019\r\n".to_vec()), any::<u8>()], 0..150),
    ) {
        let wire = [start, &bytes].concat();
        let mut verdict = Ok(None);
        for end in 0..=wire.len() {
            let next = ProxyHeader::parse(&wire[..end]);
            // A decision is final: neither a header nor a refusal is taken back.
            if verdict != Ok(None) {
                prop_assert_eq!(next, verdict);
            }
            if let Ok(Some(header)) = next {
                prop_assert!(header.len <= end && header.len <= MAX_HEADER);
            }
            verdict = next;
        }
    }
}
