//! Text that others wrote, in printable ASCII.

/// The longest text that is shown, in bytes of the original.
const LONGEST: usize = 512;

/// `text` in printable ASCII: any other character as `\u{1b}`, cut after 512 bytes. A client may have chosen it, so it
/// goes to no terminal and no page as it is.
pub(super) fn plain(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    let (shown, cut) = text.split_at(end);
    let mut plain = String::with_capacity(shown.len());
    for c in shown.chars() {
        match c {
            ' '..='~' => plain.push(c),
            _ => plain.extend(c.escape_unicode()),
        }
    }
    if !cut.is_empty() {
        plain += "...";
    }
    plain
}

/// Whether a shell takes `text` as one word that means itself.
pub(super) fn is_one_word(text: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-:/[]@%+=,".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_printable_ascii_is_left() {
        for (text, shown) in [
            ("svcb.apps:80", "svcb.apps:80"),
            ("<b>&\"'", "<b>&\"'"),
            (
                "\u{1b}[31m\u{202e}\u{0}\n",
                "\\u{1b}[31m\\u{202e}\\u{0}\\u{a}",
            ),
            ("gr\u{fc}n", "gr\\u{fc}n"),
        ] {
            assert_eq!(plain(text), shown);
        }
        let long = plain(&"\u{e9}".repeat(300));
        assert_eq!(long.len(), 256 * "\\u{e9}".len() + 3);
        assert!(long.ends_with("..."));
    }

    #[test]
    fn a_word_of_a_command_has_nothing_that_a_shell_obeys() {
        for word in [
            "a.example",
            "outbound_.80_._.a.b",
            "[fd00::1]:80",
            "apps/svcb:80",
        ] {
            assert!(is_one_word(word), "{word}");
        }
        for other in [
            "", "-x", "a b", "$(x)", "a;b", "a'b", "`x`", "a\\u{1b}", "a*", "a\u{e9}",
        ] {
            assert!(!is_one_word(other), "{other}");
        }
    }
}
