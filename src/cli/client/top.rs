//! `strait top`: a running gateway, live in a terminal, or as one snapshot.

mod answers;
mod cell;
mod explained;
#[cfg(test)]
mod fixture;
mod header;
mod ink;
mod keys;
mod live;
mod model;
mod paint;
mod screen;
mod view;

use std::env;
use std::io::{self, IsTerminal};
use std::time::Instant;

use clap::ValueEnum;
use tokio::time::sleep;

use super::admin::{Admin, AdminArguments};
use super::{CommandAnswer, CommandResult, Output, OutputArgument, pretty};
use crate::clock;
use crate::terminal;
use ink::TopInk;
use model::{INTERVALS, TopModel};
use view::TopView;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TopArguments {
    /// The view to begin with
    #[arg(long, value_enum, value_name = "VIEW", default_value = "route")]
    by: TopBy,
    /// Show only rows that hold this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    q: String,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(INTERVALS))]
    interval: u64,
    /// Print one snapshot, in ASCII and at most 100 columns wide, and end
    #[arg(long)]
    once: bool,
    /// The most rows of a snapshot
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    rows: usize,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    output: OutputArgument,
}

/// The thing that a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TopBy {
    /// A client address
    Source,
    /// A route
    Route,
    /// An endpoint of an upstream
    Endpoint,
    /// An open connection
    Connection,
    /// Something that is wrong
    Trouble,
}

impl TopBy {
    fn view(self) -> TopView {
        match self {
            Self::Source => TopView::Sources,
            Self::Route => TopView::Routes,
            Self::Endpoint => TopView::Endpoints,
            Self::Connection => TopView::Connections,
            Self::Trouble => TopView::Troubles,
        }
    }
}

pub(super) async fn top(arguments: &TopArguments) -> CommandResult {
    let admin = Admin::of(&arguments.admin)?;
    let view = arguments.by.view();
    let model = TopModel::new(
        admin.address.to_string(),
        view,
        arguments.interval,
        &arguments.q,
    );
    let json = arguments.output.output == Output::Json;
    if arguments.once || json || !can_draw() {
        return Box::pin(once(&admin, model, json, arguments.rows)).await;
    }
    let ink = TopInk {
        ascii: !is_utf8(|name| env::var(name).ok()),
        colours: terminal::has_colours(&io::stdout()),
    };
    Box::pin(live::run(&admin, model, ink)).await?;
    let text = String::new();
    Ok(CommandAnswer { text, yes: true })
}

/// One snapshot. Rates need two looks, so it takes a second.
async fn once(admin: &Admin, mut model: TopModel, json: bool, rows: usize) -> CommandResult {
    let since = Instant::now();
    let view = model.view;
    for second in [false, true] {
        if second {
            sleep(live::SECOND_LOOK).await;
        }
        let answers = Box::pin(live::look(admin, view, model.paths(), since)).await?;
        model.answered(view, answers);
    }
    let text = match json {
        true => pretty(&model.json(rows))?,
        false => paint::plain(&model, clock::millis(since.elapsed()), rows),
    };
    Ok(CommandAnswer { text, yes: true })
}

/// Whether there is a terminal on which places can be chosen.
fn can_draw() -> bool {
    let is_dumb = env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Whether the locale's encoding is UTF-8, by POSIX's order of variables.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut values = names.filter_map(variable).filter(|value| !value.is_empty());
    let locale = values.next().unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_whether_there_is_more_than_ascii() {
        for (all, kind, lang, utf8) in [
            (None, None, None, false),
            (None, None, Some("de_DE.UTF-8"), true),
            (None, None, Some("C.utf8"), true),
            (Some("C"), None, Some("de_DE.UTF-8"), false),
            (Some(""), Some("en_GB.UTF-8"), Some("C"), true),
            (None, Some("de_DE.ISO-8859-1"), Some("C.UTF-8"), false),
        ] {
            let variable = |name: &str| match name {
                "LC_ALL" => all.map(str::to_owned),
                "LC_CTYPE" => kind.map(str::to_owned),
                _ => lang.map(str::to_owned),
            };
            assert_eq!(is_utf8(variable), utf8, "{all:?} {kind:?} {lang:?}");
        }
    }
}
