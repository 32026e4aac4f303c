//! Hysteresis: two bounds, so that a decision does not go to and fro with a value that stays near one.

/// Bounds of a decision: it is taken from `from` on, and given up below `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hysteresis<T> {
    /// The least value at which it is taken.
    pub from: T,
    /// The least value at which it stays.
    pub until: T,
}

impl<T: PartialOrd> Hysteresis<T> {
    /// Whether the decision holds at `value`, if it `held` before.
    pub fn holds(&self, value: &T, held: bool) -> bool {
        match held {
            true => *value >= self.until,
            false => *value >= self.from,
        }
    }
}
