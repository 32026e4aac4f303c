//! The narrator: it prints the story, and counts the checks that failed.

use std::fmt::{self, Display};
use std::io::{self, Write};

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Columns for a value, so that a line has at most 100.
const VALUE_WIDTH: usize = 100 - 34;

/// Splits `text` into lines of whole words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= VALUE_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Writes the story. Every [`Narrator::expect`] checks one promise.
pub struct Narrator<'a> {
    out: &'a mut dyn Write,
    colour: bool,
    step: String,
    kept: usize,
    broken: Vec<String>,
}

impl fmt::Debug for Narrator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrator")
            .field("step", &self.step)
            .field("kept", &self.kept)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl<'a> Narrator<'a> {
    /// A narrator that writes to `out`. `colour` is set when that is a terminal.
    pub fn new(out: &'a mut dyn Write, colour: bool) -> Self {
        Self {
            out,
            colour,
            step: String::new(),
            kept: 0,
            broken: Vec::new(),
        }
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        match self.colour {
            true => format!("{code}{text}{PLAIN}"),
            false => text.to_string(),
        }
    }

    /// Begins a part of the story.
    ///
    /// # Errors
    /// The output is gone.
    pub fn heading(&mut self, text: impl Display) -> io::Result<()> {
        self.step = text.to_string();
        let text = self.paint(BOLD, text);
        writeln!(self.out, "\n{text}")
    }

    /// Prints lines unchanged.
    ///
    /// # Errors
    /// The output is gone.
    pub fn say(&mut self, text: impl Display) -> io::Result<()> {
        for line in text.to_string().lines() {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    /// Prints one observation.
    ///
    /// # Errors
    /// The output is gone.
    pub fn fact(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        let value = value.to_string();
        let mut name = name;
        for line in wrapped(&value) {
            writeln!(self.out, "         {name:<24} {line}")?;
            name = "";
        }
        Ok(())
    }

    /// Prints one observation and compares it with the promise. The promise is kept when both texts are
    /// equal.
    ///
    /// # Errors
    /// The output is gone.
    pub fn expect(
        &mut self,
        name: &str,
        promised: impl Display,
        observed: impl Display,
    ) -> io::Result<()> {
        let (promised, observed) = (promised.to_string(), observed.to_string());
        if promised == observed {
            self.kept += 1;
            let mark = self.paint(GREEN, "[ok]");
            return writeln!(self.out, "    {mark} {name:<24} {observed}");
        }
        let mark = self.paint(RED, "[NO]");
        let broken = format!("{name}: promised `{promised}`, observed `{observed}`");
        writeln!(self.out, "    {mark} {broken}")?;
        self.broken.push(format!("{}: {broken}", self.step));
        Ok(())
    }

    /// Notes that a step failed: an event that it waited for never came.
    ///
    /// # Errors
    /// The output is gone.
    pub fn interrupted(&mut self, error: &io::Error) -> io::Result<()> {
        let mark = self.paint(RED, "[NO]");
        writeln!(self.out, "    {mark} this step went no further: {error}")?;
        self.broken.push(format!("{}: {error}", self.step));
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// The output is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the story with the result: every promise was kept, or a list of those that were not.
    ///
    /// # Errors
    /// The output is gone.
    pub fn verdict(&mut self) -> io::Result<bool> {
        if self.broken.is_empty() {
            let text = format!("All {} checks went as promised.", self.kept);
            let text = self.paint(GREEN, text);
            writeln!(self.out, "\n{text}")?;
        } else {
            let text = "Not everything went as promised:";
            let text = self.paint(RED, text);
            writeln!(self.out, "\n{text}")?;
            for broken in &self.broken {
                writeln!(self.out, "  {broken}")?;
            }
        }
        self.out.flush()?;
        Ok(self.broken.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_goes_no_further_is_named() {
        let mut out = Vec::new();
        let mut narrator = Narrator::new(&mut out, false);
        narrator.heading("One call").unwrap();
        narrator
            .interrupted(&io::ErrorKind::TimedOut.into())
            .unwrap();
        assert!(!narrator.verdict().unwrap());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("One call: timed out"), "{text}");
    }

    #[test]
    fn a_broken_promise_is_named_with_its_step() {
        let mut out = Vec::new();
        let mut narrator = Narrator::new(&mut out, false);
        narrator.heading("An unknown name").unwrap();
        narrator.expect("outcome", "no_route", "no_route").unwrap();
        assert!(narrator.verdict().unwrap());
        narrator.expect("outcome", "no_route", "ok").unwrap();
        assert!(!narrator.verdict().unwrap());
        let text = String::from_utf8(out).unwrap();
        let line = "An unknown name: outcome: promised `no_route`, observed `ok`";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains('\x1b'), "no colours were asked for");
    }
}
