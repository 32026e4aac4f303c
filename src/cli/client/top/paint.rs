//! The screen of `strait top`, made of its state.

use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::Rect;

use super::cell::TopCell;
use super::header;
use super::ink::{TopInk, TopLine, TopRole, width_of};
use super::model::{TopMode, TopModel};
use super::view::{TopColumn, TopRow, TopSubject, TopView};

/// The line of keys, by what they go to.
const KEYS: &str =
    "? help  / filter  s sort  Enter more  e explain  k end  d drain  x lift  p pause  q quit";

/// The columns before the first of a table: the sign of the selected row, the mark, a space.
const MARGIN: usize = 3;
/// The widest column, in cells.
const WIDEST: usize = 60;
/// The width of the plain snapshot.
const PLAIN: u16 = 100;

/// The division of a screen, in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Division {
    header: u16,
    rules: bool,
    details: bool,
    /// Rows of the table.
    rows: u16,
}

impl Division {
    fn of(height: u16) -> Self {
        let (header, rules, details) = match height {
            0..10 => (1, false, false),
            10..20 => (2, false, true),
            _ => (header::LINES, true, true),
        };
        // Tabs, the head of the table, keys.
        let fixed = header + 3 + 2 * u16::from(rules) + 2 * u16::from(details);
        Self {
            header,
            rules,
            details,
            rows: height.saturating_sub(fixed),
        }
    }
}

/// The number of rows that a screen of this height has room for.
pub(super) fn rows(height: u16) -> usize {
    Division::of(height).rows.into()
}

/// Draws the whole screen. `now` is the time of the clock that the model's times have.
pub(super) fn draw(model: &TopModel, buffer: &mut Buffer, ink: TopInk, now: u64) {
    let Rect { height, .. } = buffer.area;
    let division = Division::of(height);
    header::draw(model, buffer, ink, now, division.header);
    let mut y = division.header;
    if division.rules {
        rule(buffer, ink, y);
        y += 1;
    }
    tabs(model, &mut TopLine::new(buffer, ink, y));
    y += 1;
    body(model, buffer, ink, y, division.rows);
    y += 1 + division.rows;
    if division.rules {
        rule(buffer, ink, y);
        y += 1;
    }
    if division.details {
        if let (Some(row), TopMode::Rows | TopMode::Filter) = (model.selected(), &model.mode) {
            for (line, text) in (y..).zip(&row.details) {
                TopLine::new(buffer, ink, line)
                    .at(1)
                    .put(text, TopRole::Plain);
            }
        }
        y += 2;
    }
    last_line(model, &mut TopLine::new(buffer, ink, y));
}

fn rule(buffer: &mut Buffer, ink: TopInk, y: u16) {
    let sign = if ink.ascii { "-" } else { "\u{2500}" };
    let width = usize::from(buffer.area.width);
    TopLine::new(buffer, ink, y).put(&sign.repeat(width), TopRole::Quiet);
}

fn tabs(model: &TopModel, line: &mut TopLine<'_>) {
    for (number, view) in (1..).zip(TopView::ALL) {
        let text = format!("{number} {}", view.title());
        match view == model.view {
            true => line.put(&format!("[{text}]"), TopRole::Strong),
            false => line.put(&format!(" {text} "), TopRole::Quiet),
        };
    }
    let table = model.table();
    let mut filter = String::new();
    if let Some(part) = &table.part {
        filter += &format!("{}  ", part.name);
    }
    if !table.filter.is_empty() {
        filter += &format!("/{}  ", table.filter);
    }
    let (shown, all) = (
        model.order.len(),
        model.look.as_ref().map_or(0, |look| look.all),
    );
    let shown = TopCell::Count(u64::try_from(shown).unwrap_or(u64::MAX)).shown();
    let all = TopCell::Count(all).shown();
    let number = match shown == all {
        true => all,
        false => format!("{shown} of {all}"),
    };
    let text = format!("{filter}{number}, {}", model.order_in_words());
    let shorter = format!("{filter}{number}");
    for text in [text, shorter, number] {
        if line.left() >= width_of(&text) + 2 {
            line.put_right(&text, TopRole::Quiet);
            break;
        }
    }
}

fn body(model: &TopModel, buffer: &mut Buffer, ink: TopInk, top: u16, room: u16) {
    let below = (top + 1)..(top + 1 + room);
    if let TopMode::Lines {
        title,
        lines,
        first,
    } = &model.mode
    {
        TopLine::new(buffer, ink, top)
            .at(1)
            .put(title, TopRole::Head);
        let width = usize::from(buffer.area.width).saturating_sub(3);
        let lines = lines.iter().skip(*first);
        let lines = lines.flat_map(|line| wrapped(&ink.harmless(line), width));
        for (y, text) in below.zip(lines) {
            let mut line = TopLine::new(buffer, ink, y);
            line.at(2).put(&text, TopRole::Plain);
        }
        return;
    }
    let widths = widths(model.view.columns(), buffer.area.width.into());
    head(model, &widths, &mut TopLine::new(buffer, ink, top));
    let table = model.table();
    if model.order.is_empty() {
        let text = match (&model.look, model.rows().is_empty()) {
            (None, _) => "Waiting for the gateway.".to_owned(),
            (Some(_), true) => match &table.part {
                Some(part) => format!("No connection {} is open. Esc shows all.", part.name),
                None => model.view.empty().to_owned(),
            },
            (Some(_), false) => format!(
                "No row holds \"{}\". Esc takes the filter away.",
                table.filter
            ),
        };
        TopLine::new(buffer, ink, top + 1)
            .at(MARGIN)
            .put(&text, TopRole::Quiet);
    }
    let rows = model.shown().enumerate().skip(table.first);
    for (y, (index, row)) in below.zip(rows) {
        let selected = index == table.index;
        draw_row(
            model.view,
            row,
            &widths,
            &mut TopLine::new(buffer, ink, y),
            selected,
        );
    }
}

