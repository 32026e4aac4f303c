//! The judgement of numbers: from which share on something fails, is full, or is in trouble.

/// The part of calls from which on a route or an endpoint counts as failing.
const FAILING: f64 = 0.05;
/// Failures that are too few to judge by, unless nearly all fail.
const FEW: u64 = 3;
/// The part of a limit from which on it is near.
pub(in crate::admin) const NEAR: f64 = 0.8;

/// The share of `part` in `all`, from 0 to 1. `None` of nothing.
pub(super) fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| super::history::float(part) / super::history::float(all))
}

/// Whether so many failures of so many ends are a failure of the whole.
pub(super) fn is_failing(failing: u64, ended: u64) -> bool {
    let Some(share) = share(failing, ended) else {
        return false;
    };
    match failing {
        0 => false,
        few if few < FEW => share > 0.5,
        _ => share >= FAILING,
    }
}

/// The state of a route in a word.
pub(super) fn route_state(failing: u64, ended: u64, ready: usize) -> &'static str {
    match (is_failing(failing, ended), failing, ready) {
        (true, ..) => "failing",
        (false, 1.., _) => "some",
        (false, 0, 0) => "unready",
        (false, 0, 1..) => "ok",
    }
}

/// The place of a state in the order of a table: troubled rows come first.
pub(super) fn urgency(state: &str) -> u8 {
    match state {
        "failing" => 0,
        "none" => 1,
        "ejected" | "unhealthy" => 2,
        "some" => 3,
        "unready" | "drained" => 4,
        "terminating" => 5,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_failures_among_many_calls_are_no_failure_of_the_route() {
        for (failing, ended, ready, state) in [
            (0, 0, 2, "ok"),
            (0, 0, 0, "unready"),
            (0, 100, 2, "ok"),
            (1, 100, 2, "some"),
            (2, 10, 2, "some"),
            (1, 1, 2, "failing"),
            (2, 2, 0, "failing"),
            (1, 2, 2, "some"),
            (3, 60, 2, "failing"),
            (3, 61, 2, "some"),
            (1000, 100_000, 2, "some"),
            (5000, 100_000, 2, "failing"),
        ] {
            assert_eq!(
                route_state(failing, ended, ready),
                state,
                "{failing} of {ended}, {ready} ready"
            );
        }
    }

    #[test]
    fn troubled_rows_come_first() {
        let in_order = [
            "failing",
            "none",
            "ejected",
            "some",
            "drained",
            "terminating",
            "ready",
        ];
        assert!(in_order.is_sorted_by_key(|state| urgency(state)));
    }
}
