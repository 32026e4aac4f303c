//! Checks of the view that a gateway has of itself. They warn at the most: other checks say whether calls fail.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::answers::SideView;
use crate::admin::overview::{FailureRow, Trouble, TroubleLevel};
use crate::doctor::checks::{CheckGroup, Fault};
use crate::doctor::seen::GatewayView;
use crate::server_name::ServerName;

/// Troubles, and kinds of failures, that a finding names.
const NAMED: usize = 4;
/// The age up to which a failure counts, in seconds.
const RECENT: i64 = 15 * 60;

pub(super) fn judge(
    side: &SideView<'_>,
    view: &Result<GatewayView, String>,
    group: &mut CheckGroup<'_>,
) {
    let title = "it names no trouble";
    match view {
        Err(reason) => group.untold("gateway-troubles", title, reason.clone()),
        Ok(view) => {
            group.warned("gateway-troubles", title, troubles(view));
            let title = "no connection to what is looked at has failed in 15 minutes";
            group.warned("gateway-failures", title, failures(side, view));
        }
    }
}

fn troubles(view: &GatewayView) -> Option<Fault> {
    let counts = |trouble: &&Trouble| trouble.level < TroubleLevel::NearLimit;
    let troubles: Vec<&Trouble> = view.troubles.iter().filter(counts).collect();
    let words = |trouble: &&Trouble| format!("{}: {}", trouble.title, trouble.sentence);
    let named: Vec<String> = troubles.iter().take(NAMED).map(words).collect();
    let command = troubles.iter().find_map(|trouble| trouble.command.as_ref());
    (!named.is_empty()).then(|| {
        Fault::new(
            "troubles",
            more(&named, troubles.len()),
            match command {
                Some(command) => format!("ask that gateway: {command}"),
                None => "look at that gateway's status page".to_owned(),
            },
        )
    })
}

fn failures(side: &SideView<'_>, view: &GatewayView) -> Option<Fault> {
    let bundle = side.file.bundle.as_ref();
    let bundle = bundle.and_then(|facts| facts.url.server_name());
    let services = side.file.services.iter().map(|one| &one.server_name);
    let names: Vec<&str> = services.chain(&bundle).map(ServerName::as_str).collect();
    let mut kinds = BTreeMap::<(&str, &str, &str, &str), usize>::new();
    for failure in &view.failures {
        let name = failure.server_name.as_deref().unwrap_or_default();
        // The doctor's own connections end as failures by their nature.
        if failure.doctors || !names.contains(&name) || !is_recent(failure, side.now) {
            continue;
        }
        let detail = failure.detail.as_deref().unwrap_or_default();
        let kind = (name, &*failure.outcome, &*failure.ended_by, detail);
        let count = kinds.entry(kind).or_default();
        *count = count.saturating_add(failure.alike.max(1));
    }
    let words =
        |((name, outcome, ended_by, detail), count): (&(&str, &str, &str, &str), &usize)| {
            let colon = if detail.is_empty() { "" } else { ": " };
            format!("{count} to {name}: {outcome}, ended by {ended_by}{colon}{detail}")
        };
    let named: Vec<String> = kinds.iter().take(NAMED).map(words).collect();
    let outcome = kinds.keys().next().map(|(_, outcome, ..)| *outcome)?;
    Some(Fault::new(
        "failures",
        more(&named, kinds.len()),
        format!("docs/src/operate/outcomes.md says what {outcome} means and where to look"),
    ))
}

fn more(named: &[String], all: usize) -> String {
    let named_all = named.join("; ");
    match all - named.len() {
        0 => named_all,
        more => format!("{named_all}; and {more} more"),
    }
}

fn is_recent(failure: &FailureRow, now: i64) -> bool {
    let Ok(at) = humantime::parse_rfc3339(&failure.at) else {
        return false;
    };
    let Ok(now) = u64::try_from(now) else {
        return false;
    };
    let now = UNIX_EPOCH + Duration::from_secs(now);
    let age = now.duration_since(at).unwrap_or_default();
    age.as_secs() <= RECENT.unsigned_abs()
}
