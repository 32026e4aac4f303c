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

/// Declares [`Outcome`] with all that is said about one: label, Envoy's response flag, the party that ends
/// the connection (`Either` if it may be either side), log rate, and meaning. A new outcome cannot be added
/// without them.
macro_rules! outcomes {
    (@ended_by Either) => { None };
    (@ended_by $party:ident) => { Some(EndedBy::$party) };
    ($($variant:ident $label:literal $flag:literal $ended_by:ident $log_rate:ident $meaning:literal;)*) => {
        /// The reason why a connection ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Outcome {
            $(#[doc = $meaning] $variant,)*
        }

        impl Outcome {
            /// Every outcome, in the order of the corridor.
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

            /// One sentence for the reference in `docs/src/` and for `strait explain`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Outcome::$variant => $meaning,)* }
            }
        }
    };
}

outcomes! {
    Ok "ok" "-" Either Always "Both sides ended the stream cleanly.";
    SourceDenied "source_denied" "UAEX" Gateway Refusal "The source address is not allowed on this listener; nothing was read.";
    Probe "probe" "-" Downstream Never "Closed with zero bytes, as a load balancer's TCP check does; counted, not logged.";
    Overloaded "overloaded" "UO" Gateway Refusal "A limit of the whole process was reached (connections, hello memory, file descriptors); refused early.";
    OverLimit "over_limit" "UO" Gateway Refusal "A limit that the config sets for the listener, the route or the source was reached; refused early.";
    HelloTimeout "hello_timeout" "DT" Gateway Refusal "The ClientHello was not complete by its deadline.";
    ClientGoneBeforeHello "client_gone_before_hello" "DC" Downstream Refusal "The client went away in the middle of its ClientHello.";
    NotTls "not_tls" "NR" Gateway Refusal "The first bytes are not a TLS handshake record.";
    HelloMalformed "hello_malformed" "NR" Gateway Refusal "The ClientHello breaks RFC 8446 or RFC 6066.";
    HelloTooLarge "hello_too_large" "NR" Gateway Refusal "The ClientHello is larger than `client_hello.max_size`.";
    NoSni "no_sni" "NR" Gateway Refusal "The ClientHello names no server.";
    BadServerName "bad_server_name" "NR" Gateway Refusal "The server name is not a valid host name (an IP address, a wrong character, a wrong length).";
    NoRoute "no_route" "NR" Gateway Refusal "No route of the listener matches the server name.";
    AlpnRefused "alpn_refused" "NR" Gateway Refusal "The route demands an ALPN protocol that the client did not offer.";
    NoEndpoint "no_endpoint" "UH" Gateway Refusal "The upstream has no endpoint to connect to.";
    ConnectRefused "connect_refused" "UF,URX" Gateway Refusal "The last endpoint tried refused the connection.";
    ConnectTimeout "connect_timeout" "UF,URX" Gateway Refusal "The last endpoint tried did not answer in time.";
    ConnectUnreachable "connect_unreachable" "UF,URX" Gateway Refusal "The last endpoint tried is not reachable from here.";
    NoLocalPort "no_local_port" "UF,URX" Gateway Refusal "No local port was left towards the endpoint (see ip_local_port_range and tcp_tw_reuse).";
    ProxyHeaderInvalid "proxy_header_invalid" "NR" Gateway Refusal "The PROXY protocol header is missing or invalid.";
    DownstreamReset "downstream_reset" "DC" Downstream Always "The downstream side reset the connection.";
    UpstreamReset "upstream_reset" "UC" Upstream Always "The upstream side reset the connection.";
    DownstreamTimeout "downstream_timeout" "DC" Downstream Always "The downstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`.";
    UpstreamTimeout "upstream_timeout" "UC" Upstream Always "The upstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`.";
    UpstreamClosedBeforeReply "upstream_closed_before_reply" "UC" Upstream Always "The endpoint accepted, then closed without sending a byte.";
    HandshakeRefused "handshake_refused" "-" Either Always "One side refused the other in the TLS handshake, most often its certificate; `ended_by` is that side.";
    IdleTimeout "idle_timeout" "-" Gateway Always "No byte flowed either way for `timeouts.idle`.";
    HalfClosedTimeout "half_closed_timeout" "-" Gateway Always "One side had closed and no byte flowed for `timeouts.half_closed`.";
    Drained "drained" "-" Gateway Always "The gateway closed the connection because it was draining.";
    InternalError "internal_error" "-" Gateway Always "A defect of strait itself; please report it.";
}

impl Outcome {
    /// The number of outcomes: the size of a table indexed by [`Outcome::index`].
    pub const COUNT: usize = Self::ALL.len();

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
