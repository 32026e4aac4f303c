//! The last failures with the names that clients may have meant: for the status page, not for the log, since the
//! search looks at many routes.

use std::collections::HashMap;

use crate::outcome::Outcome;
use crate::proxy::Shared;
use crate::recent_connections::RecentFailure;
use crate::server_name::ServerName;

/// Names that are searched for at a time.
const SEARCHES: usize = 4;

/// The last failures. One of a name without a route, of which no more is known, names the route with nearly the same
/// spelling.
pub(super) fn named_failures(shared: &Shared) -> Vec<RecentFailure> {
    let mut failures = shared.recent.failures();
    let mut found: HashMap<(String, Box<str>), Option<String>> = HashMap::new();
    for failure in &mut failures {
        if failure.ended.outcome != Outcome::NoRoute || failure.ended.detail.is_some() {
            continue;
        }
        let Some(name) = &failure.server_name else {
            continue;
        };
        let key = (failure.listener.to_string(), name.clone());
        if !found.contains_key(&key) {
            if found.len() == SEARCHES {
                continue;
            }
            let near = near(shared, &failure.listener, name);
            found.insert(key.clone(), near);
        }
        let near = found.get(&key).and_then(Option::as_deref);
        failure.ended.detail = near.map(|near| format!("spelled most like {near}").into());
    }
    failures
}

fn near(shared: &Shared, listener: &str, name: &str) -> Option<String> {
    let name = ServerName::parse(name.as_bytes()).ok()?;
    let listeners = shared.listeners.all();
    let listener = listeners
        .iter()
        .find(|one| *one.state().policy.name == *listener)?;
    listener.state().routes.spelled_like(&name)
}
