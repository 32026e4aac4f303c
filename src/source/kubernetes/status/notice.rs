//! What is said to an object that keeps what another one asks for, by an Event: its own status stays as it
//! is, since nobody may turn the conditions of somebody else's object bad.

use std::collections::BTreeSet;

use super::condition::Condition;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// Notices at a time; of more, the first ones by object.
const MAX_NOTICES: usize = 100;

/// Something that is said about an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Notice {
    /// The object.
    pub about: (Kind, ObjectKey),
    /// Why, for machines.
    pub reason: &'static str,
    /// Why, for people; at most [`Notice::MAX_NOTE`] bytes.
    pub note: String,
}

impl Notice {
    /// The API takes no more.
    pub const MAX_NOTE: usize = 1024;
}

/// What is to be said now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices(BTreeSet<Notice>);

impl Notices {
    /// Adds a notice, if there are not too many.
    pub fn add(&mut self, about: (Kind, ObjectKey), reason: &'static str, note: String) {
        let note = Condition::cut(note, Notice::MAX_NOTE);
        self.0.insert(Notice {
            about,
            reason,
            note,
        });
        if self.0.len() > MAX_NOTICES {
            self.0.pop_last();
        }
    }

    /// Each of them, by object.
    pub fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.0.iter()
    }

    /// Whether it is to be said.
    pub fn contains(&self, notice: &Notice) -> bool {
        self.0.contains(notice)
    }
}
