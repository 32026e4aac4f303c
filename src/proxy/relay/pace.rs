//! The pace of a direction: the bytes that it moves at a time, judged by those it moved before.

/// The first reads of a direction, and the next ones after a short write: what a peer that does not
/// read may leave us holding.
pub(super) const SMALL_READ: usize = 16 * 1024;
/// Reads that filled their limit and were written whole before the limit doubles.
const FREE_READS_TO_GROW: u8 = 4;
/// Bytes a poll, on average, from which a direction counts as bulk, and below which it no longer
/// does. Far enough apart that no steady stream goes to and fro.
const BULK_FROM: usize = 12 * 1024;
const BULK_UNTIL: usize = 4 * 1024;

/// The pace that a direction has shown so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Bytes that a poll moved, a moving average.
    average: u32,
    /// Bytes of the next read; 0 until the first.
    read_limit: u32,
    free_reads: u8,
    bulk: bool,
}

impl Pace {
    /// Whether the direction moves much at a time.
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
        let threshold = if self.bulk { BULK_UNTIL } else { BULK_FROM };
        self.bulk = self.average as usize >= threshold;
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
    fn only_large_polls_make_a_direction_bulk() {
        assert!(!after([]).is_bulk());
        assert!(!after([4096; 100]).is_bulk());
        assert!(after([64 * 1024]).is_bulk());
        assert!(after([16 * 1024; 10]).is_bulk());
    }

    #[test]
    fn what_lies_between_the_thresholds_changes_nothing() {
        let mut bulk = after([64 * 1024; 4]);
        let mut small = Pace::default();
        for round in 0..100 {
            let bytes = 5 * 1024 + round % 7 * 1024;
            bulk.moved(bytes);
            small.moved(bytes);
            assert!(bulk.is_bulk() && !small.is_bulk());
        }
        (0..20).for_each(|_| bulk.moved(64));
        assert!(!bulk.is_bulk());
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
