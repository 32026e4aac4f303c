//! The comparison of what the file says with what both sides show. Pure: the file, the observations and the time go in,
//! the checks come out.
//!
//! No check rests on one alert alone where a gateway may close instead: the answer to a name that surely has no route is
//! compared with it.

mod answers;
mod caller;
mod endpoint;
mod gateway;
mod objects;
mod service;
#[cfg(test)]
mod tests;
mod trust;
mod view;

use super::checks::{CheckGroup, DoctorCheck};
use super::file::Federation;
use super::identity::DoctorCallers;
use super::seen::SideSeen;
use answers::SideView;

/// Judges both sides at `now`, in seconds since 1970.
pub(crate) fn judge(
    federation: &Federation,
    callers: &DoctorCallers,
    seen: &[SideSeen; 2],
    now: i64,
) -> Vec<DoctorCheck> {
    let [one, other] = &federation.sides;
    let [seen_one, seen_other] = seen;
    let same = one.trust_domain == other.trust_domain;
    let label = |side: &super::file::FederationSide| match same {
        true => format!("{} at {}", side.trust_domain, side.gateway),
        false => side.trust_domain.to_string(),
    };
    let one = SideView::new(label(one), one, seen_one, now);
    let other = SideView::new(label(other), other, seen_other, now);
    let mut checks = Vec::new();
    for (side, peer) in [(&one, &other), (&other, &one)] {
        let group = |what: &str| format!("{}: {what}", side.label);
        gateway::judge(
            side,
            &mut CheckGroup {
                name: group(&format!("the gateway {}", side.file.gateway)),
                checks: &mut checks,
            },
        );
        for (place, view) in &side.seen.views {
            let name = group(&format!("the gateway whose admin address is {place}"));
            let checks = &mut checks;
            view::judge(side, view, &mut CheckGroup { name, checks });
        }
        if let Some(facts) = &side.file.bundle {
            let name = group(&format!("SPIRE's bundle endpoint {}", facts.url.text));
            let checks = &mut checks;
            endpoint::judge(side, peer, facts, &mut CheckGroup { name, checks });
        }
        for (service, seen) in side.file.services.iter().zip(&side.seen.services) {
            let name = group(&format!("the service {service}"));
            let checks = &mut checks;
            service::judge(side, service, seen, &mut CheckGroup { name, checks });
        }
    }
    for (side, peer) in [(&one, &other), (&other, &one)] {
        trust::judge(
            side,
            peer,
            &mut CheckGroup {
                name: format!("{} trusts {}", side.label, peer.label),
                checks: &mut checks,
            },
        );
    }
    judge_objects([&one, &other], &mut checks);
    judge_callers([&one, &other], callers, &mut checks);
    trust::judge_names(
        &one,
        &other,
        &mut CheckGroup {
            name: "both sides".to_owned(),
            checks: &mut checks,
        },
    );
    checks
}

/// Judges the objects of both sides' clusters, of those that were read.
fn judge_objects([one, other]: [&SideView<'_>; 2], checks: &mut Vec<DoctorCheck>) {
    for (side, peer) in [(one, other), (other, one)] {
        let name = format!("{}: the objects of its cluster", side.label);
        let mut group = CheckGroup { name, checks };
        match &side.seen.objects {
            None => {}
            Some(Ok(found)) => objects::judge(side, peer, found, &mut group),
            Some(Err(reason)) => {
                group.untold("cluster-domain", "its objects are read", reason.clone());
            }
        }
    }
}

/// Judges the calls of both sides' callers, of those whose SVID is there.
fn judge_callers(
    [one, other]: [&SideView<'_>; 2],
    callers: &DoctorCallers,
    checks: &mut Vec<DoctorCheck>,
) {
    let [of_one, of_other] = callers.sides();
    for (side, peer, svid) in [(one, other, of_one), (other, one, of_other)] {
        if let Some(svid) = svid {
            let id = svid.id.escape_debug();
            let name = format!("{} calls {} as {id}", side.label, peer.label);
            caller::judge(side, peer, svid, &mut CheckGroup { name, checks });
        }
    }
}
