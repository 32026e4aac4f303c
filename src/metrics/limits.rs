//! The label values of connections refused because of a limit: closed sets.

use super::labels::labels;

labels! {
    /// The scope of a limit.
    LimitScope {
        /// The limit of a listener.
        Listener "listener",
        /// The limit of a route.
        Route "route",
        /// The limit of each source address.
        Source "source",
        /// The limit of a source group.
        SourceGroup "source_group",
        /// The limit of an upstream.
        Upstream "upstream",
        /// The limit of each endpoint of an upstream.
        Endpoint "endpoint",
    }
}

labels! {
    /// The kind of limit.
    LimitKind {
        /// Connections open at a time.
        Connections "connections",
        /// New connections a second.
        ConnectionsPerSecond "connections_per_second",
        /// ClientHellos in progress.
        Hellos "hellos",
        /// Source addresses that are counted.
        Sources "sources",
        /// Connections to an upstream that are being opened.
        Connecting "connecting",
    }
}
