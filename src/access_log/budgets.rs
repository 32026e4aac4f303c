//! A budget for each kind of line of each source group, so that a flood of one hides no other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::entry::LineEvent;
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

/// The kinds of line with budgets of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    End(Outcome),
    Open,
    Interval,
}

impl LineKind {
    const COUNT: usize = Outcome::COUNT + 2;

    pub(super) const fn of(event: LineEvent) -> Self {
        match event {
            LineEvent::Open => Self::Open,
            LineEvent::Interval => Self::Interval,
            LineEvent::End(end) => Self::End(end.outcome),
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::End(outcome) => outcome.index(),
            Self::Open => Outcome::COUNT,
            Self::Interval => Outcome::COUNT + 1,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let ends = Outcome::ALL.iter().copied().map(Self::End);
        ends.chain([Self::Open, Self::Interval])
    }
}

/// By [`LineKind::index`].
#[derive(Debug)]
struct Group(Box<[Arc<LineBudget<SocketAddr>>]>);

/// The lines of one kind of one group that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOutEntries {
    pub(super) group: Box<str>,
    pub(super) kind: LineKind,
    pub(super) count: u64,
    /// The client's address of the first of them.
    pub(super) sample: Option<SocketAddr>,
}

impl Group {
    fn new() -> Self {
        Self((0..LineKind::COUNT).map(|_| Arc::default()).collect())
    }

    fn is_idle(&self, now: u64) -> bool {
        self.0.iter().all(|budget| budget.is_idle(now))
    }
}

impl Budgets {
    /// The budget of `kind` in the source group called `group`.
    pub(super) fn of(&self, group: &str, kind: LineKind) -> Option<Arc<LineBudget<SocketAddr>>> {
        let known = self.0.load();
        if let Some(group) = known.get(group) {
            return group.0.get(kind.index()).cloned();
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
        known.get(name)?.0.get(kind.index()).cloned()
    }

    /// The lines left out since the last call. If there are many groups, it forgets those that are
    /// idle.
    pub(super) fn left_out(&self) -> Vec<LeftOutEntries> {
        let mut left_out = Vec::new();
        let known = self.0.load();
        for (name, group) in &**known {
            for (kind, budget) in LineKind::all().zip(&group.0) {
                if let Some((count, sample)) = budget.summary() {
                    left_out.push(LeftOutEntries {
                        group: name.clone(),
                        kind,
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
        left_out.sort_by(|a, b| (&a.group, a.kind.index()).cmp(&(&b.group, b.kind.index())));
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
        let budget = budgets.of(group, LineKind::End(outcome)).unwrap();
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
        assert!(
            left_out
                .iter()
                .all(|one| one.kind == LineKind::End(Outcome::NotTls))
        );
        assert!(left_out.iter().all(|one| one.sample == Some(SOURCE)));
        assert_eq!(budgets.left_out(), []);
    }

    #[test]
    fn each_kind_has_its_place() {
        let places: Vec<_> = LineKind::all().map(LineKind::index).collect();
        assert_eq!(places, (0..LineKind::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn groups_do_not_pile_up() {
        let budgets = Budgets::default();
        for name in 0..2 * MAX_GROUPS {
            let kind = LineKind::End(Outcome::NotTls);
            assert!(budgets.of(&name.to_string(), kind).is_some());
        }
        assert_eq!(budgets.0.load().len(), MAX_GROUPS + 1);
        assert_eq!(budgets.left_out(), []);
        assert_eq!(budgets.0.load().len(), 0);
    }
}
