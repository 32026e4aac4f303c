//! Problems and warnings that resolving notes.

use std::collections::HashMap;

use crate::config::form::problems::{Complaint, KeyPlace, Problems};

/// The results of resolving besides the config.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Problems,
    pub(crate) warnings: Problems,
}

/// Notes a problem if the name was taken before; otherwise remembers it.
pub(super) fn note_taken<'a>(
    taken: &mut HashMap<&'a str, &'a KeyPlace>,
    what: &str,
    name: &'a str,
    place: &'a KeyPlace,
    problems: &mut Problems,
) {
    if let Some(first) = taken.get(name) {
        let complaint = Complaint::new(format!("{name:?} is the name of another {what}, {first}"))
            .remedy("give each its own name");
        problems.note(place, complaint);
    } else {
        taken.insert(name, place);
    }
}
