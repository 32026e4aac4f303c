//! `strait demo --keep`: the same two clusters run on, with a call every second.

use std::io;
use std::time::{Duration, Instant};

use super::caller::call;
use super::narrator::Narrator;
use super::world::{Caller, DemoClusters, OUTBOUND};
use crate::tools::spiffe::SVID_LIFETIME;
use crate::tools::spiffe::tls::ISTIO_HTTP;

/// Time between two calls.
const PAUSE: Duration = Duration::from_secs(1);

/// Calls once a second until Ctrl-C.
///
/// # Errors
/// The output or the gateway is gone.
pub(super) async fn until_interrupted(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
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

async fn call_every_second(world: &mut DemoClusters) -> io::Result<()> {
    let mut issued = Instant::now();
    loop {
        // SPIRE renews an SVID at half of its lifetime, too.
        if issued.elapsed() > SVID_LIFETIME / 2 {
            world.renew_svids().map_err(io::Error::other)?;
            issued = Instant::now();
        }
        let tls = world.caller_tls(Caller::Alpha, ISTIO_HTTP)?;
        if let Ok(conversation) = call(&tls, world.address, OUTBOUND).await?.result {
            // The call stays open for a moment, so that the metrics show it as active.
            tokio::time::sleep(PAUSE / 4).await;
            conversation.close().await?;
        }
        world.forget();
        tokio::time::sleep(PAUSE).await;
    }
}
