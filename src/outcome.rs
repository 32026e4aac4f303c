//! The one reason a connection ended with: a closed enum, the same word in metrics, in the access log,
//! in tracing events and in `strait explain`.
//!
//! It is a module below the corridor because [`crate::metrics`] labels series by it.

/// The party that ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The side that connected to us.
    Downstream,
    /// The side that we connected to.
    Upstream,
    /// strait: a refusal, a limit, a timeout, a drain.
    Gateway,
}

impl EndedBy {
    /// The value in log lines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// The rate at which connections with an outcome leave lines in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRate {
    /// No line: they are counted only.
    Never,
    /// At most `access_log.refused_per_second` for each outcome of each source group: these connections were refused, or
    /// reached no endpoint.
    Refusal,
    /// A line for each.
    Always,
}

/// The certainty of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Seen: it follows from what is in the clear, or strait decided it.
    Seen,
    /// Seen, or inferred from the lengths of encrypted records; the log line says which.
    Mixed,
}

impl Certainty {
    /// The words in the reference.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Mixed => "seen or inferred",
        }
    }
}

/// The meaning of an outcome for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeClass {
    /// The connection ended as intended, by its sides or by the gateway's config.
    Well,
    /// The gateway turned it away.
    Refused,
    /// It failed at its endpoint, or on the way.
    Failed,
}

impl OutcomeClass {
    /// The class in a word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Declares [`Outcome`] with all that is said about one: label, Envoy's response flag, the party that ends
/// the connection (`Either` if it may be either side), log rate, certainty, meaning, and what to look at. A
/// new outcome cannot be added without them. `docs/src/internals/architecture.md` lists the other places.
macro_rules! outcomes {
    (@ended_by Either) => { None };
    (@ended_by $party:ident) => { Some(EndedBy::$party) };
    ($($variant:ident $label:literal $flag:literal $ended_by:ident $log_rate:ident $certainty:ident $meaning:literal $look_at:literal;)*) => {
        /// The reason why a connection ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $meaning] $variant,)*
        }

        impl Outcome {
            /// Every outcome, in the order of the table.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant,)*];

            /// The value in metric labels and log lines.
            pub const fn label(self) -> &'static str {
                match self { $(Outcome::$variant => $label,)* }
            }

            /// The response flag that Envoy's access log would carry, `-` for none.
            pub const fn envoy_flag(self) -> &'static str {
                match self { $(Outcome::$variant => $flag,)* }
            }

            /// The party that ends a connection with this outcome. `None`: one of the two sides.
            pub const fn ended_by(self) -> Option<EndedBy> {
                match self { $(Outcome::$variant => outcomes!(@ended_by $ended_by),)* }
            }

            /// The rate of its lines in the access log.
            pub const fn log_rate(self) -> LogRate {
                match self { $(Outcome::$variant => LogRate::$log_rate,)* }
            }

            /// The certainty of it.
            pub const fn certainty(self) -> Certainty {
                match self { $(Outcome::$variant => Certainty::$certainty,)* }
            }

            /// The place to look at first, and its side; `-` for none.
            pub const fn look_at(self) -> &'static str {
                match self { $(Outcome::$variant => $look_at,)* }
            }

            /// One sentence for the reference in `docs/src/` and for `strait explain`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Outcome::$variant => $meaning,)* }
            }
        }
    };
}

