//! Surveys: the task of a worker that answers questions about its open connections.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::oneshot::Sender;

use super::super::survey::SLICE;
use super::super::worker::Worker;
use crate::open_connections::{
    ConnectionList, ConnectionQuery, ConnectionQuestion, ConnectionQuestions,
};
use crate::source_book::SourceBook;

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
        if query.sources {
            read_book(&worker.source_book, &mut list, &query, &answer).await;
        }
        // Nobody waits for an answer that came too late.
        let _ = answer.send(list);
    }
}

/// Adds to `list` what the worker's book says, a few pages at a time, while somebody waits for the answer.
async fn read_book(
    book: &RefCell<SourceBook>,
    list: &mut ConnectionList,
    query: &ConnectionQuery,
    answer: &Sender<ConnectionList>,
) {
    if answer.is_closed() {
        return;
    }
    let sources = {
        let book = book.borrow();
        list.connections_without_page += book.without_page();
        book.sources()
    };
    for sources in sources.chunks(SLICE) {
        if answer.is_closed() {
            return;
        }
        list.add_pages(&book.borrow(), sources, query);
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Instant;

    use ipnet::IpNet;
    use tokio::sync::oneshot;

    use super::*;
    use crate::open_connections::{ConnectionAct, ConnectionFilter, ConnectionOrder};
    use crate::source_book::MOST_PAGES;

    fn full_book() -> RefCell<SourceBook> {
        let mut book = SourceBook::default();
        for number in 0..u32::try_from(MOST_PAGES).unwrap() {
            let source = IpNet::from(std::net::IpAddr::from(number.to_be_bytes()));
            book.opened(source, "alpha", Instant::now());
        }
        RefCell::new(book)
    }

    fn query() -> ConnectionQuery {
        ConnectionQuery {
            filter: ConnectionFilter::default(),
            order: ConnectionOrder::Age,
            limit: 0,
            act: ConnectionAct::Show,
            sources: true,
            at: Instant::now(),
        }
    }

    /// A book that was read in one go would hold up the connections of its worker.
    #[tokio::test]
    async fn a_full_book_is_read_a_few_pages_at_a_time() {
        let (book, query) = (full_book(), query());
        let (answer, _asker) = oneshot::channel();
        let turns = Cell::new(0);
        let mut list = ConnectionList::default();
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = read_book(&book, &mut list, &query, &answer) => {}
            () = others => {}
        }
        assert_eq!(list.sources.len(), MOST_PAGES);
        assert!(turns.get() >= MOST_PAGES / SLICE, "{}", turns.get());
    }

    #[tokio::test]
    async fn nobody_reads_the_book_for_an_asker_who_has_gone() {
        let (book, query) = (full_book(), query());
        let (answer, asker) = oneshot::channel();
        drop(asker);
        let mut list = ConnectionList::default();
        read_book(&book, &mut list, &query, &answer).await;
        assert!(list.sources.is_empty());
    }
}
