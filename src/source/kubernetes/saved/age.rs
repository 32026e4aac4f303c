//! The age of a saved state.
//!
//! The wall clock may jump. Within one boot of the machine the time since its boot cannot, so it counts
//! too: of the two ages the larger one holds. A state that is newer than the present by either clock has no
//! age that is known, and is not used.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::file;

/// The names of two files in which the kernel says which boot of the machine this is, and how long ago it
/// was, suspension included.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const UPTIME: &str = "/proc/uptime";
/// The most bytes that such a file has.
const MAX: usize = 256;
/// The time by which the wall clock may have been set back while the state was saved: clocks are adjusted
/// all the time, a little.
const SKEW: Duration = Duration::from_secs(10);

/// A point in time by the wall clock, and by the time since boot where it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::kubernetes) struct ClockTime {
    /// Since 1970.
    pub(super) wall: Duration,
    pub(super) boot: Option<Boot>,
}

/// A boot of the machine, and the time since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: String,
    pub(super) uptime: Duration,
}

impl ClockTime {
    /// The present.
    pub(in crate::source::kubernetes) fn now() -> Self {
        let wall = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            wall: wall.unwrap_or_default(),
            boot: boot(),
        }
    }

    /// A moment that was so long before this one.
    pub(in crate::source::kubernetes) fn before(self, time: Duration) -> Self {
        let boot = |boot: Boot| Boot {
            uptime: boot.uptime.saturating_sub(time),
            ..boot
        };
        Self {
            wall: self.wall.saturating_sub(time),
            boot: self.boot.map(boot),
        }
    }

    /// The time by the wall clock.
    pub(in crate::source::kubernetes) fn wall(&self) -> SystemTime {
        let at = SystemTime::UNIX_EPOCH.checked_add(self.wall);
        clock::writable(at.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// The time from this moment until `now`; `None` if a clock says that it is yet to come.
    pub(super) fn age(&self, now: &Self) -> Option<Duration> {
        let by_wall = match now.wall.checked_sub(self.wall) {
            None if self.wall.saturating_sub(now.wall) > SKEW => return None,
            passed => passed.unwrap_or_default(),
        };
        match (&self.boot, &now.boot) {
            (Some(then), Some(now)) if then.id == now.id => {
                Some(by_wall.max(now.uptime.checked_sub(then.uptime)?))
            }
            _ => Some(by_wall),
        }
    }
}

fn boot() -> Option<Boot> {
    let text = |path| {
        let (bytes, _) = file::read(Path::new(path), MAX).ok()?;
        String::from_utf8(bytes).ok()
    };
    let (id, uptime) = (text(BOOT_ID)?, text(UPTIME)?);
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Boot {
        id: id.trim().to_owned(),
        uptime: Duration::try_from_secs_f64(seconds).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, boot: Option<(&str, u64)>) -> ClockTime {
        let seconds = Duration::from_secs;
        let boot = boot.map(|(id, uptime)| Boot {
            id: id.to_owned(),
            uptime: seconds(uptime),
        });
        ClockTime {
            wall: seconds(wall),
            boot,
        }
    }

    #[test]
    fn the_larger_age_counts_and_a_clock_that_jumped_back_makes_no_state_young() {
        let (a, b) = (Some(("a", 500)), Some(("b", 500)));
        let at = |wall, boot| moment(wall, boot);
        for (then, now, age) in [
            (at(1000, None), at(1060, None), Some(60)),
            (at(1000, a), at(1060, Some(("a", 560))), Some(60)),
            // The wall clock was set back by an hour, or the machine slept.
            (at(10_000, a), at(6_400, Some(("a", 560))), None),
            (at(10_000, a), at(10_000, Some(("a", 7_700))), Some(7_200)),
            // It was set forward.
            (at(1000, a), at(9_000, Some(("a", 560))), Some(8_000)),
            // After another boot only the wall clock is left.
            (at(1000, a), at(1060, b), Some(60)),
            (at(1000, a), at(1060, None), Some(60)),
            // A little back is no jump; more is.
            (at(1000, None), at(990, None), Some(0)),
            (at(1000, None), at(989, None), None),
            (at(1000, a), at(1000, Some(("a", 499))), None),
        ] {
            let age = age.map(Duration::from_secs);
            assert_eq!(then.age(&now), age, "{then:?} {now:?}");
        }
    }

    #[test]
    fn the_present_has_both_clocks_and_moments_before_it_are_older() {
        let now = ClockTime::now();
        assert!(now.boot.is_some() && now.wall > Duration::from_secs(1_000_000_000));
        let hour = Duration::from_secs(3600);
        // A machine that booted less than an hour ago has no moment an hour before.
        let then = now.clone().before(hour);
        assert_eq!(then.age(&now), Some(hour));
        assert!(then.wall() < now.wall());
    }
}
