//! Checks of the calls that were made with the SVID of a caller.

use super::answers::{SideView, expiry};
use crate::doctor::certificate::{IssuerFound, ShownCertificate};
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::file::FederatedService;
use crate::doctor::identity::CallerSvid;
use crate::doctor::seen::{CallAnswer, ServiceSeen};
use crate::verdict::alert_name;

/// Judges the calls of the services of `peer` by a caller of `side`.
pub(super) fn judge(
    side: &SideView<'_>,
    peer: &SideView<'_>,
    svid: &CallerSvid,
    group: &mut CheckGroup<'_>,
) {
    let title = "the SVID is valid, and of its side's bundle";
    let fault = svid_fault(side, svid);
    let is_well = fault.is_none();
    group.judged("caller-svid", title, fault);
    for (service, seen) in peer.file.services.iter().zip(&peer.seen.services) {
        let call = JudgedCall {
            peer,
            service,
            seen,
            svid,
            is_well,
        };
        match service.callers.is_empty() || service.callers.contains(&svid.id) {
            true => call.judge_wanted(group),
            false => call.judge_unwanted(group),
        }
    }
}

fn svid_fault(side: &SideView<'_>, svid: &CallerSvid) -> Option<Fault> {
    let renew = "fetch it again from the agent of the caller's node";
    let expiry = expiry(side, &svid.chain.leaf, ("the SVID", ""), renew);
    if expiry.is_some() {
        return expiry;
    }
    let unknown =
        |roots: &[ShownCertificate]| svid.chain.issuer_among(roots) == IssuerFound::Unknown;
    if unknown(&svid.roots) {
        return Some(Fault::new(
            "bundle",
            "the SVID is of no authority of the bundle that was given with it",
            "give the bundle that the agent gave with the SVID",
        ));
    }
    let served = side.seen.document.bundle();
    served
        .is_some_and(|bundle| unknown(&bundle.roots))
        .then(|| {
            Fault::new(
                "other_authority",
                "the SVID is of an authority that its own side's bundle does not have",
                "fetch it again; if that gives the same, an authority was revoked too early, or another SPIRE signs there",
            )
        })
}

/// One call with what is expected of it.
struct JudgedCall<'a> {
    peer: &'a SideView<'a>,
    service: &'a FederatedService,
    seen: &'a ServiceSeen,
    svid: &'a CallerSvid,
    /// Whether the SVID itself passed.
    is_well: bool,
}

