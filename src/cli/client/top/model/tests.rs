use super::*;
use crate::cli::client::top::fixture::{answers, model};
use crate::cli::client::top::view::TopMark;

fn keys(model: &TopModel) -> Vec<&str> {
    model.shown().map(|row| &*row.key).collect()
}

#[test]
fn rates_are_the_growth_between_two_looks_and_unknown_before() {
    let down = |model: &TopModel| {
        let columns = model.view.columns().iter();
        let place = columns
            .clone()
            .position(|column| column.key == "to_downstream_per_second");
        model.rows()[0].cells[place.unwrap()].clone()
    };
    let view = TopView::Connections;
    let mut model = TopModel::new(String::new(), view, 5, "");
    model.answered(view, answers(1000));
    assert_eq!(down(&model), TopCell::Unknown);
    model.answered(view, answers(3000));
    assert_eq!(down(&model), TopCell::BytesPerSecond(1 << 20));
    // The gateway has started again: its counters are smaller.
    let mut restarted = answers(1000);
    restarted.at = 5000;
    model.answered(view, restarted);
    assert_eq!(down(&model), TopCell::Unknown);
    // Twice at one moment.
    let mut twice = answers(1000);
    twice.at = 5000;
    model.answered(view, twice);
    assert_eq!(down(&model), TopCell::Unknown);
}

#[test]
fn troubled_rows_come_first_unless_a_column_is_chosen() {
    let mut model = model(TopView::Routes);
    assert_eq!(model.rows()[1].mark, TopMark::Failing);
    assert_eq!(keys(&model)[..2], ["east-west svcb", "east-west svca"]);
    let new = TopView::Routes
        .columns()
        .iter()
        .position(|column| column.key == "new_per_second");
    model.table_mut().sort = Some((new.unwrap(), false));
    model.arrange();
    assert_eq!(keys(&model)[..2], ["east-west svca", "east-west svcb"]);
    model.table_mut().sort = Some((new.unwrap(), true));
    model.arrange();
    assert_eq!(keys(&model)[1..], ["east-west svcb", "east-west svca"]);
}

#[test]
fn the_selected_row_stays_selected_when_others_come_and_go() {
    let mut model = model(TopView::Connections);
    model.select(1);
    assert_eq!(model.selected().unwrap().key, "8");
    let mut later = answers(9000);
    let connections = later.connections.as_mut().unwrap();
    connections.remove(0);
    model.answered(TopView::Connections, later);
    assert_eq!(keys(&model), ["8", "9"]);
    assert_eq!(model.selected().unwrap().key, "8");
    // It ends: the row that takes its place is selected.
    let mut later = answers(12_000);
    let connections = later.connections.as_mut().unwrap();
    connections.remove(0);
    connections.remove(0);
    model.answered(TopView::Connections, later);
    assert_eq!(model.selected().unwrap().key, "9");
    let mut none = answers(15_000);
    none.connections = None;
    model.answered(TopView::Connections, none);
    assert_eq!(model.selected(), None);
}

#[test]
fn the_selected_row_is_always_among_those_shown() {
    let mut model = model(TopView::Connections);
    model.fit(2);
    for (index, first) in [(0, 0), (1, 0), (2, 1), (1, 1), (0, 0)] {
        model.select(index);
        assert_eq!((model.table().index, model.table().first), (index, first));
    }
    model.select(usize::MAX - 1);
    assert_eq!(model.table().index, 2);
    model.fit(0);
    assert_eq!(model.table().index, 2);
}

#[test]
fn a_filter_takes_rows_by_any_of_their_texts() {
    for (filter, expected) in [
        ("10.0.3.7", vec!["7"]),
        ("APPS.example", vec!["7"]),
        ("2001:db8", vec!["8"]),
        ("svca", vec!["7", "8", "9"]),
        ("nobody", vec![]),
    ] {
        let mut model = model(TopView::Connections);
        model.table_mut().filter = filter.to_owned();
        model.arrange();
        assert_eq!(keys(&model), expected, "{filter}");
    }
}

/// A gateway with more routes than one answer has.
#[test]
fn rows_that_the_gateway_finds_stand_for_those_of_the_overview() {
    let mut model = model(TopView::Routes);
    let mut answers = answers(5000);
    answers.overview.routes.all = 5000;
    let mut found = answers.overview.clone();
    found.routes.rows.truncate(1);
    found.routes.matched = 1;
    answers.found = Some(Box::new(found));
    model.answered(TopView::Routes, answers);
    assert_eq!(keys(&model), ["east-west svca"]);
    assert_eq!(model.look.unwrap().all, 5000);
}

#[test]
fn an_answer_for_a_view_that_was_left_is_not_shown() {
    let mut model = model(TopView::Connections);
    model.show(TopView::Sources);
    model.answered(TopView::Connections, answers(4000));
    assert!(model.rows().is_empty());
    model.answered(TopView::Sources, answers(5000));
    assert_eq!(keys(&model), ["10.77.3.4", "10.0.3.7", "2001:db8:7::/64"]);
}

#[test]
fn a_failure_is_kept_until_an_answer_comes() {
    let mut model = model(TopView::Routes);
    model.not_answered(4000, "refused".to_owned());
    model.not_answered(9000, "reset".to_owned());
    assert_eq!(model.failure, Some((4000, "reset".to_owned())));
    assert!(!model.rows().is_empty(), "the last rows stay");
    model.answered(TopView::Routes, answers(10_000));
    assert_eq!(model.failure, None);
}

#[test]
fn the_gateway_is_asked_in_the_order_of_the_rows() {
    let mut model = model(TopView::Connections);
    let path = |model: &TopModel| model.paths().1.unwrap();
    assert_eq!(path(&model), "/connections?sort=bytes&limit=1000");
    for (key, sort) in [("age_ms", "age"), ("idle_ms", "idle"), ("source", "bytes")] {
        let columns = model.view.columns().iter();
        let place = columns.clone().position(|column| column.key == key);
        model.table_mut().sort = place.map(|place| (place, false));
        assert_eq!(path(&model), format!("/connections?sort={sort}&limit=1000"));
    }
    model.table_mut().filter = "x".to_owned();
    assert_eq!(path(&model), "/connections?sort=bytes&limit=10000");
    model.show(TopView::Routes);
    assert_eq!(model.paths(), ("/status?rows=1000".to_owned(), None));
    model.table_mut().filter = "a b".to_owned();
    assert_eq!(path(&model), "/status?rows=1000&q=a%20b");
}

#[test]
fn json_has_the_rows_with_the_names_of_the_columns() {
    let model = model(TopView::Endpoints);
    let json = model.json(1);
    assert_eq!(json["by"], "endpoints");
    assert_eq!(json["all"], 4);
    assert_eq!(json["identity"]["pod"], "strait-x2lqk");
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["upstream"], "svcx");
    assert_eq!(rows[0]["mark"], "failing");
    assert_eq!(rows[0]["endpoint"], Value::Null);
    assert_eq!(model.json(9)["rows"][1]["open"], 148);
}
