//! The label values of refusals at limits: closed sets.

/// Declares an enum with the label of each variant.
macro_rules! labels {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident $label:literal,)* }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of the metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}
pub(super) use labels;

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
