//! Keys that are gone. A file that has one is read without it, with a warning: an upgrade takes the configs of before.

use super::form::problems::{Complaint, KeyPlace, Problems};
use super::form::tree::{Node, Value};

/// A key of the top level that is gone.
#[derive(Debug)]
struct Removed {
    key: &'static str,
    /// The version that refuses the key.
    until: &'static str,
    remedy: &'static str,
}

/// Every key that is gone.
const REMOVED: &[Removed] = &[Removed {
    key: "busy_poll",
    until: "0.2.0",
    remedy: "a worker sleeps as soon as it has nothing to do",
}];

/// Takes keys out of the file that are gone, and notes a warning for each. `docs/src/operate/versions.md` says how long
/// they are accepted.
pub(super) fn ignore(root: &mut Node, warnings: &mut Problems) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    entries.retain(|(key, _)| {
        let is_named = |one: &&Removed| matches!(&key.value, Value::Text(text) if text == one.key);
        let Some(removed) = REMOVED.iter().find(is_named) else {
            return true;
        };
        let place = KeyPlace::start().key(removed.key).at(key.line, key.column);
        let Removed { until, remedy, .. } = removed;
        let complaint = Complaint::new("this key is deprecated and has no effect").remedy(format!(
            "remove the line, since strait {until} refuses the key; {remedy}"
        ));
        warnings.note(&place, complaint);
        false
    });
}
