//! Text in the cells of a screen. Everything that is shown passes through here: what a terminal would obey is escaped,
//! and what is too long is cut.

use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::text::Span;

use super::view::TopMark;
use crate::terminal::is_obeyed;

/// The means of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopInk {
    /// Only ASCII.
    pub(super) ascii: bool,
    /// Colours, of 16.
    pub(super) colours: bool,
}

/// The role of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TopRole {
    Plain,
    /// Of less weight.
    Quiet,
    Strong,
    Head,
    Selected,
    Bad,
    Marked(TopMark),
}

impl TopInk {
    pub(super) fn style(self, role: TopRole) -> Style {
        let plain = Style::new();
        let strong = plain.add_modifier(Modifier::BOLD);
        let (style, colour) = match role {
            TopRole::Plain => (plain, None),
            TopRole::Quiet => (plain.add_modifier(Modifier::DIM), None),
            TopRole::Strong => (strong, None),
            TopRole::Head => (strong, Some(Color::Cyan)),
            TopRole::Selected => (plain.add_modifier(Modifier::REVERSED), None),
            TopRole::Bad => (strong, Some(Color::Red)),
            TopRole::Marked(mark) => match mark {
                TopMark::None | TopMark::Note => (plain, None),
                TopMark::NearLimit => (plain, Some(Color::Yellow)),
                TopMark::Contained => (plain, Some(Color::Magenta)),
                TopMark::Refused | TopMark::Failing => (strong, Some(Color::Red)),
            },
        };
        match colour.filter(|_| self.colours) {
            Some(colour) => style.fg(colour),
            None => style,
        }
    }

    /// The text as it may stand on the screen.
    pub(super) fn harmless(self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            match is_obeyed(c) || (self.ascii && !c.is_ascii()) {
                true => shown.extend(c.escape_default()),
                false => shown.push(c),
            }
        }
        shown
    }

    /// The text in at most `width` cells, with a mark at its end if it was cut.
    pub(super) fn cut(self, text: &str, width: usize) -> String {
        let text = self.harmless(text);
        if width_of(&text) <= width {
            return text;
        }
        let mark = if self.ascii { "~" } else { "\u{2026}" };
        let mut cut = String::new();
        for c in text.chars() {
            cut.push(c);
            if width_of(&cut) >= width {
                // One cell is the mark's, and a wide character may have taken two.
                while width_of(&cut) + 1 > width && cut.pop().is_some() {}
                break;
            }
        }
        if width > 0 {
            cut.push_str(mark);
        }
        cut
    }
}

pub(super) fn width_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// A line of a buffer that is filled from left to right.
#[derive(Debug)]
pub(super) struct TopLine<'a> {
    buffer: &'a mut Buffer,
    ink: TopInk,
    y: u16,
    x: usize,
}

impl<'a> TopLine<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, ink: TopInk, y: u16) -> Self {
        Self {
            buffer,
            ink,
            y,
            x: 0,
        }
    }

    fn end(&self) -> usize {
        usize::from(self.buffer.area.width)
    }

    pub(super) fn is_ascii(&self) -> bool {
        self.ink.ascii
    }

    /// Cells that are left.
    pub(super) fn left(&self) -> usize {
        self.end().saturating_sub(self.x)
    }

    /// Goes to a place of the line.
    pub(super) fn at(&mut self, x: usize) -> &mut Self {
        self.x = x;
        self
    }

    /// Writes a text, as far as there is room.
    pub(super) fn put(&mut self, text: &str, role: TopRole) -> &mut Self {
        let left = self.left();
        self.put_in(text, left, role)
    }

    /// Writes a text in at most `width` cells.
    pub(super) fn put_in(&mut self, text: &str, width: usize, role: TopRole) -> &mut Self {
        let room = width.min(self.left());
        let text = self.ink.cut(text, room);
        self.x += self.write(self.x, &text, role);
        self
    }

    /// Writes a text that ends at the end of the line, if it does not cover what is there.
    pub(super) fn put_right(&mut self, text: &str, role: TopRole) {
        let text = self.ink.harmless(text);
        let width = width_of(&text);
        if self.x + width + 2 <= self.end() {
            let x = self.end() - width - 1;
            self.write(x, &text, role);
        }
    }

    fn write(&mut self, x: usize, text: &str, role: TopRole) -> usize {
        let (Ok(x), style) = (u16::try_from(x), self.ink.style(role)) else {
            return 0;
        };
        if x < self.buffer.area.width && self.y < self.buffer.area.height {
            self.buffer.set_string(x, self.y, text, style);
        }
        width_of(text)
    }

    /// Gives the whole line a role.
    pub(super) fn all(&mut self, role: TopRole) {
        let style = self.ink.style(role);
        let mut area = self.buffer.area;
        area.y = self.y;
        area.height = 1;
        if self.y < self.buffer.area.height {
            self.buffer.set_style(area, style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: TopInk = TopInk {
        ascii: false,
        colours: true,
    };
    const ASCII: TopInk = TopInk {
        ascii: true,
        colours: false,
    };

    #[test]
    fn nothing_is_obeyed_and_what_is_too_long_is_cut() {
        for (ink, text, width, shown) in [
            (UTF8, "a\u{1b}[31mb", 40, "a\\u{1b}[31mb"),
            (UTF8, "a\u{202e}b\r\n", 40, "a\\u{202e}b\\r\\n"),
            (UTF8, "\u{9b}2J", 40, "\\u{9b}2J"),
            (UTF8, "\u{fc}ber", 40, "\u{fc}ber"),
            (ASCII, "\u{fc}ber", 40, "\\u{fc}ber"),
            (ASCII, "checkout.shop", 8, "checkou~"),
            (UTF8, "checkout.shop", 8, "checkou\u{2026}"),
            // Two cells each.
            (
                UTF8,
                "\u{6771}\u{4eac}\u{90fd}",
                5,
                "\u{6771}\u{4eac}\u{2026}",
            ),
            (UTF8, "\u{6771}\u{4eac}\u{90fd}", 4, "\u{6771}\u{2026}"),
            (ASCII, "abc", 1, "~"),
            (ASCII, "abc", 0, ""),
            (ASCII, "abc", 3, "abc"),
        ] {
            assert_eq!(ink.cut(text, width), shown, "{text:?} in {width}");
        }
    }

    #[test]
    fn without_colours_a_style_has_none() {
        for role in [
            TopRole::Bad,
            TopRole::Head,
            TopRole::Marked(TopMark::Failing),
        ] {
            assert_eq!(ASCII.style(role).fg, None, "{role:?}");
            assert!(UTF8.style(role).fg.is_some(), "{role:?}");
        }
    }
}
