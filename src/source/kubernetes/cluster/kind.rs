//! The kinds of object that are watched.

use super::kinds::kinds;

macro_rules! kind {
    ($($kind:ident($record:ty), $table:ident, $label:literal;)*) => {
        /// The kinds of object that are watched.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($kind), "`.")] $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The word for the kind in logs and in the metric label `kind`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }
        }
    };
}
kinds!(kind);
