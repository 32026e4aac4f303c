//! The policy that decides which addresses of a DNS answer may become endpoints.

use std::net::SocketAddr;

use crate::config::AddressKind;
use crate::metrics::RefusedAddress;
use crate::socket::{OwnListeners, canonical};
use crate::source::address_kind::address_kind;

/// The policy for addresses: allowed are those of no [`AddressKind`] and those whose kind the upstream
/// allows by name.
///
/// Anyone who can write DNS records chooses where the gateway connects from inside the cluster. So the
/// policy refuses addresses that never belong to a pod of another workload: loopback, link-local,
/// metadata services, the unspecified and multicast addresses, and the gateway's own listeners (a
/// loop). Each kind must be allowed by its own name: `link_local` does not allow `metadata`, and
/// `loopback` does not allow `own_listener`.
///
/// An IPv6 address that stands for an IPv4 address is judged as the IPv4 address: v4-mapped ones (which
/// are used as IPv4 as well), v4-compatible (RFC 4291 section 2.5.5), v4-translated (RFC 2765), NAT64's
/// well-known prefix (RFC 6052) and 6to4 (RFC 3056). A NAT64 prefix of the network's own cannot be
/// recognised.
#[derive(Debug)]
pub struct AddressPolicy<'a> {
    /// Kinds that the upstream allows although they are refused by default.
    pub allow: &'a [AddressKind],
    /// The addresses that the gateway listens on at this moment.
    pub own: &'a OwnListeners,
}

impl AddressPolicy<'_> {
    /// Returns the address to use, in canonical form (never v4-mapped IPv6).
    ///
    /// # Errors
    /// The canonical address and the kind for which it is refused.
    pub fn check(&self, address: SocketAddr) -> Result<SocketAddr, (SocketAddr, AddressKind)> {
        let address = canonical(address);
        let of_its_own = address_kind(address.ip());
        let own_listener = self
            .own
            .contain(address)
            .then_some(AddressKind::OwnListener);
        match of_its_own
            .into_iter()
            .chain(own_listener)
            .find(|kind| !self.allow.contains(kind))
        {
            None => Ok(address),
            Some(kind) => Err((address, kind)),
        }
    }
}

/// The reason for an unused address of this kind.
pub(super) const fn refused_address(kind: AddressKind) -> RefusedAddress {
    match kind {
        AddressKind::Loopback => RefusedAddress::Loopback,
        AddressKind::LinkLocal => RefusedAddress::LinkLocal,
        AddressKind::Metadata => RefusedAddress::Metadata,
        AddressKind::Unspecified => RefusedAddress::Unspecified,
        AddressKind::Multicast => RefusedAddress::Multicast,
        AddressKind::OwnListener => RefusedAddress::OwnListener,
    }
}

/// The word for a kind in the config's `allow` and in the `reason` label of
/// `strait_source_refused_addresses_total`.
pub const fn kind_label(kind: AddressKind) -> &'static str {
    refused_address(kind).label()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const KINDS: [AddressKind; 6] = [
        AddressKind::Loopback,
        AddressKind::LinkLocal,
        AddressKind::Metadata,
        AddressKind::Unspecified,
        AddressKind::Multicast,
        AddressKind::OwnListener,
    ];

    fn check(
        ip: &str,
        allow: &[AddressKind],
        own: &OwnListeners,
    ) -> Result<SocketAddr, (SocketAddr, AddressKind)> {
        let address = SocketAddr::new(ip.parse().unwrap(), 15443);
        AddressPolicy { allow, own }.check(address)
    }

    #[test]
    fn kinds_are_refused_and_lifted_by_their_own_name_only() {
        use AddressKind::{LinkLocal, Loopback, Metadata, Multicast, Unspecified};
        let own = OwnListeners::default();
        for (ip, kind) in [
            ("127.0.0.1", Loopback),
            ("127.255.3.4", Loopback),
            ("::1", Loopback),
            ("::ffff:127.0.0.1", Loopback),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::7f00:1", Loopback),
            ("2002:7f00:1::5", Loopback),
            ("::ffff:0:127.0.0.1", Loopback),
            ("169.254.0.1", LinkLocal),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("::ffff:169.254.7.7", LinkLocal),
            ("169.254.169.254", Metadata),
            ("::ffff:169.254.169.254", Metadata),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("2002:a9fe:a9fe::", Metadata),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("fe80::a9fe:a9fe", Metadata),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("::", Unspecified),
            ("64:ff9b::", Unspecified),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("255.255.255.255", Multicast),
            ("ff02::1", Multicast),
        ] {
            let (address, refused) = check(ip, &[], &own).unwrap_err();
            assert_eq!(refused, kind, "{ip}");
            assert!(check(ip, &[kind], &own).is_ok(), "{ip}");
            let others: Vec<_> = KINDS.into_iter().filter(|other| *other != kind).collect();
            assert_eq!(check(ip, &others, &own), Err((address, kind)), "{ip}");
        }
    }

    #[test]
    fn ordinary_addresses_pass_in_canonical_form() {
        let own = OwnListeners::default();
        for (ip, used) in [
            ("10.0.0.1", "10.0.0.1"),
            ("100.64.0.1", "100.64.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fd12:3456::1", "fd12:3456::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("64:ff9b::a00:1", "64:ff9b::a00:1"),
            ("2002:a00:1::1", "2002:a00:1::1"),
            ("223.255.255.255", "223.255.255.255"),
        ] {
            let used: IpAddr = used.parse().unwrap();
            assert_eq!(check(ip, &[], &own), Ok(SocketAddr::new(used, 15443)));
        }
    }

    #[test]
    fn an_own_listener_is_a_kind_of_its_own() {
        let own = OwnListeners::of(&["10.0.0.1:15443".parse().unwrap()]);
        let address = SocketAddr::from(([10, 0, 0, 1], 15443));
        let refused = Err((address, AddressKind::OwnListener));
        assert_eq!(check("10.0.0.1", &[], &own), refused);
        assert_eq!(check("::ffff:10.0.0.1", &[], &own), refused);
        assert!(check("10.0.0.1", &[AddressKind::OwnListener], &own).is_ok());

        let own = OwnListeners::of(&["127.0.0.1:15443".parse().unwrap()]);
        assert_eq!(
            check("127.0.0.1", &[AddressKind::Loopback], &own),
            Err((
                SocketAddr::from(([127, 0, 0, 1], 15443)),
                AddressKind::OwnListener
            ))
        );
    }

    #[test]
    fn a_kind_is_counted_by_the_word_that_the_config_has_for_it() {
        for kind in KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_label(kind));
        }
    }
}
