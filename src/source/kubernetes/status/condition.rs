//! Conditions: what is stated about an object.

/// A statement about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: ConditionKind,
    /// `status`.
    pub holds: bool,
    /// The reason, for machines.
    pub reason: &'static str,
    /// The reason, for people; at most [`Condition::MAX_MESSAGE`] bytes.
    pub message: String,
}

/// The type of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// The object is valid, and what it asks for is supported.
    Accepted,
    /// It is in force for traffic, or soon will be.
    Programmed,
    /// Everything that it refers to exists and may be used.
    ResolvedRefs,
    /// Another listener asks for the same names.
    Conflicted,
    /// Part of a route is left out.
    PartiallyInvalid,
    /// A route does not serve some of the names that it lists.
    HostnamesRefused,
}

impl ConditionKind {
    /// Every type. Conditions of these types belong to the writer of the status; it removes those that
    /// no longer apply.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::Conflicted,
        Self::PartiallyInvalid,
        Self::HostnamesRefused,
    ];

    /// The word for it in the API.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::Conflicted => "Conflicted",
            Self::PartiallyInvalid => "PartiallyInvalid",
            Self::HostnamesRefused => "strait.dev/HostnamesRefused",
        }
    }
}

impl Condition {
    /// The longest message in bytes. The API accepts 32 KiB, but people read less.
    pub const MAX_MESSAGE: usize = 1024;

    pub(crate) fn new(
        kind: ConditionKind,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: Self::cut(message.into(), Self::MAX_MESSAGE),
        }
    }

    pub(super) fn cut(mut text: String, max: usize) -> String {
        if text.len() > max {
            text.truncate(text.floor_char_boundary(max - "...".len()));
            text.push_str("...");
        }
        text
    }
}
