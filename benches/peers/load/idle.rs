//! Connections that stay silent after the hello.

use std::io;

use super::{Connection, Next, Work};

/// Connects and then does nothing.
#[derive(Debug)]
pub struct Idle;

impl Work for Idle {
    fn begin(&mut self, _: &mut Connection) -> io::Result<Next> {
        Ok(Next::Read)
    }

    fn go_on(&mut self, _: &mut Connection) -> io::Result<Next> {
        Err(io::Error::other("an idle connection was closed"))
    }

    fn reset(&mut self) {}
}
