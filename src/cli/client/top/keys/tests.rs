use super::*;
use crate::cli::client::top::fixture::model;

fn press(model: &mut TopModel, code: KeyCode) -> Option<TopRequest> {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn letter(model: &mut TopModel, letter: char) -> Option<TopRequest> {
    press(model, KeyCode::Char(letter))
}

/// Selects the row that holds a text.
fn select(model: &mut TopModel, text: &str) {
    let place = model.shown().position(|row| row.holds(text)).unwrap();
    model.select(place);
}

fn question(model: &TopModel) -> &str {
    match &model.mode {
        TopMode::Ask(act) => &act.question,
        mode => panic!("no question but {mode:?}"),
    }
}

#[test]
fn keys_end_the_program_in_every_mode() {
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    for before in [None, Some('/'), Some('k'), Some('?')] {
        let mut model = model(TopView::Connections);
        if let Some(before) = before {
            letter(&mut model, before);
        }
        assert_eq!(
            model.key(control('c')),
            Some(TopRequest::Quit),
            "{before:?}"
        );
        assert_eq!(model.key(control('z')), Some(TopRequest::Suspend));
    }
    let mut model = model(TopView::Connections);
    assert_eq!(letter(&mut model, 'q'), Some(TopRequest::Quit));
    assert_eq!(press(&mut model, KeyCode::F(10)), Some(TopRequest::Quit));
}

#[test]
fn each_change_is_asked_once_and_only_y_is_yes() {
    for (view, row, key, asked, path) in [
        (
            TopView::Connections,
            "10.0.3.7:33790",
            'k',
            "end connection 7 from 10.0.3.7:33790 to 10.1.3.44:50051? Its client sees a reset (y/n)",
            "/connections/7",
        ),
        (
            TopView::Sources,
            "10.0.3.7",
            'k',
            "end 204 open connections from 10.0.3.7? Their clients see a reset (y/n)",
            "/connections?source=10.0.3.7",
        ),
        (
            TopView::Routes,
            "svcb",
            'k',
            "end 611 open connections of route svcb of east-west? Their clients see a reset (y/n)",
            "/connections?route=svcb&listener=east-west",
        ),
        (
            TopView::Endpoints,
            "10.1.3.44:50051",
            'k',
            "end 148 open connections to 10.1.3.44:50051 of svca? Their clients see a reset (y/n)",
            "/connections?endpoint=10.1.3.44%3A50051&upstream=svca",
        ),
        (
            TopView::Endpoints,
            "10.1.3.44:50051",
            'd',
            "drain 10.1.3.44:50051 of svca? It gets no new connection, its 148 open connections go on (y/n)",
            "/upstreams/svca/endpoints/10.1.3.44%3A50051?state=drain",
        ),
        (
            TopView::Endpoints,
            "10.1.4.18:8443",
            'd',
            "end the drain of 10.1.4.18:8443 of svcb? It gets connections again (y/n)",
            "/upstreams/svcb/endpoints/10.1.4.18%3A8443?state=ready",
        ),
        (
            TopView::Endpoints,
            "10.1.4.17:8443",
            'x',
            "lift the ejection of 10.1.4.17:8443 of svcb? It gets connections at once (y/n)",
            "/upstreams/svcb/endpoints/10.1.4.17%3A8443?ejection=lift",
        ),
    ] {
        let mut model = model(view);
        for (answer, acts) in [('n', false), ('k', false), ('y', true)] {
            select(&mut model, row);
            assert_eq!(letter(&mut model, key), None, "nothing before the answer");
            assert_eq!(question(&model), asked);
            let request = letter(&mut model, answer);
            let acted = match request {
                Some(TopRequest::Act(act)) => Some(act.path),
                None => None,
                other => panic!("{other:?}"),
            };
            assert_eq!(acted.as_deref(), acts.then_some(path), "{asked} {answer}");
            assert_eq!(model.mode, TopMode::Rows);
        }
    }
}

/// A look between question and answer may move the rows.
#[test]
fn a_yes_is_for_the_row_that_was_asked_about() {
    let mut model = model(TopView::Connections);
    select(&mut model, "10.0.3.7:33790");
    letter(&mut model, 'k');
    let mut later = crate::cli::client::top::fixture::answers(9000);
    later.connections.as_mut().unwrap().remove(0);
    model.answered(TopView::Connections, later);
    match letter(&mut model, 'y') {
        Some(TopRequest::Act(act)) => assert_eq!(act.path, "/connections/7"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_takes_the_place_of_a_change_that_runs() {
    let mut model = model(TopView::Connections);
    select(&mut model, "10.0.3.7:33790");
    letter(&mut model, 'k');
    assert!(matches!(letter(&mut model, 'y'), Some(TopRequest::Act(_))));
    for keys in ["e", "ky"] {
        let mut asked = None;
        for key in keys.chars() {
            asked = letter(&mut model, key);
        }
        assert_eq!(asked, None, "{keys}");
        assert!(matches!(model.message, Some((_, true))), "{keys}");
    }
    assert_eq!(letter(&mut model, '2'), Some(TopRequest::Look));
}

#[test]
fn a_key_that_a_row_has_no_use_for_says_so() {
    for (view, row, key) in [
        (TopView::Connections, "10.0.3.7", 'd'),
        (TopView::Connections, "10.0.3.7", 'x'),
        (TopView::Endpoints, "10.1.3.44", 'x'),
        (TopView::Endpoints, "svcx", 'k'),
        (TopView::Endpoints, "svcx", 'd'),
        (TopView::Routes, "svca", 'e'),
        (TopView::Connections, "10.0.3.9:1", 'e'),
    ] {
        let mut model = model(view);
        select(&mut model, row);
        assert_eq!(letter(&mut model, key), None);
        assert_eq!(model.mode, TopMode::Rows, "{view:?} {key}");
        assert!(matches!(model.message, Some((_, true))), "{view:?} {key}");
    }
}

#[test]
fn e_asks_about_the_connection_as_its_client_sent_it() {
    let mut model = model(TopView::Connections);
    select(&mut model, "10.0.3.7:33790");
    let Some(TopRequest::Explain { path, .. }) = letter(&mut model, 'e') else {
        panic!("nothing is asked");
    };
    assert_eq!(
        path,
        "/explain?sni=svca.apps.example&alpn=istio%2Ch2&from=10.0.3.7&listener=east-west"
    );
}

#[test]
fn views_follow_keys_and_enter_leads_to_what_belongs_to_a_row() {
    let mut model = model(TopView::Routes);
    for (key, view) in [
        ('1', TopView::Sources),
        ('4', TopView::Connections),
        ('t', TopView::Troubles),
        ('3', TopView::Endpoints),
        ('2', TopView::Routes),
    ] {
        assert_eq!(letter(&mut model, key), Some(TopRequest::Look));
        assert_eq!(model.view, view);
    }
    press(&mut model, KeyCode::Tab);
    assert_eq!(model.view, TopView::Endpoints);
    press(&mut model, KeyCode::BackTab);
    press(&mut model, KeyCode::BackTab);
    press(&mut model, KeyCode::BackTab);
    assert_eq!(model.view, TopView::Troubles);

    let mut model = crate::cli::client::top::fixture::model(TopView::Routes);
    select(&mut model, "svcb");
    assert_eq!(press(&mut model, KeyCode::Enter), Some(TopRequest::Look));
    assert_eq!(
        (model.view, &*model.table().filter),
        (TopView::Endpoints, "svcb-up")
    );
    let mut model = crate::cli::client::top::fixture::model(TopView::Sources);
    select(&mut model, "10.0.3.7");
    press(&mut model, KeyCode::Enter);
    assert_eq!(model.view, TopView::Connections);
}

/// A text would take 10.0.3.70 too, and no address of a prefix.
#[test]
fn the_connections_of_a_row_are_those_that_the_gateway_finds() {
    for (view, row, query) in [
        (TopView::Sources, "10.0.3.7", "source=10.0.3.7"),
        (
            TopView::Sources,
            "2001:db8:7::/64",
            "source=2001%3Adb8%3A7%3A%3A%2F64",
        ),
        (
            TopView::Endpoints,
            "10.1.3.44:50051",
            "endpoint=10.1.3.44%3A50051&upstream=svca",
        ),
    ] {
        let mut model = model(view);
        select(&mut model, row);
        assert_eq!(press(&mut model, KeyCode::Enter), Some(TopRequest::Look));
        let asked = || format!("/connections?sort=bytes&limit=10000&{query}");
        assert_eq!(model.paths().1, Some(asked()));
        // A text is looked for among them. Esc while it is typed takes only the text away.
        letter(&mut model, '/');
        letter(&mut model, 'x');
        assert_eq!(model.paths().1, Some(asked()));
        press(&mut model, KeyCode::Esc);
        assert_eq!(model.paths().1, Some(asked()));
        assert_eq!(press(&mut model, KeyCode::Esc), Some(TopRequest::Look));
        let all = "/connections?sort=bytes&limit=1000".to_owned();
        assert_eq!(model.paths().1, Some(all));
    }
}

#[test]
fn a_filter_is_typed_and_taken_away() {
    let mut model = model(TopView::Connections);
    letter(&mut model, '/');
    // The gateway may have more rows than were asked for.
    assert_eq!(letter(&mut model, '2'), Some(TopRequest::Look));
    for c in "001:q".chars() {
        assert_eq!(letter(&mut model, c), None, "letters are no commands here");
    }
    assert_eq!(model.order.len(), 0);
    press(&mut model, KeyCode::Backspace);
    assert_eq!(model.order.len(), 1);
    press(&mut model, KeyCode::Enter);
    assert_eq!(
        (&model.mode, &*model.table().filter),
        (&TopMode::Rows, "2001:")
    );
    press(&mut model, KeyCode::Esc);
    assert_eq!((model.order.len(), &*model.table().filter), (3, ""));
    letter(&mut model, '/');
    for _ in 0..2 * MOST_FILTER {
        letter(&mut model, 'x');
    }
    assert_eq!(model.table().filter.len(), MOST_FILTER);
}

#[test]
fn s_goes_through_the_columns_and_i_turns_the_order_round() {
    let mut model = model(TopView::Troubles);
    let columns = model.view.columns().len();
    let mut seen = vec![model.table().sort];
    for _ in 0..=columns {
        letter(&mut model, 's');
        seen.push(model.table().sort);
    }
    let all: Vec<_> = (0..columns).map(|column| Some((column, false))).collect();
    assert_eq!(seen, [vec![None], all, vec![None]].concat());
    letter(&mut model, 'S');
    letter(&mut model, 'i');
    assert_eq!(model.table().sort, Some((columns - 1, true)));
}

#[test]
fn the_interval_and_the_pause_have_bounds() {
    let mut model = model(TopView::Routes);
    for _ in 0..10 {
        letter(&mut model, '-');
    }
    assert_eq!(model.interval, 1);
    for _ in 0..5000 {
        letter(&mut model, '+');
    }
    assert_eq!(model.interval, 3600);
    assert_eq!(letter(&mut model, 'p'), None);
    assert_eq!(letter(&mut model, 'p'), Some(TopRequest::Look));
}

#[test]
fn a_text_is_scrolled_and_left() {
    let mut model = model(TopView::Routes);
    letter(&mut model, '?');
    let first = |model: &TopModel| match &model.mode {
        TopMode::Lines { first, lines, .. } => (*first, lines.len()),
        mode => panic!("{mode:?}"),
    };
    let (_, lines) = first(&model);
    press(&mut model, KeyCode::Down);
    assert_eq!(first(&model).0, 1);
    press(&mut model, KeyCode::End);
    press(&mut model, KeyCode::Down);
    assert_eq!(first(&model).0, lines - 1);
    press(&mut model, KeyCode::Home);
    assert_eq!(first(&model).0, 0);
    letter(&mut model, 'q');
    assert_eq!(model.mode, TopMode::Rows);
}

#[test]
fn enter_shows_all_of_a_trouble() {
    let mut model = model(TopView::Troubles);
    assert_eq!(press(&mut model, KeyCode::Enter), None);
    let TopMode::Lines { lines, .. } = &model.mode else {
        panic!("{:?}", model.mode);
    };
    let expected = [
        "failing: upstream svcx has no endpoint",
        "upstream svcx has no endpoint: the evidence",
        "one fact",
        "",
        "This shows more: strait upstreams svcx",
    ];
    assert_eq!(*lines, expected);
}
