//! The meaning of an answer to a hello, where a certificate was expected.

use crate::doctor::certificate::ShownCertificate;
use crate::doctor::checks::Fault;
use crate::doctor::file::FederationSide;
use crate::doctor::seen::{ShownServer, SideSeen, TlsAnswer};
use crate::verdict::alert_name;

/// Alerts (RFC 8446 section 6, RFC 7301 section 3.2).
const INTERNAL_ERROR: u8 = 80;
pub(super) const UNRECOGNIZED_NAME: u8 = 112;
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// One side: what the file says of it and what it shows.
#[derive(Debug)]
pub(super) struct SideView<'a> {
    /// The trust domain, or more if both sides have the same.
    pub(super) label: String,
    pub(super) file: &'a FederationSide,
    pub(super) seen: &'a SideSeen,
    /// Seconds since 1970.
    pub(super) now: i64,
}

impl<'a> SideView<'a> {
    pub(super) fn new(
        label: String,
        file: &'a FederationSide,
        seen: &'a SideSeen,
        now: i64,
    ) -> Self {
        Self {
            label,
            file,
            seen,
            now,
        }
    }
}

/// A thing behind a gateway, in words for findings.
#[derive(Debug)]
pub(super) struct BehindGateway<'a> {
    /// The server name of its route.
    pub(super) name: &'a str,
    /// The answer to a name that surely has no route, from the same kind of client.
    pub(super) control: &'a TlsAnswer,
    /// The route to write.
    pub(super) route: String,
    /// `SPIRE's bundle endpoint`, or `a pod of the service`.
    pub(super) what: &'a str,
    /// The remedy if the gateway cannot connect.
    pub(super) connect: &'a str,
    /// The remedy if what it leads to speaks no TLS.
    pub(super) plain: &'a str,
    /// The remedy if it is silent.
    pub(super) silent: &'a str,
}

/// The server that answers, or the fault.
///
/// # Errors
/// The fault; `None` if the hello was not sent or not answered for a reason that another check has.
pub(super) fn server<'a>(
    answer: &'a TlsAnswer,
    target: &BehindGateway<'_>,
) -> Result<&'a ShownServer, Option<Fault>> {
    let BehindGateway { name, what, .. } = target;
    let fault = match answer {
        TlsAnswer::Shown(server) => return Ok(server),
        TlsAnswer::NotAsked => return Err(None),
        TlsAnswer::Unreached(_) => Fault::new(
            "unreached",
            "its gateway took a connection and then no other one",
            "look at the gateway's limits and at its load balancer",
        ),
        TlsAnswer::Alert(UNRECOGNIZED_NAME) => Fault::new(
            "no_route",
            format!("its gateway has no route for {name}"),
            format!("add the route {} to its config", target.route),
        ),
        TlsAnswer::Alert(NO_APPLICATION_PROTOCOL) => Fault::new(
            "alpn",
            format!("its route for {name} takes other ALPN protocols"),
            format!("write the route as {}", target.route),
        ),
        TlsAnswer::Alert(INTERNAL_ERROR) => unconnected(target),
        TlsAnswer::Alert(alert) => Fault::new(
            "alert",
            format!(
                "what answers for {name} refuses the hello: alert {} ({alert})",
                alert_name(*alert).unwrap_or("unknown")
            ),
            format!("is it {what}?"),
        ),
        TlsAnswer::Closed | TlsAnswer::Reset => closed(answer, target),
        TlsAnswer::Silent => Fault::new(
            "silent",
            format!(
                "nothing answers in time: {what} takes the connection and says nothing, or its gateway tries longer than 3 s to connect"
            ),
            target.silent,
        ),
        TlsAnswer::NotTls(first) => Fault::new(
            "not_tls",
            format!(
                "what its gateway's route for {name} leads to speaks no TLS: it begins with \"{}\"",
                first.escape_ascii()
            ),
            target.plain,
        ),
        TlsAnswer::Broken(error) => Fault::new(
            "broken",
            format!(
                "the TLS handshake of {what} breaks: {}",
                error.escape_default()
            ),
            format!("is it {what}?"),
        ),
    };
    Err(Some(fault))
}

/// A close or a reset without a byte: a connection that the gateway could not make, unless it answers so where it has no
/// route.
fn closed(answer: &TlsAnswer, target: &BehindGateway<'_>) -> Fault {
    if matches!(target.control, TlsAnswer::Closed | TlsAnswer::Reset) {
        return Fault::new(
            "one_of",
            format!(
                "its gateway closes without a word, as it does for a name that has no route: no route for {}, a route that takes other ALPN protocols, or {} cannot be reached",
                target.name, target.what
            ),
            format!("ask the gateway: strait explain --sni {}", target.name),
        );
    }
    let mut fault = unconnected(target);
    fault.finding += ", or that one closes at a hello";
    if *answer == TlsAnswer::Reset {
        fault.finding += " (the connection is reset)";
    }
    fault
}

fn unconnected(target: &BehindGateway<'_>) -> Fault {
    Fault::new(
        "connect",
        format!(
            "its gateway has a route for {} and cannot connect to {}",
            target.name, target.what
        ),
        target.connect,
    )
}

/// The fault of a certificate that is not valid now. `what` names it, and `effect` ends the finding of one that has
/// expired, whose remedy is `renew`.
pub(super) fn expiry(
    side: &SideView<'_>,
    leaf: &ShownCertificate,
    (what, effect): (&str, &str),
    renew: &str,
) -> Option<Fault> {
    if leaf.not_after < side.now {
        let ago = span(side.now - leaf.not_after);
        let finding = format!("{what} expired {ago} ago{effect}");
        return Some(Fault::new("expired", finding, renew));
    }
    (leaf.not_before > side.now).then(|| {
        let until = span(leaf.not_before - side.now);
        Fault::new(
            "not_yet_valid",
            format!("{what} is valid only in {until}: clocks differ"),
            "set the clocks of its cluster, and of this machine",
        )
    })
}

/// A time span for people: its largest unit.
pub(super) fn span(seconds: i64) -> String {
    match seconds.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
