//! Age: the bound on the life of a connection, with a share of its own so that connections that began together
//! do not end together.

use std::time::Duration;

/// The share of the longest life, in percent, that every connection may live.
const LEAST: u32 = 80;

/// The stage of a life that is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LifeStage {
    /// The connection may go on.
    Young,
    /// The connection ends in its next quiet moment.
    Old,
    /// The connection ends now.
    Over,
}

/// A life's own share of the time between its least and its longest duration, in 256ths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LifeShare(u8);

impl LifeShare {
    /// The share of the connection with that number. Neighbours, which often began together, are far apart:
    /// the golden ratio spreads any run of numbers evenly (Knuth, The Art of Computer Programming, volume 3,
    /// section 6.4).
    pub(super) fn of(number: u32) -> Self {
        let [share, ..] = number.wrapping_mul(0x9E37_79B9).to_be_bytes();
        Self(share)
    }

    /// The stage at `age` of a life that lasts `longest` at most.
    pub(super) fn stage(self, age: Duration, longest: Duration) -> LifeStage {
        let least = longest * LEAST / 100;
        let old = least + (longest - least) * u32::from(self.0) / 256;
        if age >= longest {
            LifeStage::Over
        } else if age >= old {
            LifeStage::Old
        } else {
            LifeStage::Young
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_between_its_least_and_its_longest_duration() {
        let seconds = Duration::from_secs;
        for (share, age, expected) in [
            (0, 79, LifeStage::Young),
            (0, 80, LifeStage::Old),
            (0, 100, LifeStage::Over),
            (128, 89, LifeStage::Young),
            (128, 91, LifeStage::Old),
            (254, 99, LifeStage::Young),
            (254, 100, LifeStage::Over),
        ] {
            let stage = LifeShare(share).stage(seconds(age), seconds(100));
            assert_eq!(stage, expected, "{share} at {age} s");
        }
    }

    #[test]
    fn connections_that_began_together_end_spread_out() {
        let mut shares: Vec<_> = (1000..1008).map(|number| LifeShare::of(number).0).collect();
        shares.sort_unstable();
        let gaps = shares.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.min() > Some(15), "{shares:?}");
    }

    #[test]
    fn the_longest_life_that_the_config_takes_is_in_range() {
        let longest = Duration::from_secs(365 * 24 * 60 * 60);
        assert_eq!(LifeShare(254).stage(longest, longest), LifeStage::Over);
        assert_eq!(LifeShare(254).stage(longest / 2, longest), LifeStage::Young);
    }
}
