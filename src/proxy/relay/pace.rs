//! The pace of a direction: the bytes that it moves at a time, judged by those it moved before.

use crate::limits::Hysteresis;

/// The first reads of a direction, and the next ones after a short write: what a peer that does not
/// read may leave us holding.
pub(super) const SMALL_READ: usize = 16 * 1024;
/// Reads that filled their limit and were written whole before the limit doubles.
const FREE_READS_TO_GROW: u8 = 4;
/// Bytes a poll, on average, from which a direction is spliced, and below which it is copied again.
/// Far enough apart that no steady stream goes to and fro. Messages of 12 and 16 KiB cost more spliced than copied.
const SPLICE: Hysteresis<u32> = Hysteresis {
    from: 24 * 1024,
    until: 12 * 1024,
};
/// The same for a direction that counts as bulk. Messages of up to 32 KiB are none: with turns of their
/// own they fell far behind small messages beside them.
const BULK: Hysteresis<u32> = Hysteresis {
    from: 48 * 1024,
    until: 24 * 1024,
};

/// The pace that a direction has shown so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Bytes that a poll moved, a moving average.
    average: u32,
    /// Bytes of the next read; 0 until the first.
    read_limit: u32,
    free_reads: u8,
    spliced: bool,
    bulk: bool,
}

impl Pace {
    /// Whether the direction moves enough at a time for splicing to pay.
    pub(super) fn is_spliced(self) -> bool {
        self.spliced
    }

    /// Whether the direction moves so much at a time that others must not wait for many like it.
    pub(super) fn is_bulk(self) -> bool {
        self.bulk
    }

    /// Bytes of the next read into a buffer of `most`.
    pub(super) fn read_limit(self, most: usize) -> usize {
        (self.read_limit as usize).max(SMALL_READ).min(most)
    }

    /// A read filled its limit, or not, and was written whole, or not. Larger reads for a direction
    /// that flows freely, small ones again once its destination has not taken all.
    pub(super) fn read(&mut self, filled: bool, written_whole: bool, most: usize) {
        if !written_whole {
            self.read_limit = 0;
            self.free_reads = 0;
        } else if filled {
            self.free_reads += 1;
            if self.free_reads == FREE_READS_TO_GROW {
                self.free_reads = 0;
                let larger = (self.read_limit(most) * 2).min(most);
                self.read_limit = u32::try_from(larger).unwrap_or(u32::MAX);
            }
        }
    }

    /// A poll moved this many bytes, at least one.
    pub(super) fn moved(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.average = self.average - self.average / 4 + bytes / 4;
        self.spliced = SPLICE.holds(&self.average, self.spliced);
        self.bulk = BULK.holds(&self.average, self.bulk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(polls: impl IntoIterator<Item = usize>) -> Pace {
        let mut pace = Pace::default();
        polls.into_iter().for_each(|bytes| pace.moved(bytes));
        pace
    }

    #[test]
    fn larger_polls_are_spliced_and_the_largest_are_bulk() {
        for (bytes, polls, spliced, bulk) in [
            (0, 0, false, false),
            (4 * 1024, 100, false, false),
            (16 * 1024, 100, false, false),
            (32 * 1024, 100, true, false),
            (64 * 1024, 1, false, false),
            (64 * 1024, 2, true, false),
            (64 * 1024, 10, true, true),
            (256 * 1024, 1, true, true),
        ] {
            let pace = after(std::iter::repeat_n(bytes, polls));
            let seen = (pace.is_spliced(), pace.is_bulk());
            assert_eq!(seen, (spliced, bulk), "{polls} of {bytes}");
        }
    }

    #[test]
    fn what_lies_between_the_thresholds_changes_nothing() {
        let mut large = after([256 * 1024; 4]);
        let mut small = Pace::default();
        let both = |pace: Pace| (pace.is_spliced(), pace.is_bulk());
        for round in 0..100 {
            let extra = round % 7 * 1024;
            large.moved(26 * 1024 + extra);
            small.moved(13 * 1024 + extra);
            assert_eq!(both(large), (true, true));
            assert_eq!(both(small), (false, false));
        }
        (0..20).for_each(|_| large.moved(64));
        assert_eq!(both(large), (false, false));
    }

    #[test]
    fn reads_grow_while_all_is_taken_and_shrink_at_once_when_not() {
        let most = 256 * 1024;
        let mut pace = Pace::default();
        assert_eq!(pace.read_limit(most), SMALL_READ);
        (0..100).for_each(|_| pace.read(true, true, most));
        assert_eq!(pace.read_limit(most), most);
        pace.read(true, false, most);
        assert_eq!(pace.read_limit(most), SMALL_READ);
    }
}
