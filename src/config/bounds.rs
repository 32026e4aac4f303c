//! Values with bounds that their types hold, from the file to the place of use.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// A number of `MIN..=MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Count<const MIN: u32, const MAX: u32>(u32);

/// A size of `MIN..=MAX` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bytes<const MIN: usize, const MAX: usize>(usize);

/// A duration of `MIN..=MAX` whole seconds, for kernel options without fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds<const MIN: u64, const MAX: u64>(u64);

/// A share of something from 0 to 1, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleShare(u32);

/// Connections at a time.
pub type Connections = Count<1, 10_000_000>;
/// Connections a second.
pub type ConnectionRate = Count<1, 1_000_000>;
/// The share of an endpoint against that of the others.
pub type Weight = Count<1, 1000>;
/// Attempts to connect for one connection.
pub type Attempts = Count<1, 10>;
/// The bits that IPv6 addresses have in common which count as one.
pub type Ipv6Prefix = Count<32, 128>;
/// The largest handshake message, its 4-byte header included.
pub type HelloSize = Bytes<512, 65536>;
/// The idle time before the first keepalive probe.
pub type KeepaliveTime = Seconds<1, 7200>;
/// The time between keepalive probes.
pub type KeepaliveInterval = Seconds<1, 3600>;

impl<const MIN: u32, const MAX: u32> Count<MIN, MAX> {
    /// The smallest.
    pub const MIN: Self = Self(MIN);
    /// The largest.
    pub const MAX: Self = Self(MAX);

    /// The number, if it is within the bounds.
    pub const fn new(number: u32) -> Option<Self> {
        if MIN <= number && number <= MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, or the bound that it is beyond.
    pub const fn saturating(number: u32) -> Self {
        if number < MIN {
            Self(MIN)
        } else if number > MAX {
            Self(MAX)
        } else {
            Self(number)
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl SampleShare {
    /// The whole.
    pub const ALL: Self = Self(Self::MILLION);
    const MILLION: u32 = 1_000_000;

    /// So many millionths, if they are no more than the whole.
    pub const fn millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::MILLION {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// The number of millionths.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether the connection with this number is in the sample. A connection is in it or not, whatever asks.
    pub const fn takes(self, connection: u64) -> bool {
        // Multiples of the golden ratio are spread evenly over the range of the word.
        let place = connection.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (place * Self::MILLION as u64) >> 32 < self.0 as u64
    }
}

impl std::fmt::Display for SampleShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (f64::from(self.0) / f64::from(Self::MILLION)).fmt(f)
    }
}

impl Serialize for SampleShare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(Self::MILLION))
    }
}

impl<const MIN: usize, const MAX: usize> Bytes<MIN, MAX> {
    /// The size, if it is within the bounds.
    pub const fn new(bytes: usize) -> Option<Self> {
        if MIN <= bytes && bytes <= MAX {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Seconds<MIN, MAX> {
    /// So many seconds, if that is within the bounds.
    pub const fn new(seconds: u64) -> Option<Self> {
        if MIN <= seconds && seconds <= MAX {
            Some(Self(seconds))
        } else {
            None
        }
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Seconds<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_duration(&self.get(), serializer)
    }
}

/// A duration as the file, messages and the config dump have it: `1h 30m`.
pub(crate) fn duration_text(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

/// Serialises a duration in the spelling of the file.
///
/// # Errors
/// Errors of the serializer.
pub(crate) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&duration_text(*duration))
}

/// Serialises a duration, or `off`, in the spelling of the file.
///
/// # Errors
/// Errors of the serializer.
pub(crate) fn serialize_duration_or_off<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_str("off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_share_of_the_connections() {
        for (millionths, least, most) in [(0, 0, 0), (10_000, 990, 1010), (500_000, 49_900, 50_100)]
        {
            let share = SampleShare::millionths(millionths).unwrap();
            let taken = (1..=100_000).filter(|number| share.takes(*number)).count();
            assert!((least..=most).contains(&taken), "{share}: {taken}");
        }
        assert!((1..=100_000).all(|number| SampleShare::ALL.takes(number)));
        assert_eq!(SampleShare::millionths(10_000).unwrap().to_string(), "0.01");
        assert_eq!(SampleShare::millionths(1_000_001), None);
    }

    #[test]
    fn nothing_beyond_a_bound_can_be_made() {
        let kept = |number| Weight::new(number).map(Weight::get);
        let cases = [0, 1, 1000, 1001].map(kept);
        assert_eq!(cases, [None, Some(1), Some(1000), None]);
        let cut = [0, 1, 1000, u32::MAX].map(|number| Weight::saturating(number).get());
        assert_eq!(cut, [1, 1, 1000, 1000]);
        assert!(HelloSize::new(511).is_none() && HelloSize::new(512).is_some());
        assert!(KeepaliveTime::new(0).is_none() && KeepaliveTime::new(7201).is_none());
    }
}
