//! The PROXY protocol header: bounded, decided by its own bytes, and the same at any split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait::proxy_header::{MAX_HEADER, Proxied, ProxyHeader};
use strait::server_name::ServerName;

fuzz_target!(|input: &[u8]| {
    let parsed = ProxyHeader::parse(input);
    match parsed {
        Ok(Some(header)) => {
            assert!(header.len <= MAX_HEADER);
            let (own, rest) = input.split_at(header.len);
            for end in 0..own.len() {
                assert_eq!(ProxyHeader::parse(&own[..end]), Ok(None), "a prefix");
            }
            assert_eq!(ProxyHeader::parse(own), parsed, "without what follows");
            let other: Vec<u8> = rest.iter().map(|byte| !byte).collect();
            assert_eq!(ProxyHeader::parse(&[own, &other].concat()), parsed);
            if let Some(proxied) = header.proxied {
                written_again(proxied);
            }
        }
        Ok(None) => {
            assert!(input.len() < MAX_HEADER, "waits for more than a header");
            for end in 0..input.len() {
                assert_eq!(ProxyHeader::parse(&input[..end]), Ok(None), "a prefix");
            }
        }
        Err(_) => {
            let more = [input, &[0; 8]].concat();
            assert!(ProxyHeader::parse(&more).is_err(), "more bytes mended it");
        }
    }
});

/// The header that strait would write for `proxied` parses to the same, and no address is v4-mapped.
fn written_again(proxied: Proxied) {
    for end in [proxied.source, proxied.destination] {
        assert_eq!(end.ip().to_canonical(), end.ip());
    }
    let name = ServerName::parse(b"a.b").unwrap();
    let header = proxied.header(Some(&name)).unwrap();
    let parsed = ProxyHeader::parse(&header).unwrap().unwrap();
    assert_eq!((parsed.proxied, parsed.len), (Some(proxied), header.len()));
}
