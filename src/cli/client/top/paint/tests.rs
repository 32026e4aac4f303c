use super::*;
use crate::cli::client::top::fixture::{ASCII, HOSTILE, answers, model};
use crate::cli::client::top::model::TopPart;
use ratatui_core::backend::TestBackend;
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;

/// The screen as lines of text.
fn screen(model: &mut TopModel, ink: TopInk, width: u16, height: u16) -> Vec<String> {
    model.fit(rows(height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(model, frame.buffer_mut(), ink, 20_000))
        .unwrap();
    let text = lines_of(terminal.backend().buffer());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn routes_as_they_are_shown() {
    let mut model = model(TopView::Routes);
    let lines = screen(&mut model, ASCII, 100, 24);
    let expected = [
        " strait 0.2.0 8c1f0e2d4  strait-x2lqk  eu-central-1b  up 6d07h                    03:24:10 UTC  5 s",
        " ready   # 1 failing   ^ 1 near a limit                                            t  show troubles",
        " new/s            365 _:#                         down       209 MiB/s _:#",
        " open           8,263 _:#                         failing/s        9.2 _:#",
        " alpha connections #### 94 % ^    connections ##.. 41 %",
    ];
    assert_eq!(lines[..5], expected);
    assert!(
        lines[6].starts_with(" 1 sources [2 routes] 3 endpoints"),
        "{}",
        lines[6]
    );
    assert!(lines[6].ends_with("3, troubled first"), "{}", lines[6]);
    let row = |begin: &str, cells: [&str; 8]| {
        let [route, listener, ready, open, new, fail, up, down] = cells;
        format!(
            "{begin} {route:<33} {listener:<10} {ready:>7} {open:>7} {new:>6} {fail:>6} {up:>10} {down:>10}"
        )
    };
    let bytes = ["1.0 KiB/s", "21.4 MiB/s"];
    let of = |begin, route, new| {
        let [up, down] = bytes;
        row(
            begin,
            [route, "east-west", "2/3", "611", new, "4.9 %", up, down],
        )
    };
    let rows = [
        row(
            "  ",
            [
                "ROUTE", "LISTENER", "READY", "OPEN", "NEW/S", "FAIL", "TO UP", "TO DOWN",
            ],
        ),
        of(">#", "svcb", "2.8"),
        of("  ", "svca", "137"),
    ];
    assert_eq!(lines[7..10], rows);
    assert_eq!(
        lines[21],
        " svcb of east-west: 611 open connections to svcb-up; 88740 connections so far, 953 failed"
    );
    assert!(lines[23].contains("q quit"), "{}", lines[23]);
}

/// At every size there is a screen, within its bounds, with the selected row.
#[test]
fn every_size_has_a_screen() {
    for view in TopView::ALL {
        for (width, height) in [
            (0, 0),
            (1, 1),
            (10, 3),
            (20, 8),
            (40, 12),
            (79, 20),
            (100, 24),
            (300, 100),
        ] {
            for ascii in [true, false] {
                let mut model = model(view);
                let ink = TopInk {
                    ascii,
                    colours: true,
                };
                let lines = screen(&mut model, ink, width, height);
                assert_eq!(
                    lines.len(),
                    if width == 0 { 0 } else { height.into() },
                    "{width} x {height}"
                );
                if height >= 8 {
                    let selected = lines.iter().filter(|line| line.starts_with('>'));
                    assert_eq!(
                        selected.count(),
                        1,
                        "{view:?} {width} x {height}: {lines:#?}"
                    );
                }
            }
        }
    }
}

#[test]
fn narrow_screens_lose_columns_at_the_right_and_wide_ones_give_names_room() {
    for (view, screen, expected) in [
        (TopView::Routes, 100, vec![26, 14, 7, 7, 6, 6, 10, 10]),
        (TopView::Routes, 40, vec![24, 12]),
        (TopView::Routes, 20, vec![17]),
        (TopView::Routes, 2, vec![0]),
    ] {
        let widths = widths(view.columns(), screen);
        assert_eq!(widths.len(), expected.len(), "{screen}: {widths:?}");
        let sum: usize = widths.iter().sum::<usize>() + widths.len() - 1;
        assert!(MARGIN + sum <= screen.max(MARGIN), "{screen}: {widths:?}");
    }
    let wide = widths(TopView::Routes.columns(), 400);
    assert_eq!(wide[0], WIDEST);
    assert_eq!(wide.len(), TopView::Routes.columns().len());
    // The views fit 100 columns up to what they are for.
    for (view, key) in [
        (TopView::Sources, "oldest_ms"),
        (TopView::Routes, "to_downstream_per_second"),
        (TopView::Endpoints, "connect_p99_ms"),
        (TopView::Connections, "state"),
        (TopView::Troubles, "command"),
    ] {
        let shown = widths(view.columns(), 100).len();
        let keys: Vec<_> = view.columns()[..shown]
            .iter()
            .map(|column| column.key)
            .collect();
        assert!(keys.contains(&key), "{view:?} {keys:?}");
    }
}

#[test]
fn no_name_reaches_the_terminal_as_a_command() {
    for view in TopView::ALL {
        for ascii in [true, false] {
            let mut model = model(view);
            let place = model
                .shown()
                .position(|row| row.holds("\u{1b}"))
                .unwrap_or(0);
            model.select(place);
            model.table_mut().filter = HOSTILE[..1].to_owned();
            model.complain(HOSTILE);
            model.look.as_mut().unwrap().overview.identity.pod = Some(HOSTILE.to_owned());
            model.look.as_mut().unwrap().overview.state.words = HOSTILE.to_owned();
            let ink = TopInk {
                ascii,
                colours: true,
            };
            let mut text = screen(&mut model, ink, 160, 24).join("");
            model.lines("title", vec![HOSTILE.to_owned()]);
            text += &screen(&mut model, ink, 160, 24).join("");
            text += &plain(&model, 0, 100).replace('\n', "");
            assert!(
                !text.chars().any(crate::terminal::is_obeyed),
                "{view:?}: {text:?}"
            );
            assert!(text.contains("\\u{1b}[2J"), "{view:?}: {text}");
        }
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_said_above_the_last_rows() {
    let mut model = model(TopView::Routes);
    model.not_answered(
        8000,
        "the admin server at 127.0.0.1:1 does not answer".to_owned(),
    );
    let lines = screen(&mut model, ASCII, 100, 24);
    assert_eq!(
        lines[1],
        " NO ANSWER for 12s: the admin server at 127.0.0.1:1 does not answer"
    );
    assert!(lines[8].contains("svcb"), "{}", lines[8]);
    model.answered(TopView::Routes, answers(21_000));
    let lines = screen(&mut model, ASCII, 100, 24);
    assert!(lines[1].starts_with(" ready"), "{}", lines[1]);
    let mut fresh = TopModel::new("127.0.0.1:1".to_owned(), TopView::Routes, 5, "");
    let lines = screen(&mut fresh, ASCII, 100, 24);
    assert!(
        lines[0].starts_with(" strait at 127.0.0.1:1"),
        "{}",
        lines[0]
    );
    assert!(
        lines[8].contains("Waiting for the gateway."),
        "{}",
        lines[8]
    );
}

#[test]
fn a_view_without_rows_says_so_in_a_sentence() {
    let mut empty = model(TopView::Connections);
    empty.table_mut().filter = "nobody".to_owned();
    empty.arrange();
    let lines = screen(&mut empty, ASCII, 100, 24);
    assert!(lines[8].contains("No row holds \"nobody\""), "{}", lines[8]);
    let mut none = answers(1);
    none.connections = None;
    empty.answered(TopView::Connections, none);
    let lines = screen(&mut empty, ASCII, 100, 24);
    assert!(lines[8].contains("No connection is open."), "{}", lines[8]);
    empty.table_mut().part = Some(TopPart {
        name: "from 10.0.3.7".to_owned(),
        query: Vec::new(),
    });
    let lines = screen(&mut empty, ASCII, 120, 24);
    let said = "No connection from 10.0.3.7 is open. Esc shows all.";
    assert!(lines[8].contains(said), "{}", lines[8]);
    assert!(lines[6].contains(" from 10.0.3.7  "), "{}", lines[6]);
}

/// Without colours words and signs say the same.
#[test]
fn colours_come_only_if_they_are_wanted() {
    for colours in [true, false] {
        let mut model = model(TopView::Endpoints);
        model.fit(rows(24));
        let ink = TopInk {
            ascii: false,
            colours,
        };
        let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 24));
        draw(&model, &mut buffer, ink, 0);
        let coloured = |cell: &&Cell| cell.fg != Color::Reset || cell.bg != Color::Reset;
        let found = buffer.content().iter().filter(coloured).count();
        assert_eq!(found > 0, colours);
        let selected = &buffer[(0, 8)];
        assert_eq!(
            (
                selected.symbol(),
                selected.modifier.contains(Modifier::REVERSED)
            ),
            (">", true)
        );
        assert_eq!(buffer[(1, 8)].symbol(), "\u{25a0}");
    }
}

#[test]
fn the_plain_snapshot_is_ascii_and_narrow() {
    for view in TopView::ALL {
        let mut model = model(view);
        let text = plain(&model, 0, 2);
        assert!(text.is_ascii(), "{text}");
        let longest = text.lines().map(str::len).max();
        assert!(longest <= Some(100), "{longest:?} in\n{text}");
        // Below each trouble are its title, its evidence, its facts and its command.
        let more = if view == TopView::Troubles { 8 } else { 0 };
        assert_eq!(text.lines().count(), 9 + more, "{text}");
        model.look = None;
        model.order.clear();
        assert!(plain(&model, 0, 2).contains(view.empty()));
    }
}

#[test]
fn a_long_line_goes_on_below() {
    for (text, width, lines) in [
        ("one two three", 20, vec!["one two three"]),
        ("one two three", 7, vec!["one two", "three"]),
        ("one two three", 3, vec!["one", "two", "three"]),
        ("  two words", 6, vec!["two", "words"]),
        ("", 0, vec![""]),
        ("three", 2, vec!["three"]),
    ] {
        assert_eq!(wrapped(text, width), lines, "{text} in {width}");
    }
}
