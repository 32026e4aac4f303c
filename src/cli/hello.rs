//! `strait hello`: a hello, field by field, and the rule that it breaks.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{ANSWER_IS_NO, failed, print};
use crate::client_hello::{HelloParser, Progress, dissect};
use crate::config::is_standard_input;
use crate::file;

/// The largest file, in bytes: hex digits of a hello of 64 KiB in small records.
const MAX_FILE: usize = 1 << 20;
/// The largest message, as the config's default has it.
const MAX_HELLO: usize = 64 << 10;
/// The time limit for a pipe to end.
const PIPE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct HelloArguments {
    /// The first bytes of a connection, as they are or in hex digits; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn hello(arguments: &HelloArguments) -> ExitCode {
    let wire = match read(&arguments.file) {
        Ok(wire) => wire,
        Err(error) => return failed(&error),
    };
    let (text, good) = described(&wire);
    let code = print(text.as_bytes());
    match good || code != ExitCode::SUCCESS {
        true => code,
        false => ExitCode::from(ANSWER_IS_NO),
    }
}

/// The bytes in a file, which may be written in hex digits.
///
/// # Errors
/// The file cannot be read, is empty or too large. The text names it.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = match is_standard_input(path) {
        true => file::receive_standard_input(MAX_FILE + 1, PIPE),
        false => file::read_or_receive(path, MAX_FILE + 1, PIPE),
    };
    let checked = bytes.and_then(|bytes| match bytes.len() {
        0 => Err(io::Error::other("it is empty")),
        1..=MAX_FILE => Ok(bytes),
        _ => Err(io::Error::other("it is larger than 1 MiB")),
    });
    let shown = path.display();
    let bytes = checked.map_err(|error| format!("{shown}: cannot read this file: {error}"))?;
    Ok(from_hex(&bytes).unwrap_or(bytes))
}

/// The bytes that hex digits stand for, in pairs, with spaces, line breaks or colons between them. `None` if the
/// text is anything else.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    let between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b':';
    let digits: Option<Vec<u8>> = text
        .iter()
        .filter(|byte| !between(byte))
        .map(|byte| char::from(*byte).to_digit(16)?.try_into().ok())
        .collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let whole = rest.is_empty() && !pairs.is_empty();
    whole.then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The page about these bytes, and whether strait would route a hello like this.
fn described(wire: &[u8]) -> (String, bool) {
    let mut text = format!("{} bytes\n", wire.len());
    for field in dissect(wire) {
        let name = format!("{:indent$}{}", "", field.name, indent = 2 * field.depth);
        let _ = writeln!(text, "{:>6}  {name:<30} {}", field.at, field.value);
    }
    let mut parser = HelloParser::new(MAX_HELLO);
    let mut line = |title: &str, content: String| {
        let _ = writeln!(text, "{title:<12} {content}");
    };
    let good = match parser.parse(wire) {
        Ok(Progress::Incomplete) => {
            line(
                "verdict",
                "incomplete: strait waits for more bytes".to_owned(),
            );
            false
        }
        Ok(Progress::Complete(hello)) => {
            line("verdict", "a valid hello".to_owned());
            if let Some(name) = &hello.server_name {
                line("server name", name.to_string());
            }
            let alpn = hello.alpn().map(|name| name.escape_ascii().to_string());
            let alpn: Vec<String> = alpn.collect();
            line(
                "ALPN",
                match alpn.is_empty() {
                    true => "none".to_owned(),
                    false => alpn.join(", "),
                },
            );
            if let Some(ja4) = hello.ja4() {
                line("JA4", ja4);
            }
            let more = wire.len() - hello.wire_len;
            if more > 0 {
                line("then", format!("{more} bytes for the endpoint"));
            }
            true
        }
        Err(error) => {
            line("verdict", format!("{}: {error}", error.outcome().label()));
            line("breaks", error.clause().to_owned());
            let alert = error
                .alert()
                .map(|alert| format!("the alert {alert}, and a close"));
            line("answer", alert.unwrap_or_else(|| "a close".to_owned()));
            if let Some(hint) = error.hint() {
                line("hint", hint.to_owned());
            }
            false
        }
    };
    (text, good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_hello::vectors::HelloBuilder;

    #[test]
    fn hex_digits_are_read_and_anything_else_is_left_as_it_is() {
        for (text, bytes) in [
            ("16 03:01\n00fF", Some(vec![0x16, 3, 1, 0, 255])),
            ("0x1603", Some(vec![0x16, 3])),
            ("160", None),
            ("GET / HTTP/1.1", None),
            ("", None),
            (" \n", None),
        ] {
            assert_eq!(from_hex(text.as_bytes()), bytes, "{text:?}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let valid = HelloBuilder::tls13().server_name("a.test").wire();
        for cut in 1..valid.len() {
            assert!(!described(&valid[..cut]).1, "{cut}");
        }
        assert!(described(&valid).1);
        for at in 0..valid.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut wrong = valid.clone();
                wrong[at] = byte;
                let (text, _) = described(&wrong);
                assert!(!text.contains('\x1b'), "{text}");
            }
        }
    }
}
