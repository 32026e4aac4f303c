//! The fields of a line of the access log, for the page about it and for lines of an operator's own format.

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineField {
    /// The key, in JSON and in text.
    pub key: &'static str,
    /// The operators of Envoy's access log that say the same; empty if none does.
    pub envoy: &'static str,
    /// The meaning, for the page.
    pub meaning: &'static str,
}

macro_rules! fields {
    ($($key:literal $envoy:literal $meaning:literal;)*) => {
        /// Every field, in the order of a line.
        pub const LINE_FIELDS: &[LineField] =
            &[$(LineField { key: $key, envoy: $envoy, meaning: $meaning },)*];
    };
}

fields! {
    "time" "%EMIT_TIME%" "when the connection ended; in a line of an open connection, when it was written";
    "start" "%START_TIME%" "when it was accepted";
    "event" "%ACCESS_LOG_TYPE%" "of a connection that is open: `open`, if its relay has just begun (`access_log.open`), or `interval` (`access_log.interval`). Such a line has no `outcome`";
    "connection" "%CONNECTION_ID%" "its number, unique in the process";
    "sampled" "" "the share of such connections that leave lines, if it is not all of them (`access_log.sample_ok`)";
    "listener" "" "the listener's name";
    "source" "%DOWNSTREAM_REMOTE_ADDRESS%" "the client's address: the peer's, or the one that its PROXY header announced";
    "proxy" "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%" "the address of the peer that announced the client";
    "source_group" "" "the name of the source group";
    "server_name" "%REQUESTED_SERVER_NAME%" "the name that the client sent, valid or not; escaped, and cut after 512 bytes";
    "alpn" "" "the ALPN offers that the client sent, as `server_name`";
    "tls_versions" "" "the TLS versions that a valid hello offers";
    "pq_groups" "" "the post-quantum groups that a valid hello offers";
    "tls_version" "%DOWNSTREAM_TLS_VERSION%" "the version that the two sides have agreed on, as the ServerHello says it. The operator is that of the pod's Envoy";
    "tls_cipher" "%DOWNSTREAM_TLS_CIPHER%" "the cipher suite agreed on, with the same operator";
    "tls_group" "" "the group agreed on; TLS 1.2 has none there";
    "hello_retry" "" "`yes`, if the pod asked for a second hello (HelloRetryRequest)";
    "resumes" "" "`yes`, if the session resumes an earlier one; `no`, if the client asked for that in vain; `asked`, if it asked and the handshake came to no answer. Calls that resume can pass where new ones are refused for an expired certificate";
    "alert" "" "the alert in the clear that ended the handshake";
    "alert_by" "" "the side that sent it";
    "downstream_certificate_unauthenticated" "" "the SPIFFE ID and the expiry in the caller's certificate, if a handshake of TLS 1.2 ended before it was over: there certificates are in the clear. Nobody has verified them; anybody can send any certificate. The ID is cut after 36 characters";
    "upstream_certificate_unauthenticated" "" "the same of the pod";
    "ja4" "%TLS_JA4_FINGERPRINT%" "FoxIO's JA4, if `access_log.fingerprint` asks for it";
    "route" "%ROUTE_NAME%" "the route that matched";
    "upstream" "%UPSTREAM_CLUSTER%" "its upstream";
    "endpoint" "%UPSTREAM_HOST%" "the endpoint that the connection went to, or the last one that was tried";
    "pod" "" "the name of the endpoint's pod, if Kubernetes says which it is";
    "namespace" "" "the pod's namespace";
    "zone" "" "the endpoint's zone, if it is known";
    "upstream_local" "%UPSTREAM_LOCAL_ADDRESS%" "the address from which strait connected to the endpoint, of a connection that relayed. The pod's sidecar logs it as `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`: with `endpoint` and `start` it finds the sidecar's line of the same connection";
    "stale_since" "" "of a call that failed: the time from which on strait may not know what has changed, since the Kubernetes API (or, for an upstream of `dns`, DNS) does not answer. The endpoint may be gone, the route may be new";
    "attempts" "%UPSTREAM_REQUEST_ATTEMPT_COUNT%" "the number of attempts to connect, of which several may be at one endpoint";
    "outcome" "" "the reason why it ended";
    "flags" "%RESPONSE_FLAGS%" "the flags that Envoy would log for it";
    "detail" "%CONNECTION_TERMINATION_DETAILS%" "details of the reason, for a person";
    "ended_by" "" "the side that ended it: `downstream`, `upstream` or `gateway`";
    "confidence" "" "`inferred`, if `outcome` follows from the lengths of encrypted records; it is left out if `outcome` was seen";
    "to_upstream_bytes" "%BYTES_RECEIVED%" "bytes to the endpoint, including the hello; of an open connection, so far";
    "to_downstream_bytes" "%BYTES_SENT%" "bytes to the client";
    "hello_ms" "" "milliseconds from accept to the end of the hello";
    "connect_ms" "" "milliseconds from the first attempt to connect to the connection";
    "duration_ms" "%DURATION%" "milliseconds from accept to the time of the line";
}