impl JudgedCall<'_> {
    /// The SPIFFE ID as it is written in a policy, escaped.
    fn principal(&self) -> String {
        let id = &*self.svid.id;
        let principal = id.strip_prefix("spiffe://").unwrap_or(id);
        principal.escape_debug().to_string()
    }

    fn judge_wanted(&self, group: &mut CheckGroup<'_>) {
        const CHECK: &str = "call";
        let title = format!("{} lets the caller in", self.service);
        if !self.is_well {
            return group.untold(CHECK, title, "the SVID is not well");
        }
        match self.seen.call {
            CallAnswer::Answered { denied: true, .. } => group.fail(CHECK, title, self.policy()),
            CallAnswer::Answered {
                status: status @ 502..=504,
                ..
            } => group.warn(CHECK, title, Fault::new(
                "application",
                format!("the call gets in and is answered by status {status}"),
                "look at the service's application: its sidecar does not reach it, or it is not well",
            )),
            CallAnswer::Answered { .. } => group.pass(CHECK, title),
            CallAnswer::Refused(alert) => {
                group.found(CHECK, title, self.ca_certificates(alert).map(Some));
            }
            CallAnswer::Closed => group.untold(CHECK, title, "the connection ends after the SVID was shown, without an alert or an answer"),
            CallAnswer::Taken => group.untold(CHECK, title, "its sidecar takes the SVID; its policy cannot be told, since the service speaks no HTTP"),
            CallAnswer::Silent => group.untold(CHECK, title, "its sidecar takes the SVID, and then no answer comes"),
            CallAnswer::NotAsked | CallAnswer::NoServer => {
                group.untold(CHECK, title, "its sidecar is not reached");
            }
        }
    }

    fn policy(&self) -> Fault {
        Fault::new(
            "policy",
            format!(
                "its sidecar takes the SVID, and its policy denies {} (403, RBAC: access denied)",
                self.svid.id.escape_debug()
            ),
            format!(
                "write principals: [{}] in the service's AuthorizationPolicy, without spiffe://; if this caller should be denied, name the right ones as callers in the file",
                self.principal()
            ),
        )
    }

    /// The fault of a sidecar that has the caller's bundle and refuses its SVID all the same.
    ///
    /// # Errors
    /// The reason why it cannot be told.
    fn ca_certificates(&self, alert: u8) -> Result<Fault, &'static str> {
        let shown = self.seen.mesh.shown();
        let names = shown.and_then(|shown| shown.trusts.as_deref());
        let names = names.filter(|names| !names.is_empty());
        let names = names.ok_or("it refuses the SVID, and names no CA that it trusts")?;
        let root = match self.svid.chain.issuer_among(&self.svid.roots) {
            IssuerFound::Root(index) => self.svid.roots.get(index),
            IssuerFound::Unknown | IssuerFound::NotTold => None,
        };
        let root = root.ok_or("it refuses the SVID, whose chain cannot be verified here")?;
        if !names.contains(&root.subject) {
            return Err("it refuses the SVID, whose root it does not have; see trust");
        }
        let domain = self.svid.trust_domain().escape_debug();
        Ok(Fault::new(
            "ca_certificates",
            format!(
                "its sidecar has the bundle of {domain} and refuses a good SVID of it (alert {}): the mesh config does not name the trust domain",
                alert_name(alert).unwrap_or("unknown")
            ),
            format!(
                "write caCertificates: [{{ trustDomains: [{domain}] }}] into meshConfig of {}",
                self.peer.label
            ),
        ))
    }

    /// A caller that the file does not name.
    fn judge_unwanted(&self, group: &mut CheckGroup<'_>) {
        const CHECK: &str = "kept-out";
        let title = format!(
            "{} keeps the caller out, which the file does not name",
            self.service
        );
        match self.seen.call {
            CallAnswer::Answered { denied: false, .. } => group.fail(CHECK, title, self.let_in()),
            CallAnswer::Answered { denied: true, .. } => group.pass(CHECK, title),
            CallAnswer::Refused(_) if self.is_well => group.pass(CHECK, title),
            CallAnswer::Refused(_) => group.untold(CHECK, title, "the SVID is not well"),
            CallAnswer::Closed | CallAnswer::Taken | CallAnswer::Silent => {
                group.untold(CHECK, title, "no HTTP answer comes");
            }
            CallAnswer::NotAsked | CallAnswer::NoServer => {
                group.untold(CHECK, title, "its sidecar is not reached");
            }
        }
    }

    fn let_in(&self) -> Fault {
        let path = |id: &str| -> Option<String> {
            let (_, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
            Some(path.to_owned())
        };
        let own = path(&self.svid.id);
        let namesake = self.service.callers.iter().find(|id| path(id) == own);
        let id = self.svid.id.escape_debug();
        match namesake {
            Some(other) => Fault::new(
                "aliases",
                format!("DANGER: {id} is let in, where the policy should know {other} alone"),
                format!(
                    "take trustDomainAliases out of meshConfig of {}: an alias makes identities of both trust domains one; then look at the policy's principals",
                    self.peer.label
                ),
            ),
            None => Fault::new(
                "let_in",
                format!(
                    "DANGER: {id} is let in, which is none of the service's callers in the file"
                ),
                "look at the service's AuthorizationPolicy; if the caller is right, name it in the file",
            ),
        }
    }
}
