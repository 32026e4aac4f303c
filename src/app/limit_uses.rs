//! The use of every limit in force, for metrics.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::limits::{Budget, LimitUse, NamedUse};
use crate::proxy::Shared;
use crate::upstream::Upstreams;

/// Routes, and upstreams, whose limits are shown.
const MOST_SHOWN: usize = 10_000;

/// The use of every limit that is in force.
pub(super) fn limit_uses(shared: &Shared, upstreams: &Upstreams) -> Vec<NamedUse> {
    let mut uses: Vec<NamedUse> = of_process(shared)
        .into_iter()
        .map(|one| (String::new(), one))
        .collect();
    let mut add = |name: &str, more: Vec<LimitUse>| {
        uses.extend(more.into_iter().map(|one| (name.to_owned(), one)));
    };
    let listeners = shared.listeners.all();
    for (place, listener) in listeners.iter().enumerate() {
        let state = listener.state();
        let policy = &state.policy;
        add(&policy.name, policy.limit_uses());
        // All listeners share the use of a group.
        if place == 0 {
            for (group, of_group) in policy.group_limit_uses() {
                add(group, of_group);
            }
        }
        let limited = state.routes.routes().filter_map(|route| {
            let limiter = route.limiter.as_ref()?;
            Some((&*route.name, limiter.uses()))
        });
        for (name, of_route) in limited.take(MOST_SHOWN) {
            add(&format!("{}/{name}", policy.name), of_route);
        }
    }
    let upstreams = upstreams.iter();
    let upstreams = upstreams.map(|(name, upstream)| (name, upstream.limit_uses()));
    let limited = upstreams.filter(|(_, uses)| !uses.is_empty());
    for (name, of_upstream) in limited.take(MOST_SHOWN) {
        add(name, of_upstream);
    }
    uses
}

fn of_process(shared: &Shared) -> Vec<LimitUse> {
    let budgets = [
        ("connections", &shared.connections),
        ("carry_memory_bytes", &shared.carry_memory),
        ("pipes", &shared.pipes),
        ("held_pipes", &shared.held_pipes),
        ("refused_sockets", &shared.lingering),
        ("late_attempts", &shared.late_attempts),
        ("source_waits", &shared.source_waits),
    ];
    let of_budget =
        |(limit, budget): (_, &Budget)| LimitUse::of_process(limit, budget.limit(), budget.used());
    let mut uses: Vec<LimitUse> = budgets.into_iter().map(of_budget).collect();
    let hellos = &shared.hello_memory;
    let (most, used) = (hellos.limit(), hellos.used());
    uses.push(LimitUse::of_process("hello_memory_bytes", most, used));
    uses.extend(open_files());
    if let Some((used, most)) = shared.overload.memory_use() {
        uses.push(LimitUse::of_process("memory_bytes", most, used));
    }
    uses
}

/// The open files of the process. Since Linux 6.2 their number is the size of their folder; before, its entries are
/// counted.
fn open_files() -> Option<LimitUse> {
    const FOLDER: &str = "/proc/self/fd";
    let most = getrlimit(Resource::Nofile).current?;
    let used = match fs::metadata(FOLDER).ok()?.len() {
        0 => u64::try_from(fs::read_dir(FOLDER).ok()?.count()).ok()?,
        files => files,
    };
    Some(LimitUse::of_process("open_files", most, used))
}
