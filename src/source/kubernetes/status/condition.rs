//! Conditions: what is stated about an object.

/// A statement about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: ConditionKind,
    /// `status`.
    pub holds: bool,
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people; at most [`Condition::MAX_MESSAGE`] bytes.
    pub message: String,
}

/// What is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// The object is valid, and what it asks for is supported.
    Accepted,
    /// It is, or is soon, what traffic meets.
    Programmed,
    /// What it refers to is there and may be used.
    ResolvedRefs,
    /// Another listener asks for the same.
    Conflicted,
    /// Part of a route is left out.
    PartiallyInvalid,
    /// A route does not serve some of the names that it lists.
    HostnamesRefused,
}

impl ConditionKind {
    /// Every kind: a condition of such a type belongs to who writes the status, and goes when it is not
    /// stated any more.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Programmed,
        Self::ResolvedRefs,
        Self::Conflicted,
        Self::PartiallyInvalid,
        Self::HostnamesRefused,
    ];

    /// As the API calls it.
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
    /// The longest message; the API takes 32 KiB, and people read less.
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
