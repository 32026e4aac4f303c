//! `strait hellos`: the hellos of refused connections that a running gateway has kept.

use std::fmt::Write as _;

use super::admin::{Admin, AdminArguments, encoded};
use super::table::table;
use super::{CommandAnswer, CommandResult, Output, OutputArgument, cell, items, pretty};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HellosArguments {
    /// The number of one of them: print its bytes in hex digits, for `strait hello -` and `strait replay -`
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

pub(super) async fn hellos(arguments: &HellosArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let text = match arguments.id.as_deref() {
        Some(id) => {
            let path = format!("/hellos/{}", encoded(id));
            hex(&admin.get(&path).await?.bytes()?)
        }
        None => {
            let answer = admin.get("/hellos").await?.json()?;
            match arguments.output.output {
                Output::Json => pretty(&answer)?,
                Output::Text if answer.get("on") == Some(&false.into()) => {
                    "the config keeps none: hellos: { keep: 16 }\n".to_owned()
                }
                Output::Text => {
                    let keys = [
                        "id",
                        "at",
                        "source",
                        "outcome",
                        "size_bytes",
                        "ja4",
                        "detail",
                    ];
                    let row = |hello| keys.map(|key| cell(hello, key));
                    let rows: Vec<_> = items(&answer, "hellos").iter().map(row).collect();
                    let head = ["ID", "TIME", "SOURCE", "OUTCOME", "BYTES", "JA4", "DETAIL"];
                    table(head, &rows)
                }
            }
        }
    };
    Ok(CommandAnswer { text, yes: true })
}

/// Lines of 32 bytes in hex digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}