outcomes! {
    // The columns, here and in the line below it:
    // variant, label, Envoy's flag (`-`: none), `EndedBy` or `Either`, `LogRate`, `Certainty`, meaning
    //     what to look at (`-`: nothing);
    Ok "ok" "-" Either Always Mixed "The stream ended as streams do: both sides closed, or one reset what came after its close or goodbye."
        "-";
    SourceDenied "source_denied" "UAEX" Gateway Refusal Seen "The source address is not allowed on this listener; nothing was read."
        "The listener: `allow_sources`, `deny_sources`. Behind NAT the source is another address than the client knows.";
    Probe "probe" "-" Downstream Never Seen "Closed with zero bytes, as a load balancer's TCP check does; counted, not logged."
        "-";
    Overloaded "overloaded" "UO" Gateway Refusal Seen "A limit of the whole process was reached (connections, memory, file descriptors, the lag of a worker thread); refused early, or ended since it was quiet longest."
        "The gateway: `limits`, its memory and its open files; `detail` has the limit.";
    OverLimit "over_limit" "UO" Gateway Refusal Seen "A limit that the config sets was reached: of the listener, the route, the source (refused early), or the upstream or its endpoints."
        "The config: the limit in `detail`; the caller, if it opens more than it should; the endpoints, if they are too few or hang.";
    HelloTimeout "hello_timeout" "DT" Gateway Refusal Seen "The ClientHello was not complete by its deadline."
        "The caller: it sent nothing (a protocol in which the server speaks first) or part of a hello (packets lost on the way, such as by a small MTU).";
    ClientGoneBeforeHello "client_gone_before_hello" "DC" Downstream Refusal Seen "The client went away in the middle of its ClientHello."
        "The caller and the way to it: its own timeout, or a middlebox.";
    NotTls "not_tls" "NR" Gateway Refusal Seen "The first bytes are not a TLS handshake record."
        "The caller: its TLS settings (in Istio the DestinationRule); `detail` names the protocol if it is known.";
    HelloMalformed "hello_malformed" "NR" Gateway Refusal Seen "The ClientHello breaks RFC 8446 or RFC 6066."
        "The caller: its TLS library, or what changed its bytes on the way; `detail` has the rule.";
    HelloTooLarge "hello_too_large" "NR" Gateway Refusal Seen "The ClientHello is larger than `client_hello.max_size`."
        "The caller: what fills its hello; or `client_hello.max_size`.";
    NoSni "no_sni" "NR" Gateway Refusal Seen "The ClientHello names no server."
        "The caller: it was given an IP address in place of a name, or sends no server name. A route with `no_sni: true` takes such clients.";
    BadServerName "bad_server_name" "NR" Gateway Refusal Seen "The server name is not a valid host name (an IP address, a wrong character, a wrong length)."
        "The caller: the name that it was given.";
    NoRoute "no_route" "NR" Gateway Refusal Seen "No route of the listener matches the server name."
        "The listener's routes or the cluster's exports; `detail` has a near miss, `strait explain` more. Or the caller's name or port. With `stale_since` the Service may be new: the Kubernetes API.";
    AlpnRefused "alpn_refused" "NR" Gateway Refusal Seen "The route demands an ALPN protocol that the client did not offer."
        "The caller: it is no sidecar of the mesh, or its DestinationRule lacks ISTIO_MUTUAL. Or the route's `alpn`.";
    NoEndpoint "no_endpoint" "UH" Gateway Refusal Seen "The upstream has no endpoint to connect to."
        "The upstream's source: ready pods, the DNS name; `detail` and `/upstreams` have the reason. With `stale_since`, the Kubernetes API.";
    ConnectRefused "connect_refused" "UF,URX" Gateway Refusal Seen "The last endpoint tried refused the connection."
        "The pod: nothing listens at the address. It starts, or its sidecar has no SVID yet (no registration entry), or the port is wrong. With `stale_since` it may be gone: the Kubernetes API or DNS.";
    ConnectTimeout "connect_timeout" "UF,URX" Gateway Refusal Seen "The last endpoint tried did not accept the connection in time, or with `starttls` did not answer the request for TLS."
        "The way to the pod: a NetworkPolicy, a node that is gone, a wrong address; with `starttls` also the pod: its process is stuck. With `stale_since` the pod may be gone: the Kubernetes API or DNS.";
    ConnectUnreachable "connect_unreachable" "UF,URX" Gateway Refusal Seen "The last endpoint tried is not reachable from here."
        "The gateway's routes to the pod's network; its address family.";
    NoLocalPort "no_local_port" "UF,URX" Gateway Refusal Seen "No local port was left towards the endpoint (see ip_local_port_range and tcp_tw_reuse), or this host does not have the addresses of `connect.source_addresses`."
        "The gateway's host: ip_local_port_range, tcp_tw_reuse, its addresses; more endpoints or `connect.source_addresses`.";
    ProxyHeaderInvalid "proxy_header_invalid" "NR" Gateway Refusal Seen "The PROXY protocol header is missing or invalid."
        "The load balancer in front: its PROXY protocol; `proxy_protocol.trusted`.";
    DownstreamReset "downstream_reset" "DC" Downstream Always Seen "The downstream side reset the connection."
        "The caller: a crash, a timeout of its own, a cancelled call.";
    UpstreamReset "upstream_reset" "UC" Upstream Always Seen "The upstream side reset the connection."
        "The pod: a crash, an OOM kill, a timeout of its own.";
    DownstreamTimeout "downstream_timeout" "DC" Downstream Always Seen "The downstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`."
        "The caller's host, or the way to it.";
    UpstreamTimeout "upstream_timeout" "UC" Upstream Always Seen "The upstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`."
        "The pod's node, or the way to it.";
    UpstreamClosedBeforeReply "upstream_closed_before_reply" "UC" Upstream Always Mixed "The endpoint closed before it answered: without a byte, or in TLS without an answer to what the client sent."
        "The pod: its log. A policy (RBAC) or the application closes; behind a sidecar the application may be down.";
    UpstreamNotTls "upstream_not_tls" "UC" Either Always Seen "The first bytes of the endpoint are no TLS: its sidecar is missing, or the port is the application's; `detail` has the bytes."
        "The pod: is its sidecar there? The route: is its port the sidecar's?";
    UpstreamSilent "upstream_silent" "DC" Downstream Always Seen "The endpoint accepted and sent nothing, then the client gave up."
        "The pod: its process is stuck or overloaded, or its port is of another protocol. `duration_ms` is how long the caller waited.";
    HandshakeRefused "handshake_refused" "-" Either Always Mixed "One side ended the TLS handshake: it refused the other, most often its certificate, or left; `ended_by` is that side."
        "The side in `ended_by` says why in its own log: bundles, SPIFFE IDs, expiry, TLS versions. If both ways between two clusters fail with `downstream`, neither has the other's bundle; if one way fails with `downstream` and the other with `upstream`, it is the certificate of one side.";
    IdleTimeout "idle_timeout" "-" Gateway Always Seen "No byte flowed either way for `timeouts.idle`, or the `idleTimeout` of a DestinationRule."
        "-";
    HalfClosedTimeout "half_closed_timeout" "-" Gateway Always Seen "One side had closed and no byte flowed for `timeouts.half_closed`."
        "The side that did not close: its log.";
    MaxAge "max_age" "DT" Gateway Always Seen "The connection was as old as `timeouts.max_age`, or the `maxConnectionDuration` of a DestinationRule, lets it become."
        "-";
    Disallowed "disallowed" "-" Gateway Always Seen "The connection would not be let in any more, and `end_disallowed` says to end it."
        "The config or the cluster: what has changed is in `detail`.";
    EndedByOperator "ended_by_operator" "-" Gateway Always Seen "An operator ended the connection on the admin server (`DELETE /connections`)."
        "-";
    Drained "drained" "-" Gateway Always Seen "The gateway closed the connection because it was draining."
        "-";
    InternalError "internal_error" "-" Gateway Always Seen "strait itself failed: a defect, or the kernel refused what it needs."
        "The gateway's log; please report it.";
}

