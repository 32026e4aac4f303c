//! Addresses and networks of the file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::hosts::HostPort;
use crate::config::form::decode::Text;
use crate::config::form::problems::{Complaint, quoted};
use crate::names::SourceGroupName;
use crate::socket::canonical;

/// Any `ip:port`; port 0 lets the kernel choose one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bind(pub(crate) SocketAddr);

/// An `ip:port` that can be connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndpointAddress(pub(crate) SocketAddr);

fn socket_address(text: &str, example: &str) -> Result<SocketAddr, Complaint> {
    text.parse::<SocketAddr>().map_err(|_| {
        let complaint = Complaint::new(format!("{} is not ip:port", quoted(text)));
        match (text.parse::<IpAddr>(), text.strip_prefix(':')) {
            (Ok(IpAddr::V4(ip)), _) => complaint.remedy(format!("add the port: {ip}:PORT")),
            (Ok(IpAddr::V6(ip)), _) => complaint.remedy(format!("add the port: \"[{ip}]:PORT\"")),
            (_, Some(port)) => complaint.remedy(format!("for every address: \"[::]:{port}\"")),
            _ if text.parse::<u16>().is_ok() => {
                complaint.remedy(format!("for every address: \"[::]:{text}\""))
            }
            _ => complaint.remedy(format!("write an address such as {example:?}")),
        }
    })
}

impl Text for Bind {
    const WORDS: &'static str = "ip:port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = canonical(socket_address(text, "[::]:15443")?);
        if address.ip().is_multicast() {
            return Err(Complaint::new(format!("{address} is a multicast address")));
        }
        Ok(Self(address))
    }
}

impl Text for EndpointAddress {
    const WORDS: &'static str = "ip:port";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let address = socket_address(text, "10.1.0.7:8443").map_err(|complaint| {
            if HostPort::parse(text).is_ok() {
                Complaint::new(format!("{} is a host name, not ip:port", quoted(text))).remedy(
                    format!("in an upstream, write `dns: {text:?}` for `endpoints`"),
                )
            } else {
                complaint
            }
        })?;
        let address = canonical(address);
        let ip = address.ip();
        let wrong = match () {
            () if address.port() == 0 => "has port 0, to which nothing can connect",
            () if ip.is_unspecified() => "has the address that stands for every address",
            () if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) => {
                "is a multicast or broadcast address"
            }
            () => return Ok(Self(address)),
        };
        Err(Complaint::new(format!("{address} {wrong}"))
            .remedy("give it the ip:port of one server"))
    }
}

/// An address of this host to connect from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LocalAddress(pub(crate) IpAddr);

impl Text for LocalAddress {
    const WORDS: &'static str = "IP address";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let ip = text.parse::<IpAddr>().map_err(|_| {
            Complaint::new(format!("{} is not an IP address", quoted(text)))
                .remedy("write one of this host's addresses, without a port")
        })?;
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(
                Complaint::new(format!("{ip} is not the address of one host"))
                    .remedy("write one of this host's addresses"),
            );
        }
        Ok(Self(ip))
    }
}

/// A network. Its address has no bit outside of the prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cidr(pub(crate) IpNet);

impl Text for Cidr {
    const WORDS: &'static str = "CIDR";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let net = IpNet::from(ip.to_canonical());
            return Err(
                Complaint::new(format!("{text:?} is an address, not a CIDR"))
                    .remedy(format!("for this address alone write {net}")),
            );
        }
        let net: IpNet = text.parse().map_err(|_| {
            Complaint::new(format!("{} is not a CIDR", quoted(text)))
                .remedy("write a network such as 10.0.0.0/8 or fd00::/8")
        })?;
        if let Some(v4) = mapped_v4(net) {
            return Err(
                Complaint::new(format!("{net} is an IPv4 network in an IPv6 spelling"))
                    .remedy(format!("write {v4}")),
            );
        }
        if net.trunc() != net {
            return Err(
                Complaint::new(format!("{net} has bits set beyond its prefix"))
                    .remedy(format!("write the network {}", net.trunc())),
            );
        }
        Ok(Self(net))
    }
}

/// Source addresses are compared in their canonical form, so a network of v4-mapped addresses would
/// silently match nothing.
fn mapped_v4(net: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(net) = net else {
        return None;
    };
    let v4 = net.addr().to_ipv4_mapped()?;
    let prefix = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(v4, prefix).ok().map(|net| net.trunc())
}

/// An item of `allow_sources` or `deny_sources`: a network, or the name of a source group.
#[derive(Debug, Clone)]
pub(crate) enum SourceRef {
    Cidr(IpNet),
    Group(SourceGroupName),
}

impl Text for SourceRef {
    const WORDS: &'static str = "CIDR, or name of a source group";

    fn parse(text: &str) -> Result<Self, Complaint> {
        if text.contains(['/', ':']) || text.parse::<IpAddr>().is_ok() {
            return Cidr::parse(text).map(|cidr| Self::Cidr(cidr.0));
        }
        SourceGroupName::parse(text).map(Self::Group)
    }
}

/// The key under which two binds that would collide are equal. `[::]` is dual stack, so it equals
/// `0.0.0.0`.
pub(crate) fn collision_key(bind: SocketAddr) -> SocketAddr {
    if bind.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), bind.port())
    } else {
        bind
    }
}
