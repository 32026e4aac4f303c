//! Notices to objects that keep something which another object asks for.
//!
//! A notice becomes an Event. The object's own status stays as it is, since nobody may turn the
//! conditions of somebody else's object bad.

use std::collections::BTreeSet;

use super::condition::Condition;
use crate::source::kubernetes::cluster::Kind;
use crate::source::kubernetes::records::ObjectKey;

/// The largest number of notices at a time. Of more, the first by object are kept.
const MAX_NOTICES: usize = 100;

/// A message about an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Notice {
    /// The object.
    pub about: (Kind, ObjectKey),
    /// The reason, for machines.
    pub reason: &'static str,
    /// The reason, for people; at most [`Notice::MAX_NOTE`] bytes.
    pub note: String,
}

impl Notice {
    /// The longest note that the API accepts, in bytes.
    pub const MAX_NOTE: usize = 1024;
}

/// The notices that hold now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices(BTreeSet<Notice>);

impl Notices {
    /// Adds a notice, unless there are too many.
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

    /// Every notice, by object.
    pub fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.0.iter()
    }

    /// Whether the notice holds now.
    pub fn contains(&self, notice: &Notice) -> bool {
        self.0.contains(notice)
    }
}