impl Outcome {
    /// The number of outcomes: the size of a table indexed by [`Outcome::index`].
    pub const COUNT: usize = Self::ALL.len();

    /// The meaning for the caller.
    pub const fn class(self) -> OutcomeClass {
        match self {
            Self::Ok
            | Self::Probe
            | Self::IdleTimeout
            | Self::HalfClosedTimeout
            | Self::MaxAge
            | Self::Disallowed
            | Self::EndedByOperator
            | Self::Drained => OutcomeClass::Well,
            Self::SourceDenied
            | Self::Overloaded
            | Self::OverLimit
            | Self::HelloTimeout
            | Self::ClientGoneBeforeHello
            | Self::NotTls
            | Self::HelloMalformed
            | Self::HelloTooLarge
            | Self::NoSni
            | Self::BadServerName
            | Self::NoRoute
            | Self::AlpnRefused
            | Self::ProxyHeaderInvalid => OutcomeClass::Refused,
            Self::NoEndpoint
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectUnreachable
            | Self::NoLocalPort
            | Self::DownstreamReset
            | Self::UpstreamReset
            | Self::DownstreamTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamClosedBeforeReply
            | Self::UpstreamNotTls
            | Self::UpstreamSilent
            | Self::HandshakeRefused
            | Self::InternalError => OutcomeClass::Failed,
        }
    }

    /// Whether the connection was refused or has failed.
    pub const fn is_failure(self) -> bool {
        !matches!(self.class(), OutcomeClass::Well)
    }

    /// Position in [`Outcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn labels_are_unique_snake_case() {
        let mut seen = std::collections::HashSet::new();
        for (position, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(outcome.index(), position);
            assert!(seen.insert(outcome.label()), "{} twice", outcome.label());
            assert!(
                outcome
                    .label()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
        }
    }
}
