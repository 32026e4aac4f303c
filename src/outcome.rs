//! The one reason a connection ended with: a closed enum, the same word in metrics, in the access log,
//! in tracing events and in `strait explain`.
//!
//! It is a module below the corridor because [`crate::metrics`] labels series by it.

/// Declares [`Outcome`] with its label, Envoy response flag and meaning, so that a new outcome
/// cannot be added without all three.
macro_rules! outcomes {
    ($($variant:ident $label:literal $flag:literal $meaning:literal;)*) => {
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

            /// One sentence for the reference in `docs/src/` and for `strait explain`.
            pub const fn meaning(self) -> &'static str {
                match self { $(Outcome::$variant => $meaning,)* }
            }
        }
    };
}

outcomes! {
    Ok "ok" "-" "Both sides ended the stream cleanly.";
    SourceDenied "source_denied" "UAEX" "The source address is not allowed on this listener; nothing was read.";
    Probe "probe" "-" "Closed with zero bytes, as a load balancer's TCP check does; counted, not logged.";
    Overloaded "overloaded" "UO" "A limit of the whole process was reached (connections, hello memory, file descriptors); refused early.";
    OverLimit "over_limit" "UO" "A limit that the config sets for the listener, the route or the source was reached; refused early.";
    HelloTimeout "hello_timeout" "DT" "The ClientHello was not complete by its deadline.";
    ClientGoneBeforeHello "client_gone_before_hello" "DC" "The client went away in the middle of its ClientHello.";
    NotTls "not_tls" "NR" "The first bytes are not a TLS handshake record.";
    HelloMalformed "hello_malformed" "NR" "The ClientHello breaks RFC 8446 or RFC 6066.";
    HelloTooLarge "hello_too_large" "NR" "The ClientHello is larger than `client_hello.max_size`.";
    NoSni "no_sni" "NR" "The ClientHello names no server.";
    BadServerName "bad_server_name" "NR" "The server name is not a valid host name (an IP address, a wrong character, a wrong length).";
    NoRoute "no_route" "NR" "No route of the listener matches the server name.";
    AlpnRefused "alpn_refused" "NR" "The route demands an ALPN protocol that the client did not offer.";
    NoEndpoint "no_endpoint" "UH" "The upstream has no endpoint to connect to.";
    ConnectRefused "connect_refused" "UF,URX" "The last endpoint tried refused the connection.";
    ConnectTimeout "connect_timeout" "UF,URX" "The last endpoint tried did not answer in time.";
    ConnectUnreachable "connect_unreachable" "UF,URX" "The last endpoint tried is not reachable from here.";
    NoLocalPort "no_local_port" "UF,URX" "No local port was left towards the endpoint (see ip_local_port_range and tcp_tw_reuse).";
    ProxyHeaderInvalid "proxy_header_invalid" "NR" "The PROXY protocol header is missing or invalid.";
    DownstreamReset "downstream_reset" "DC" "The downstream side reset the connection.";
    UpstreamReset "upstream_reset" "UC" "The upstream side reset the connection.";
    DownstreamTimeout "downstream_timeout" "DC" "The downstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`.";
    UpstreamTimeout "upstream_timeout" "UC" "The upstream side stopped answering: keepalive probes, or sent data for `tcp.user_timeout`.";
    UpstreamClosedBeforeReply "upstream_closed_before_reply" "UC" "The endpoint accepted, then closed without sending a byte.";
    HandshakeRefused "handshake_refused" "-" "One side refused the other in the TLS handshake, most often its certificate; `ended_by` is who.";
    IdleTimeout "idle_timeout" "-" "No byte flowed either way for `timeouts.idle`.";
    HalfClosedTimeout "half_closed_timeout" "-" "One side had closed and no byte flowed for `timeouts.half_closed`.";
    Drained "drained" "-" "The gateway closed the connection because it was draining.";
    InternalError "internal_error" "-" "A defect of strait itself; please report it.";
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
