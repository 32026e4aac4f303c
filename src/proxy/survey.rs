//! A survey: the answer of one worker to a question about its open connections.
//!
//! A relay owns its record, so no other task can read it. Each relay that is asked is woken, and answers for itself
//! with its next poll. A few are asked at a time, so that traffic goes on between them.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::open_connections::{
    ConnectionFacts, ConnectionList, ConnectionQuery, OpenConnection, Selection,
};

/// The number of seats that are asked at a time.
pub(super) const SLICE: usize = 64;

/// The survey of a worker. There is one at a time.
#[derive(Debug, Default)]
pub(super) struct Survey {
    slice: Cell<SurveySlice>,
    selection: RefCell<Option<Selection>>,
}

/// The seats that are asked now.
#[derive(Debug, Clone, Copy, Default)]
struct SurveySlice {
    /// The key of the first one.
    first: usize,
    /// A bit for each that has not answered.
    unanswered: u64,
}

impl SurveySlice {
    fn bit(self, key: usize) -> u64 {
        let place = key.wrapping_sub(self.first);
        if place < SLICE { 1 << place } else { 0 }
    }
}

impl Survey {
    /// Begins with the answer to `query`.
    pub(super) fn begin(&self, query: Arc<ConnectionQuery>) {
        self.slice.set(SurveySlice::default());
        self.selection.replace(Some(Selection::new(query)));
    }

    /// Goes on to the seats from `first` on. Nobody among them is asked yet.
    pub(super) fn go_on(&self, first: usize) {
        self.slice.set(SurveySlice {
            first,
            unanswered: 0,
        });
    }

    /// Asks the connection with that seat, which is one of those that it has come to.
    pub(super) fn ask(&self, key: usize) {
        let slice = self.slice.get();
        self.slice.set(SurveySlice {
            unanswered: slice.unanswered | slice.bit(key),
            ..slice
        });
    }

    /// Whether the connection with that seat is asked. It is asked once.
    pub(super) fn take_question(&self, key: usize) -> bool {
        let slice = self.slice.get();
        let bit = slice.unanswered & slice.bit(key);
        if bit != 0 {
            self.slice.set(SurveySlice {
                unanswered: slice.unanswered & !bit,
                ..slice
            });
        }
        bit != 0
    }

    /// Whether nobody who was asked has still to answer.
    pub(super) fn is_answered(&self) -> bool {
        self.slice.get().unanswered == 0
    }

    /// Takes the answer of one connection. Returns whether it is to be ended.
    pub(super) fn note(
        &self,
        facts: &ConnectionFacts<'_>,
        describe: impl FnOnce() -> OpenConnection,
    ) -> bool {
        let mut selection = self.selection.borrow_mut();
        selection
            .as_mut()
            .is_some_and(|selection| selection.look(facts, describe))
    }

    /// Ends it. Returns the answer.
    pub(super) fn end(&self) -> ConnectionList {
        self.slice.set(SurveySlice::default());
        let selection = self.selection.take();
        selection.map(Selection::list).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seat_of_the_slice_answers_once() {
        let survey = Survey::default();
        assert!(!survey.take_question(0), "nobody is asked");
        survey.go_on(SLICE);
        for key in [SLICE, 2 * SLICE - 1] {
            survey.ask(key);
        }
        for key in [0, SLICE - 1, SLICE + 1, 2 * SLICE] {
            assert!(!survey.take_question(key), "{key}");
        }
        for key in [SLICE, 2 * SLICE - 1] {
            assert!(!survey.is_answered());
            assert!(survey.take_question(key), "{key}");
            assert!(!survey.take_question(key), "{key} again");
        }
        assert!(survey.is_answered());
    }
}
