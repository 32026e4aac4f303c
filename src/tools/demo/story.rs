//! The calls that succeed, step by step.

use std::collections::BTreeSet;
use std::io;

use super::caller::{Call, call};
use super::narrator::Narrator;
use super::pod::Verdict;
use super::world::{Caller, DemoClusters, OUTBOUND, SERVICE};
use crate::tools::records::LogLine;
use crate::tools::scrape;
use crate::tools::spiffe::tls::{ISTIO_HTTP, TLS12, TLS13, TlsEnd};

/// Number of calls that are open together: enough for every pod to get some.
const CALLS_AT_ONCE: usize = 6;

/// Introduces the two clusters, the addresses and the gateway's config.
pub(super) fn introduce(narrator: &mut Narrator<'_>, world: &DemoClusters) -> io::Result<()> {
    narrator.say(
        "strait demo: a call between two clusters whose trust domains are federated. Everything runs\n\
         in this process on loopback: no cluster, no network, no file.",
    )?;
    let gateway = world.address.to_string();
    let pods: Vec<String> = world
        .pods
        .iter()
        .map(|pod| format!("{} {}", pod.name(), pod.address))
        .collect();
    let (first, second) = (&pods[0], &pods[pods.len() - 1]);
    narrator.say(format_args!(
        "
   cluster A: alpha.com             cluster B: beta.com
  +------------------------+       +----------------------------------------------------------+
  |                        |       |  strait                     +-->  {first:<22} |
  |  svca in ns apps  -----|--(3)--|->  {gateway:<15} ----(4)----+                            |
  |                        |       |                             +-->  {second:<22} |
  +------------------------+       +----------------------------------------------------------+
     <=======(2)=============== one mTLS session, end to end ================(5)=======>
     strait reads the name in its first message and picks a pod; it has no key to read the rest."
    ))?;
    let (svca, svcb) = (&world.svca.id, &world.svcb.id);
    narrator.heading("Who is who (SPIRE would issue these; here they are made in memory)")?;
    narrator.fact("svca", format_args!("{svca}, from alpha.com's CA"))?;
    narrator.fact("", "trusts beta.com's bundle, and expects svcb there")?;
    narrator.fact("both pods", format_args!("{svcb}, from beta.com's CA"))?;
    narrator.fact("", "trust the bundles of beta.com and alpha.com")?;
    narrator.fact("", format_args!("allow {svca} alone"))?;
    narrator.heading("The gateway's whole config")?;
    for line in world.config.lines() {
        narrator.say(format_args!("    {line}"))?;
    }
    Ok(())
}

/// The steps of one call, in the order of the documentation.
pub(super) async fn one_call(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
) -> io::Result<()> {
    narrator.heading("One call, step by step")?;
    let tls = world.caller_tls(Caller::Alpha, ISTIO_HTTP)?;
    let made = call(&tls, world.address, OUTBOUND).await?;
    let (source, bytes) = (made.source, made.bytes.clone());
    narrator.say(format_args!(
        "(1) svca asks for http://{SERVICE}. Cluster A has no such service:\n    \
         a ServiceEntry sends it to cluster B's gateway."
    ))?;
    narrator.say("(2) svca's sidecar begins mTLS under its alpha.com identity.")?;
    narrator.fact("offers", format_args!("SNI {OUTBOUND}"))?;
    narrator.fact("", format_args!("ALPN {}", ISTIO_HTTP.join(", ")))?;
    narrator.say("(3) The connection goes to cluster B's gateway.")?;
    narrator.fact("TCP", format_args!("{source} -> {}", world.address))?;
    let conversation = match made.result {
        Ok(conversation) => conversation,
        Err(refusal) => return narrator.expect("call", "answered", refusal),
    };
    let (server, status, body) = (
        conversation.server.clone(),
        conversation.status,
        conversation.body.clone(),
    );
    let version = conversation.version;
    let visit = world.visit().await?;
    conversation.close().await?;
    let record = world.records.of(source).await?;

    narrator.say("(4) The gateway reads the SNI and picks a pod. From its access log:")?;
    let saw = record.server_name.as_deref().unwrap_or("nothing");
    narrator.expect("saw the SNI", OUTBOUND, saw)?;
    let route = record.route.as_deref().unwrap_or("none");
    narrator.expect("took the route", format_args!("{SERVICE}:80"), route)?;
    let chosen = world.pod_at(record.endpoint).unwrap_or("no pod");
    narrator.expect("chose", &visit.pod, chosen)?;
    narrator.expect("outcome", "ok", &record.outcome)?;
    narrator.expect("bytes to the pod", bytes.sent(), record.to_upstream)?;
    narrator.expect("bytes back", bytes.received(), record.to_downstream)?;
    narrator.fact("", "(as many as svca's side of the wire counted)")?;
    narrator.fact("times", times(&record))?;

    narrator.say("(5) Each side has verified the other, and the pod allows svca:")?;
    let seen = match &visit.verdict {
        Verdict::Allowed(id) | Verdict::Forbidden(id) => id.to_string(),
        Verdict::Unverified(why) => why.clone(),
    };
    narrator.expect("the pod saw", &world.svca.id, seen)?;
    narrator.expect("svca saw", &world.svcb.id, server)?;
    narrator.fact("over", version)?;
    narrator.expect("svca got", 200, status)?;
    narrator.fact("", format_args!("\"{body}\""))
}

