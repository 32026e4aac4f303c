//! `strait man`: the manual pages, made of the texts of `--help`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Arguments, failed, print};

#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// The command; without it, the page of strait itself
    command: Option<String>,
}

pub(super) fn man(arguments: &ManArguments) -> ExitCode {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let command = match &arguments.command {
        None => Some(&command),
        Some(name) => command.find_subcommand(name),
    };
    let Some(command) = command else {
        return failed(&"there is no such command: see strait --help");
    };
    // Of `check` it is `strait-check`, once the command was built.
    let title = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Vec::new();
    match Man::new(command.clone()).title(title).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => failed(&error),
    }
}