/// A line in lines of at most `width` cells, cut between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    if width_of(text) <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && width_of(&line) + 1 + width_of(word) > width {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

fn head(model: &TopModel, widths: &[usize], line: &mut TopLine<'_>) {
    let mut x = MARGIN;
    for (column, width) in model.view.columns().iter().zip(widths) {
        let at = match column.left {
            true => x,
            false => x + width.saturating_sub(width_of(column.title)),
        };
        line.at(at).put_in(column.title, *width, TopRole::Head);
        x += width + 1;
    }
}

fn draw_row(view: TopView, row: &TopRow, widths: &[usize], line: &mut TopLine<'_>, selected: bool) {
    let role = TopRole::Marked(row.mark);
    if selected {
        line.at(0).put(">", TopRole::Plain);
    }
    let sign = row.mark.sign(line.is_ascii());
    line.at(1).put(sign, role);
    let mut x = MARGIN;
    for ((column, width), cell) in view.columns().iter().zip(widths).zip(&row.cells) {
        let text = cell.shown();
        let at = match column.left {
            true => x,
            false => x + width.saturating_sub(width_of(&text)),
        };
        line.at(at).put_in(&text, *width, TopRole::Plain);
        x += width + 1;
    }
    if selected {
        line.all(TopRole::Selected);
    }
}

/// The widths of the columns that have room: those at the right go first, and room that is left is for names.
fn widths(columns: &[TopColumn], screen: usize) -> Vec<usize> {
    let mut left = screen.saturating_sub(MARGIN);
    let mut widths = Vec::new();
    for column in columns {
        // A first column is shown even if it is cut.
        let room = left.saturating_sub(column.width) > 0 || left == column.width;
        if !room && !widths.is_empty() {
            break;
        }
        widths.push(column.width.min(left));
        left = left.saturating_sub(column.width + 1);
    }
    let grows = |(column, width): &(&TopColumn, &mut usize)| column.grows && **width < WIDEST;
    while left > 0 {
        let mut grown = false;
        for (_, width) in columns.iter().zip(&mut widths).filter(grows) {
            if left > 0 {
                *width += 1;
                left -= 1;
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    widths
}

fn last_line(model: &TopModel, line: &mut TopLine<'_>) {
    line.at(1);
    match (&model.mode, &model.message) {
        (TopMode::Ask(act), _) => line.put(&act.question, TopRole::Bad),
        (TopMode::Filter, _) => line.put(
            &format!("filter: {}_", model.table().filter),
            TopRole::Strong,
        ),
        (TopMode::Lines { .. }, _) => line.put(
            "Up Down PgUp PgDn move, any other key goes back",
            TopRole::Quiet,
        ),
        (TopMode::Rows, Some((text, true))) => line.put(text, TopRole::Bad),
        (TopMode::Rows, Some((text, false))) => line.put(text, TopRole::Strong),
        (TopMode::Rows, None) => line.put(KEYS, TopRole::Quiet),
    };
}

/// The state as plain lines of at most 100 characters of ASCII: the header and the first `most` rows.
pub(super) fn plain(model: &TopModel, now: u64, most: usize) -> String {
    let ink = TopInk {
        ascii: true,
        colours: false,
    };
    let line = |y| Rect::new(0, 0, PLAIN, y);
    let mut text = String::new();
    let mut buffer = Buffer::empty(line(header::LINES + 2));
    header::draw(model, &mut buffer, ink, now, header::LINES);
    tabs(model, &mut TopLine::new(&mut buffer, ink, header::LINES));
    let widths = widths(model.view.columns(), PLAIN.into());
    head(
        model,
        &widths,
        &mut TopLine::new(&mut buffer, ink, header::LINES + 1),
    );
    text += &lines_of(&buffer);
    for row in model.shown().take(most) {
        let mut buffer = Buffer::empty(line(1));
        draw_row(
            model.view,
            row,
            &widths,
            &mut TopLine::new(&mut buffer, ink, 0),
            false,
        );
        text += &lines_of(&buffer);
        if let (TopView::Troubles, TopSubject::Text(lines)) = (model.view, &row.subject) {
            for said in lines.iter().filter(|line| !line.is_empty()) {
                text += &paragraph(said, ink);
            }
        }
    }
    if model.rows().is_empty() {
        text += &format!("   {}\n", model.view.empty());
    }
    text
}

/// A text below a row of the plain snapshot, broken between words.
fn paragraph(said: &str, ink: TopInk) -> String {
    const INDENT: usize = 5;
    let lines = wrapped(said, usize::from(PLAIN) - INDENT);
    let drawn = lines.iter().map(|line| {
        let mut buffer = Buffer::empty(Rect::new(0, 0, PLAIN, 1));
        TopLine::new(&mut buffer, ink, 0)
            .at(INDENT)
            .put(line, TopRole::Plain);
        lines_of(&buffer)
    });
    drawn.collect()
}

/// The lines of a buffer, without spaces at their ends.
fn lines_of(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer
        .content()
        .chunks(usize::from(buffer.area.width).max(1))
    {
        let line: String = row.iter().map(Cell::symbol).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