fn times(record: &LogLine) -> String {
    let ms = |time: Option<f64>| time.map_or("?".to_owned(), |ms| format!("{ms:.2} ms"));
    let (hello, connect) = (ms(record.hello_ms), ms(record.connect_ms));
    format!(
        "hello {hello}, connect {connect}, whole connection {:.2} ms",
        record.duration_ms
    )
}

/// Several calls that are open together: both spellings of the name, both versions of TLS, both pods.
pub(super) async fn calls_at_once(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
) -> io::Result<()> {
    narrator.heading(format_args!(
        "{CALLS_AT_ONCE} more calls, held open together: each goes to the pod with the fewest"
    ))?;
    let svca = world.svca.clone();
    let mut calls = Vec::new();
    for number in 0..CALLS_AT_ONCE {
        let mut end = TlsEnd::new(&svca, ISTIO_HTTP);
        end.versions = if number % 4 < 2 { TLS13 } else { TLS12 };
        let name = if number % 2 == 0 { SERVICE } else { OUTBOUND };
        let tls = world.client_of(end)?;
        let made = call(&tls, world.address, name).await?;
        let visit = match &made.result {
            Ok(_) => Some(world.visit().await?),
            Err(_) => None,
        };
        calls.push((name, made, visit));
    }
    narrator.say(format_args!(
        "         {:<44} {:<8} {:<7} {:>6} {:>6} {:>9}",
        "SNI as the gateway saw it", "TLS", "pod", "bytes", "back", "connect"
    ))?;
    let mut pods = BTreeSet::new();
    let mut agreed = 0;
    for (name, made, visit) in calls {
        let Call { source, result, .. } = made;
        let conversation = match result {
            Ok(conversation) => conversation,
            Err(refusal) => {
                narrator.expect("call", "answered", refusal)?;
                continue;
            }
        };
        let both_verified = conversation.server == world.svcb.id
            && visit.as_ref().map(|v| &v.verdict) == Some(&Verdict::Allowed(svca.id.clone()));
        let (version, status) = (conversation.version, conversation.status);
        conversation.close().await?;
        let record = world.records.of(source).await?;
        let saw = record.server_name.as_deref().unwrap_or("nothing");
        let pod = world.pod_at(record.endpoint).unwrap_or("no pod").to_owned();
        narrator.say(format_args!(
            "         {saw:<44} {version:<8} {pod:<7} {:>6} {:>6} {:>6.2} ms",
            record.to_upstream,
            record.to_downstream,
            record.connect_ms.unwrap_or(f64::NAN)
        ))?;
        if both_verified && status == 200 && saw == name && record.outcome == "ok" {
            agreed += 1;
        }
        pods.insert(pod);
    }
    narrator.expect("verified by both sides", CALLS_AT_ONCE, agreed)?;
    let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
    narrator.expect("pods that got calls", "svcb-1, svcb-2", pods.join(", "))
}

/// The metrics that Prometheus would see after these calls.
pub(super) async fn metrics(narrator: &mut Narrator<'_>, world: &DemoClusters) -> io::Result<()> {
    let Some(address) = world.metrics() else {
        return Ok(());
    };
    narrator.heading("The same in numbers, as Prometheus would scrape them")?;
    let samples = scrape::samples(address).await?;
    const CLOSED: &str = "strait_connections_closed_total";
    // One call, the calls at once, and the call that a pod refused after its handshake.
    let carried = (1 + CALLS_AT_ONCE + 1) as f64;
    for (outcome, promised) in [
        ("ok", carried),
        ("no_route", 2.0),
        ("alpn_refused", 1.0),
        ("not_tls", 1.0),
        ("handshake_refused", 1.0),
    ] {
        let counted = scrape::total(&samples, CLOSED, &[("outcome", outcome)]);
        narrator.expect(&format!("closed, {outcome}"), promised, counted)?;
    }
    let open = scrape::total(&samples, "strait_connections_active", &[]);
    narrator.expect("open now", 0, open)
}
