//! `strait demo --keep`: the same world goes on, with a call every second.

use std::io;
use std::time::{Duration, Instant};

use super::caller::call;
use super::narrator::Narrator;
use super::world::{Caller, OUTBOUND, World};
use crate::tools::spiffe::SVID_LIFETIME;
use crate::tools::spiffe::tls::ISTIO_HTTP;

/// Between calls.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls until Ctrl-C.
///
/// # Errors
/// The output is gone, or the gateway is.
pub(super) async fn until_interrupted(
    narrator: &mut Narrator<'_>,
    world: &mut World,
) -> io::Result<()> {
    narrator.heading("Still running, with a call every second. Ctrl-C ends it.")?;
    for (path, address) in [
        ("/metrics", world.metrics()),
        ("/", world.admin()),
        ("/healthz/ready", world.status()),
    ] {
        if let Some(address) = address {
            narrator.say(format_args!("    curl http://{address}{path}"))?;
        }
    }
    narrator.flush()?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        ended = call_every_second(world) => ended,
    }
}

async fn call_every_second(world: &mut World) -> io::Result<()> {
    let mut issued = Instant::now();
    loop {
        // As SPIRE does: an SVID is renewed at half of its life.
        if issued.elapsed() > SVID_LIFETIME / 2 {
            world.renew_svids().map_err(io::Error::other)?;
            issued = Instant::now();
        }
        let tls = world.caller_tls(Caller::Alpha, ISTIO_HTTP)?;
        if let Ok(conversation) = call(&tls, world.address, OUTBOUND).await?.result {
            // What is held open for a moment shows as active in the metrics.
            tokio::time::sleep(PAUSE / 4).await;
            conversation.close().await?;
        }
        world.forget();
        tokio::time::sleep(PAUSE).await;
    }
}
