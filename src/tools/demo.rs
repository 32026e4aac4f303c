//! `strait demo`: two clusters (the picture in README.md) in one process, and a call between them.
//!
//! Everything runs on loopback with free ports, without a file, a network or a cluster. The demo prints
//! only things that it observed, and checks every promise that it makes.

pub mod caller;
pub mod narrator;
pub mod pod;

mod keep;
mod refusals;
mod story;
mod world;

use std::io::{self, Write};

use narrator::Narrator;
use world::DemoClusters;

/// Options of the demo.
#[derive(Debug, Clone, Copy, Default)]
pub struct DemoOptions {
    /// Go on after the last step until Ctrl-C, with a call every second.
    pub keep: bool,
    /// Set if the output is a terminal.
    pub colour: bool,
}

/// Runs the demo and writes the story to `out`. Returns whether everything went as promised.
///
/// # Errors
/// The output is gone, or this machine has no free loopback ports.
pub async fn run(options: DemoOptions, out: &mut dyn Write) -> io::Result<bool> {
    let mut world = DemoClusters::create().await?;
    let mut narrator = Narrator::new(out, options.colour);
    // Boxed: otherwise the TLS sessions of every part would make one large future.
    if let Err(error) = Box::pin(tell(&mut narrator, &mut world)).await {
        narrator.interrupted(&error)?;
    }
    let kept = narrator.verdict()?;
    if options.keep {
        Box::pin(keep::until_interrupted(&mut narrator, &mut world)).await?;
    }
    Box::pin(world.stop()).await?;
    Ok(kept)
}

async fn tell(narrator: &mut Narrator<'_>, world: &mut DemoClusters) -> io::Result<()> {
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
    async fn all_goes_as_promised_and_fits_the_page() {
        let mut out = Vec::new();
        let kept = Box::pin(run(DemoOptions::default(), &mut out)).await;
        let kept = kept.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(kept, "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "too wide: {line}");
        }
    }
}
