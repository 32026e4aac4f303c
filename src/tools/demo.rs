//! `strait demo`: the two clusters of the picture in README.md in one process, and a call between them.
//!
//! Everything runs on loopback with free ports: no file, no network, no cluster. What is printed is
//! what was observed, and every promise on the way is checked.

pub mod caller;
pub mod narrator;
pub mod pod;

mod keep;
mod refusals;
mod story;
mod world;

use std::io::{self, Write};

use narrator::Narrator;
use world::World;

/// How the demo runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct DemoOptions {
    /// Go on after the story until Ctrl-C, with a call every second.
    pub keep: bool,
    /// The output is a terminal.
    pub colour: bool,
}

/// Runs the demo and tells it to `out`. Returns whether all went as told.
///
/// # Errors
/// The output is gone, or this machine does not even have free loopback ports.
pub async fn run(options: DemoOptions, out: &mut dyn Write) -> io::Result<bool> {
    let mut world = World::create().await?;
    let mut narrator = Narrator::new(out, options.colour);
    // Boxed: the sessions that a part holds would all count into one large future.
    if let Err(error) = Box::pin(tell(&mut narrator, &mut world)).await {
        narrator.interrupted(&error)?;
    }
    let as_told = narrator.verdict()?;
    if options.keep {
        Box::pin(keep::until_interrupted(&mut narrator, &mut world)).await?;
    }
    Box::pin(world.stop()).await?;
    Ok(as_told)
}

async fn tell(narrator: &mut Narrator<'_>, world: &mut World) -> io::Result<()> {
    story::introduce(narrator, world)?;
    Box::pin(story::one_call(narrator, world)).await?;
    Box::pin(story::calls_at_once(narrator, world)).await?;
    Box::pin(refusals::tell(narrator, world)).await?;
    story::metrics(narrator, world).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_goes_as_told_and_fits_the_page() {
        let mut out = Vec::new();
        let as_told = Box::pin(run(DemoOptions::default(), &mut out)).await;
        let as_told = as_told.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(as_told, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "too wide: {line}");
        }
    }
}
