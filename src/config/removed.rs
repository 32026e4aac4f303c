//! Keys that are gone. A file that has one is refused with the remedy.

use super::form::problems::{Complaint, KeyPlace, Problems};
use super::form::tree::{Node, Value};

/// A key of the top level that is gone.
#[derive(Debug)]
struct Removed {
    key: &'static str,
    remedy: &'static str,
}

/// Every key that is gone.
const REMOVED: &[Removed] = &[Removed {
    key: "busy_poll",
    remedy: "remove the line; a worker sleeps as soon as it has nothing to do",
}];

/// Takes keys out of the file that are gone, and notes a problem for each.
pub(super) fn refuse(root: &mut Node, problems: &mut Problems) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    entries.retain(|(key, _)| {
        let is_named = |one: &&Removed| matches!(&key.value, Value::Text(text) if text == one.key);
        let Some(removed) = REMOVED.iter().find(is_named) else {
            return true;
        };
        let place = KeyPlace::start().key(removed.key).at(key.line, key.column);
        let complaint = Complaint::new("strait has no such key any more").remedy(removed.remedy);
        problems.note(&place, complaint);
        false
    });
}
