//! Hashes that tie a client or a server name to an endpoint. They are the same in every gateway and every version of
//! strait: gateways that share the work send a client to the same endpoint.

use std::net::{IpAddr, SocketAddr};

/// The hash of a text.
pub(super) fn of_text(text: &str) -> u64 {
    of_bytes(text.as_bytes())
}

/// The hash of a client's address, which is the same whether it is written as IPv4 or as IPv4 in IPv6.
pub(super) fn of_ip(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => of_bytes(&ip.octets()),
        IpAddr::V6(ip) => of_bytes(&ip.octets()),
    }
}

/// The hash of an endpoint.
pub(super) fn of_address(address: SocketAddr) -> u64 {
    mix(of_ip(address.ip()) ^ u64::from(address.port()))
}

/// FNV-1a, and then [`mix`]: by itself it changes the upper bits too little.
fn of_bytes(bytes: &[u8]) -> u64 {
    let one = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, one))
}

/// The last step of SplitMix64: each bit of the input changes half of the bits of the result.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A number above 0 and below 1, evenly spread.
pub(super) fn part(hash: u64) -> f64 {
    let [a, b, c, d, ..] = hash.to_be_bytes();
    (f64::from(u32::from_be_bytes([a, b, c, d])) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_of_other_versions_have_the_same_hashes() {
        assert_eq!(of_text(""), mix(0xcbf2_9ce4_8422_2325));
        let ip = |text: &str| of_ip(text.parse().unwrap());
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_ne!(ip("::10.0.0.1"), ip("10.0.0.1"));
        let hashes = [
            of_text("svcb.apps.svc.cluster.local"),
            ip("10.0.0.1"),
            ip("fd00::1"),
            of_address("10.0.0.1:80".parse().unwrap()),
        ];
        let expected = [
            0x226f_44c9_2147_144e,
            0xe7a7_7091_5e3a_6bb4,
            0xb8a2_fde5_6d05_24ab,
            0x9782_4010_d262_5474,
        ];
        assert_eq!(hashes, expected);
    }
}
