//! Colours for terminals, and text that a terminal does not obey.

use std::env;
use std::io::IsTerminal;

/// Whether to write colours to `output`: it is a terminal that can show them, and the environment does
/// not forbid them (`NO_COLOR`, see no-color.org, or `TERM=dumb`).
pub fn has_colours(output: &impl IsTerminal) -> bool {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let dumb = variable("TERM").is_some_and(|term| term == "dumb");
    output.is_terminal() && !dumb && variable("NO_COLOR").is_none()
}

/// Whether a terminal obeys `c` instead of showing it, or writes text in another direction after it.
pub fn is_obeyed(c: char) -> bool {
    let direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    direction || c.is_control()
}
