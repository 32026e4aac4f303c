//! `strait schema`: the JSON Schema of the config file.

use std::process::ExitCode;

use super::{failed, print};
use crate::config::reference;

pub(super) fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&reference::schema()) {
        Ok(schema) => print(format!("{schema}\n").as_bytes()),
        Err(error) => failed(&error),
    }
}
