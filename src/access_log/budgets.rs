//! A budget for each outcome of each source group, so that a flood of one hides no other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::limits;
use crate::log::budget::LineBudget;
use crate::outcome::Outcome;

/// The number of groups with budgets of their own. A config has at most 257; further ones come from
/// reloads that rename groups, and share one budget.
const MAX_GROUPS: usize = 1024;
/// The common name of groups beyond [`MAX_GROUPS`].
const BEYOND: &str = "(several)";

/// The budgets by the name of the source group.
#[derive(Debug, Default)]
pub(super) struct Budgets(ArcSwap<HashMap<Box<str>, Arc<Group>>>);

/// By [`Outcome::index`].
#[derive(Debug)]
struct Group(Box<[Arc<LineBudget<SocketAddr>>]>);

/// The lines of one outcome of one group that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOutEntries {
    pub(super) group: Box<str>,
    pub(super) outcome: Outcome,
    pub(super) count: u64,
    /// The client's address of the first of them.
    pub(super) sample: Option<SocketAddr>,
}

impl Group {
    fn new() -> Self {
        Self((0..Outcome::COUNT).map(|_| Arc::default()).collect())
    }

    fn is_idle(&self, now: u64) -> bool {
        self.0.iter().all(|budget| budget.is_idle(now))
    }
}

impl Budgets {
    /// The budget of `outcome` in the source group called `group`.
    pub(super) fn of(&self, group: &str, outcome: Outcome) -> Option<Arc<LineBudget<SocketAddr>>> {
        let known = self.0.load();
        if let Some(group) = known.get(group) {
            return group.0.get(outcome.index()).cloned();
        }
        let full = known.len() >= MAX_GROUPS;
        let name = if full { BEYOND } else { group };
        let new = Arc::new(Group::new());
        self.0.rcu(|known| {
            let mut groups = HashMap::clone(known);
            groups.entry(name.into()).or_insert_with(|| new.clone());
            groups
        });
        let known = self.0.load();
        known.get(name)?.0.get(outcome.index()).cloned()
    }

    /// The lines left out since the last call. If there are many groups, it forgets those that are
    /// idle.
    pub(super) fn left_out(&self) -> Vec<LeftOutEntries> {
        let mut left_out = Vec::new();
        let known = self.0.load();
        for (name, group) in &**known {
            for (outcome, budget) in Outcome::ALL.iter().zip(&group.0) {
                if let Some((count, sample)) = budget.summary() {
                    left_out.push(LeftOutEntries {
                        group: name.clone(),
                        outcome: *outcome,
                        count,
                        sample,
                    });
                }
            }
        }
        if known.len() >= MAX_GROUPS {
            let now = limits::now();
            self.0.rcu(|known| {
                let mut groups = HashMap::clone(known);
                groups.retain(|_, group| !group.is_idle(now));
                groups
            });
        }
        left_out.sort_by(|a, b| (&a.group, a.outcome.index()).cmp(&(&b.group, b.outcome.index())));
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

    /// The number of `lines` that the budget lets through.
    fn written(budgets: &Budgets, group: &str, outcome: Outcome, lines: usize) -> usize {
        let budget = budgets.of(group, outcome).unwrap();
        let admitted = (0..lines).filter(|_| {
            let admitted = budget.admits(100, 0);
            if !admitted {
                budget.leave_out(|| SOURCE);
            }
            admitted
        });
        admitted.count()
    }

    #[test]
    fn a_flood_takes_nothing_from_another_outcome_or_group() {
        let budgets = Budgets::default();
        assert_eq!(written(&budgets, "alpha", Outcome::NotTls, 46_520), 100);
        assert_eq!(written(&budgets, "alpha", Outcome::NoRoute, 29), 29);
        assert_eq!(written(&budgets, "beta", Outcome::NotTls, 101), 100);
        let left_out = budgets.left_out();
        let counts: Vec<_> = left_out
            .iter()
            .map(|one| (&*one.group, one.count))
            .collect();
        assert_eq!(counts, [("alpha", 46_420), ("beta", 1)]);
        assert!(left_out.iter().all(|one| one.outcome == Outcome::NotTls));
        assert!(left_out.iter().all(|one| one.sample == Some(SOURCE)));
        assert_eq!(budgets.left_out(), []);
    }

    #[test]
    fn groups_do_not_pile_up() {
        let budgets = Budgets::default();
        for name in 0..2 * MAX_GROUPS {
            assert!(budgets.of(&name.to_string(), Outcome::NotTls).is_some());
        }
        assert_eq!(budgets.0.load().len(), MAX_GROUPS + 1);
        assert_eq!(budgets.left_out(), []);
        assert_eq!(budgets.0.load().len(), 0);
    }
}
