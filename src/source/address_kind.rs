//! The kinds of addresses that never belong to a pod or VM of another workload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::AddressKind;

/// Addresses at which clouds serve instance metadata, and with it credentials, in addition to those
/// that [`AddressKind`] calls link-local. They are refused as `metadata` even where link-local
/// addresses are allowed.
const METADATA: [IpAddr; 14] = [
    // AWS, Azure, Google Cloud, DigitalOcean, Hetzner, OpenStack, Oracle: each documents this address
    // for instance metadata.
    v4(169, 254, 169, 254),
    // Amazon ECS task metadata and task credentials ("Task IAM role", Amazon ECS developer guide).
    v4(169, 254, 170, 2),
    // Amazon EKS Pod Identity Agent ("Set up the Amazon EKS Pod Identity Agent", EKS user guide).
    v4(169, 254, 170, 23),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]),
    // Amazon EC2 over IPv6 ("Access instance metadata for an EC2 instance", EC2 user guide).
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
    // Google Cloud over IPv6 ("Query VM metadata", Compute Engine documentation).
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
    // Azure WireServer ("What is IP address 168.63.129.16?", Azure Virtual Network).
    v4(168, 63, 129, 16),
    // Alibaba Cloud ("Access instance metadata", ECS user guide).
    v4(100, 100, 100, 200),
    // Oracle Cloud Infrastructure Classic ("Retrieving Instance Metadata").
    v4(192, 0, 0, 192),
    // Oracle Cloud over IPv6 ("Getting Instance Metadata").
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
    // Scaleway ("Datasource Scaleway", cloud-init documentation).
    v4(169, 254, 42, 42),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]),
    // OpenStack and Akamai (Linode) over IPv6 ("Metadata service", nova; "Metadata service API").
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]),
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(segments: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = segments;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// The kind of a canonical address. Whether it is one of the gateway's own is not looked at here.
pub(super) fn address_kind(ip: IpAddr) -> Option<AddressKind> {
    if METADATA.contains(&ip) {
        return Some(AddressKind::Metadata);
    }
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Some(AddressKind::Loopback),
        IpAddr::V4(ip) if ip.is_link_local() => Some(AddressKind::LinkLocal),
        // "This host on this network" (RFC 1122 section 3.2.1.3); Linux connects 0.0.0.0 to itself.
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some(AddressKind::Unspecified),
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Some(AddressKind::Multicast),
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) if ip.is_loopback() => Some(AddressKind::Loopback),
        IpAddr::V6(ip) if ip.is_unspecified() => Some(AddressKind::Unspecified),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(AddressKind::LinkLocal),
        IpAddr::V6(ip) if ip.is_multicast() => Some(AddressKind::Multicast),
        IpAddr::V6(ip) => stands_for(ip).and_then(|ip| address_kind(IpAddr::V4(ip))),
    }
}

/// The IPv4 address that a translator or tunnel would send to for `ip`.
fn stands_for(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = ip.segments();
    let (high, low) = match segments {
        // v4-compatible, RFC 4291 section 2.5.5.1; v4-translated, RFC 2765 section 2.1.
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low] => (high, low),
        // NAT64, RFC 6052 section 2.1.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        // 6to4, RFC 3056 section 2.
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}
