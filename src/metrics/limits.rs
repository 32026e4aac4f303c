//! The label values of refusals at limits: closed sets.

use super::labels::labels;

labels! {
    /// Whose limit it is.
    LimitScope {
        /// A listener's.
        Listener "listener",
        /// A route's.
        Route "route",
        /// Each source address's.
        Source "source",
        /// A source group's.
        SourceGroup "source_group",
    }
}

labels! {
    /// What is limited.
    LimitKind {
        /// Connections open at a time.
        Connections "connections",
        /// New connections a second.
        ConnectionsPerSecond "connections_per_second",
        /// ClientHellos in progress.
        Hellos "hellos",
        /// Source addresses that are kept count of.
        Sources "sources",
    }
}
