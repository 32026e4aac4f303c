//! The refused calls: for each, the side that refused it and the gateway's record.

use std::fmt::Display;
use std::io;

use super::caller::{Call, call, call_without_tls};
use super::narrator::Narrator;
use super::pod::Verdict;
use super::world::{Caller, DemoClusters, NOT_EXPORTED, OUTBOUND, SERVICE, WRONG_PORT};
use crate::tools::spiffe::tls::ISTIO_HTTP;

/// Makes all of them, one after another.
pub(super) async fn tell(narrator: &mut Narrator<'_>, world: &mut DemoClusters) -> io::Result<()> {
    unknown_name(narrator, world).await?;
    wrong_alpn(narrator, world).await?;
    plain_text(narrator, world).await?;
    Box::pin(namesake_without_permission(narrator, world)).await?;
    namesake_without_federation(narrator, world).await
}

/// The caller's result of a call, in one line.
fn answer_of(call: Call) -> String {
    match call.result {
        Ok(conversation) => format!("{} {}", conversation.status, conversation.body),
        Err(refusal) => refusal.to_string(),
    }
}

async fn recorded(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
    source: std::net::SocketAddr,
    outcome: impl Display,
) -> io::Result<()> {
    let record = world.records.of(source).await?;
    narrator.expect("the gateway recorded", outcome, &record.outcome)?;
    if let Some(detail) = &record.detail {
        narrator.fact("", detail)?;
    }
    if record.endpoint.is_some() {
        let (there, back) = (record.to_upstream, record.to_downstream);
        narrator.fact("", format_args!("carried {there} bytes there, {back} back"))?;
    }
    Ok(())
}

async fn unknown_name(narrator: &mut Narrator<'_>, world: &mut DemoClusters) -> io::Result<()> {
    let tls = world.caller_tls(Caller::Alpha, ISTIO_HTTP)?;
    for (why, name) in [
        ("a service that cluster B does not export", NOT_EXPORTED),
        (
            "the right service, but a port that is not exported",
            WRONG_PORT,
        ),
    ] {
        narrator.heading(format_args!("Refused: {why}"))?;
        let call = call(&tls, world.address, name).await?;
        let source = call.source;
        narrator.fact("svca asked for", name)?;
        narrator.expect("svca got", "TLS alert UnrecognisedName", answer_of(call))?;
        recorded(narrator, world, source, "no_route").await?;
    }
    Ok(())
}

async fn wrong_alpn(narrator: &mut Narrator<'_>, world: &mut DemoClusters) -> io::Result<()> {
    narrator
        .heading("Refused: TLS that is not the mesh's (a PERMISSIVE pod would let it past mTLS)")?;
    let tls = world.caller_tls(Caller::Alpha, &["h2", "http/1.1"])?;
    let call = call(&tls, world.address, OUTBOUND).await?;
    let source = call.source;
    narrator.fact("svca offered ALPN", "h2, http/1.1")?;
    narrator.expect(
        "svca got",
        "TLS alert NoApplicationProtocol",
        answer_of(call),
    )?;
    recorded(narrator, world, source, "alpn_refused").await
}

async fn plain_text(narrator: &mut Narrator<'_>, world: &mut DemoClusters) -> io::Result<()> {
    narrator
        .heading("Refused: plain HTTP (what a ServiceEntry without a DestinationRule sends)")?;
    let (source, reply) = call_without_tls(world.address, SERVICE).await?;
    narrator.fact("svca sent", format_args!("GET / HTTP/1.1, host {SERVICE}"))?;
    let got = match reply {
        Ok(reply) if reply.is_empty() => "closed without an answer".to_owned(),
        Ok(reply) => format!("{} bytes", reply.len()),
        Err(error) => error.to_string(),
    };
    narrator.expect("svca got", "closed without an answer", got)?;
    recorded(narrator, world, source, "not_tls").await
}

/// The gateway carries this call, as it must: only the pod checks identities.
async fn namesake_without_permission(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
) -> io::Result<()> {
    narrator
        .heading("Refused by the pod: the same namespace and account, in another trust domain")?;
    let tls = world.caller_tls(Caller::Beta, ISTIO_HTTP)?;
    let made = call(&tls, world.address, OUTBOUND).await?;
    let source = made.source;
    let visit = world.visit().await?;
    let (name, identity) = match visit.verdict {
        Verdict::Allowed(id) => ("the pod allowed", id.to_string()),
        Verdict::Forbidden(id) => ("the pod forbade", id.to_string()),
        Verdict::Unverified(why) => ("the pod could not verify", why),
    };
    let promised = "the pod forbade spiffe://beta.com/ns/apps/sa/svca";
    narrator.expect("verdict", promised, format_args!("{name} {identity}"))?;
    let got = match made.result {
        Ok(conversation) => {
            let got = format!("{} {}", conversation.status, conversation.body);
            conversation.close().await?;
            got
        }
        Err(refusal) => refusal.to_string(),
    };
    narrator.expect("the caller got", "403 RBAC: access denied", got)?;
    recorded(narrator, world, source, "ok").await
}

async fn namesake_without_federation(
    narrator: &mut Narrator<'_>,
    world: &mut DemoClusters,
) -> io::Result<()> {
    narrator
        .heading("Refused by the pod: the same again, in a trust domain that is not federated")?;
    let tls = world.caller_tls(Caller::Gamma, ISTIO_HTTP)?;
    let call = call(&tls, world.address, OUTBOUND).await?;
    let source = call.source;
    let visit = world.visit().await?;
    let verdict = match visit.verdict {
        Verdict::Allowed(id) | Verdict::Forbidden(id) => format!("verified {id}"),
        Verdict::Unverified(why) => why,
    };
    let promised = "spiffe://gamma.com/ns/apps/sa/svca: no trust bundle for gamma.com";
    narrator.expect("the pod said", promised, verdict)?;
    narrator.expect(
        "the caller got",
        "TLS alert CertificateUnknown",
        answer_of(call),
    )?;
    recorded(narrator, world, source, "handshake_refused").await
}
