//! Surveys: the task of a worker that answers questions about its open connections.

use std::rc::Rc;

use super::super::survey::SLICE;
use super::super::worker::Worker;
use crate::open_connections::{ConnectionQuestion, ConnectionQuestions};

/// Turns of the other tasks for which the survey waits for those that it has asked.
const MOST_TURNS: usize = 1000;

/// Answers one question after the other.
pub(super) async fn run(worker: Rc<Worker>, mut questions: ConnectionQuestions) {
    while let Some(ConnectionQuestion { query, answer }) = questions.recv().await {
        let survey = &worker.survey;
        survey.begin(query.clone());
        let mut first = 0;
        while !answer.is_closed() && worker.seats.ask(first, survey, worker.index) {
            // Each of these lets the others run, and lets the worker see what has arrived meanwhile.
            tokio::task::yield_now().await;
            for _ in 1..MOST_TURNS {
                if survey.is_answered() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            first += SLICE;
        }
        let mut list = survey.end();
        list.add_book(&worker.source_book.borrow(), &query);
        // Nobody waits for an answer that came too late.
        let _ = answer.send(list);
    }
}
