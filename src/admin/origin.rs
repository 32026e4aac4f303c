//! The check that refuses requests which a web page may have sent to the admin server.
//!
//! The admin server has no password: every client that reaches its address is trusted. A browser on the
//! same machine (an operator's, through `kubectl port-forward`) lends that reach to any page it shows:
//!
//! - by DNS rebinding, a page's own host name comes to point at 127.0.0.1. So `Host` must be an IP
//!   address, `localhost` or a name under it, or this machine's host name; a rebound name is not among
//!   these, since browsers never resolve `.localhost` (RFC 6761 6.3).
//! - by a form or a script, a page can POST to any address. Browsers then say so in `Origin`. So a POST
//!   with an `Origin` that is not the address it was sent to is refused.
//!
//! curl and other tools send no `Origin` and are not affected.
//!
//! A request that changes something must also come from this machine (a loopback address), whatever address
//! the admin server is bound to. `kubectl port-forward` and `kubectl exec` do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The address that a request came from, which the server adds to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerAddress(pub(super) IpAddr);

impl PeerAddress {
    fn is_this_machine(self) -> bool {
        self.0.to_canonical().is_loopback()
    }
}

/// The host names under which the admin server answers.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    machine: Option<Arc<str>>,
}

impl Hosts {
    /// `localhost` and the host name of this machine. In a pod that is the pod's name.
    pub(super) fn of_this_machine() -> Self {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let machine = machine.map(|name| name.trim().into());
        Self { machine }
    }

    /// Whether the value of a `Host` header is one of them, with a port or without.
    fn contains(&self, value: &str) -> bool {
        if value.parse::<SocketAddr>().is_ok() {
            return true;
        }
        if let Some(address) = value.strip_prefix('[') {
            let address = address.strip_suffix(']').map(str::parse::<Ipv6Addr>);
            return matches!(address, Some(Ok(_)));
        }
        let (host, port) = value.split_once(':').unwrap_or((value, "0"));
        port.parse::<u16>().is_ok() && (host.parse::<Ipv4Addr>().is_ok() || self.names(host))
    }

    fn names(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || self
                .machine
                .as_deref()
                .is_some_and(|machine| host.eq_ignore_ascii_case(machine))
    }

    /// The reason why a request of `peer` is refused, if it is.
    fn refuse(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer: Option<PeerAddress>,
    ) -> Option<&'static str> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next();
        let known = |value: &HeaderValue| value.to_str().is_ok_and(|host| self.contains(host));
        if hosts.next().is_some() || host.is_some_and(|host| !known(host)) {
            return Some(
                "Host must be an IP address, a localhost name or this machine's host name\n",
            );
        }
        let reads = method == Method::GET || method == Method::HEAD;
        if !reads && !peer.is_some_and(PeerAddress::is_this_machine) {
            return Some(
                "this changes the gateway, so it must come from the same machine (a loopback address)\n",
            );
        }
        let same_origin = |origin: &HeaderValue| {
            let sent_to = origin.as_bytes().strip_prefix(b"http://");
            sent_to.is_some() && sent_to == host.map(HeaderValue::as_bytes)
        };
        if !reads && !headers.get_all(header::ORIGIN).iter().all(same_origin) {
            return Some("a page of another origin may not do this\n");
        }
        None
    }
}

/// Answers 403 to requests that [`Hosts`] refuses, and keeps every answer out of caches.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get().copied();
    let mut response = match hosts.refuse(request.method(), request.headers(), peer) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(header::HeaderName, &str)]) -> bool {
        let hosts = Hosts {
            machine: Some("strait-5f9c".into()),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = PeerAddress(Ipv4Addr::LOCALHOST.into());
        hosts.refuse(method, &map, Some(peer)).is_some()
    }

    #[test]
    fn only_this_machine_may_change_something() {
        let hosts = Hosts { machine: None };
        for (peer, reads, changes) in [
            ("127.0.0.1", true, true),
            ("127.9.9.9", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("10.0.0.1", true, false),
            ("fd00::1", true, false),
        ] {
            let address = Some(PeerAddress(peer.parse().unwrap()));
            let may = |method: Method| hosts.refuse(&method, &HeaderMap::new(), address).is_none();
            assert_eq!([may(Method::GET), may(Method::HEAD)], [reads; 2], "{peer}");
            for method in [Method::POST, Method::DELETE, Method::PUT] {
                assert_eq!(may(method), changes, "{peer}");
            }
        }
        let unknown = hosts.refuse(&Method::POST, &HeaderMap::new(), None);
        assert!(unknown.is_some(), "not known is not this machine");
    }

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:15000",
            "10.1.2.3:1",
            "[::1]:15000",
            "[::1]",
            "localhost",
            "LocalHost:15000",
            "strait.LocalHost:15000",
            "strait-5f9c:15000",
        ] {
            assert!(!refused(&Method::GET, &[(header::HOST, good)]), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:15000",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example:15000",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1:x",
            "127.0.0.1:x@evil.example",
            "127.0.0.1:",
            "localhost:65536",
            "::1",
            "",
            "a b",
            "[::1",
            "strait-5f9c.evil.example",
        ] {
            assert!(refused(&Method::GET, &[(header::HOST, bad)]), "{bad}");
        }
        assert!(!refused(&Method::GET, &[]), "HTTP/1.0 has no Host");
        let two = [(header::HOST, "localhost"), (header::HOST, "localhost")];
        assert!(refused(&Method::GET, &two), "which one is meant?");
    }

    #[test]
    fn origins() {
        let host = (header::HOST, "localhost:15000");
        let post = |origin| refused(&Method::POST, &[host.clone(), (header::ORIGIN, origin)]);
        assert!(!refused(&Method::POST, std::slice::from_ref(&host)));
        assert!(!post("http://localhost:15000"));
        for bad in [
            "http://evil.example",
            "https://localhost:15000",
            "http://localhost",
            "http://localhost:15001",
            "null",
            "",
        ] {
            assert!(post(bad), "{bad}");
        }
        let no_host = [(header::ORIGIN, "http://localhost:15000")];
        assert!(refused(&Method::POST, &no_host));
        let get = [host.clone(), (header::ORIGIN, "http://evil.example")];
        assert!(
            !refused(&Method::GET, &get),
            "reads change nothing, and the browser hides the answer"
        );
    }
}
