//! Checks of a gateway: it is reached, and large hellos arrive.

use super::answers::SideView;
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::seen::{GatewayReach, TlsAnswer};

pub(super) fn judge(side: &SideView<'_>, group: &mut CheckGroup<'_>) {
    group.judged("gateway-reached", "the gateway is reached", unreached(side));
    large_hello(side, group);
}

fn unreached(side: &SideView<'_>) -> Option<Fault> {
    let all = match &side.seen.reach {
        Err(error) => {
            return Some(Fault::new(
                "dns",
                format!(
                    "DNS gives no address of {}: {}",
                    side.file.gateway,
                    error.escape_default()
                ),
                "give the name the address of the gateway's Service, as seen from the other cluster",
            ));
        }
        Ok(all) => all,
    };
    let word = |reach: &GatewayReach| match reach {
        GatewayReach::Connected => None,
        GatewayReach::Refused => Some("refused".to_owned()),
        GatewayReach::Timeout => Some("timeout".to_owned()),
        GatewayReach::Failed(error) => Some(error.clone()),
    };
    let each = all
        .iter()
        .filter_map(|(at, reach)| Some(format!("{at} ({})", word(reach)?)));
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        Fault::new(
            if side.seen.is_reached() {
                "some_addresses"
            } else {
                "unreached"
            },
            format!("its gateway is not reached at {}", each.join(", ")),
            "look at DNS, the load balancer and firewalls on the way from the other cluster",
        )
    })
}

fn large_hello(side: &SideView<'_>, group: &mut CheckGroup<'_>) {
    const CHECK: &str = "large-hello";
    let title = "hellos of more than one packet arrive";
    let seen = side.seen;
    let small = match &seen.bundle {
        TlsAnswer::NotAsked => seen.services.first().map(|service| &service.mesh),
        bundle => Some(bundle),
    };
    if small.and_then(TlsAnswer::shown).is_none() {
        return group.untold(CHECK, title, "nothing answers a small one");
    }
    let lost = match &seen.large {
        TlsAnswer::Silent | TlsAnswer::Broken(_) => Fault::new(
            "lost",
            "a hello of 2,000 bytes is not answered, a small one is: packets of full size are lost on the way",
            "look at the MTU on the way, and let ICMP \"fragmentation needed\" through",
        ),
        TlsAnswer::Closed | TlsAnswer::Reset | TlsAnswer::Alert(_) => Fault::new(
            "refused",
            "a hello of 2,000 bytes is refused, a small one is not",
            "raise client_hello.max_size of its gateway's listener",
        ),
        TlsAnswer::NotAsked | TlsAnswer::Unreached(_) => {
            return group.untold(CHECK, title, "the connection was not made");
        }
        TlsAnswer::NotTls(_) | TlsAnswer::Shown(_) => return group.pass(CHECK, title),
    };
    group.fail(CHECK, title, lost);
}
