//! A source book: the recent connections of each source address, as one worker has seen them. Operators ask for it with
//! the open connections (`GET /sources`).
//!
//! It has a bounded number of pages. When it is full, pages of addresses that have not been seen for long make room,
//! and an address that finds none is counted without a page.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::outcome::Outcome;

/// The most pages of a book, some 150 bytes each.
pub const MOST_PAGES: usize = 4096;
/// The time after which an address that was not seen is forgotten, and the one when the book is full otherwise.
const FORGOTTEN: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(60)];
/// The shortest time between two searches for pages to forget.
const SEARCH: Duration = Duration::from_secs(1);
/// The length of a window in which connections are counted, in seconds.
const WINDOW: u64 = 10;

/// The pages by address, or by prefix for IPv6.
#[derive(Debug)]
pub struct SourceBook {
    pages: HashMap<IpNet, SourcePage>,
    began: Instant,
    searched: Option<Instant>,
    without_page: u64,
}

/// The recent connections of one source.
#[derive(Debug)]
pub struct SourcePage {
    /// The name of its source group.
    pub group: Box<str>,
    seen: Instant,
    rate: WindowedCount,
    refused: Vec<(Outcome, u64)>,
}

/// The recent connections of one source, for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RecentUse {
    /// Connections that were let in, for each second of the last ten.
    pub per_second: f64,
    /// Connections that were refused, by outcome, since the source has a page.
    pub refused: Vec<(Outcome, u64)>,
    /// The last time that a connection was let in or refused.
    pub seen: Instant,
}

/// A count in the present window and in the one before.
#[derive(Debug, Default)]
struct WindowedCount {
    window: u64,
    count: u32,
    before: u32,
}

impl WindowedCount {
    fn go_to(&mut self, window: u64) {
        match window.saturating_sub(self.window) {
            0 => return,
            1 => self.before = self.count,
            _ => self.before = 0,
        }
        (self.window, self.count) = (window, 0);
    }

    fn add(&mut self, window: u64) {
        self.go_to(window);
        self.count = self.count.saturating_add(1);
    }

    /// The count for each second of the last [`WINDOW`], when `into` of the window `window` is over.
    fn per_second(&self, window: u64, into: Duration) -> f64 {
        let (count, before) = match window.saturating_sub(self.window) {
            0 => (self.count, self.before),
            1 => (0, self.count),
            _ => (0, 0),
        };
        #[expect(clippy::cast_precision_loss, reason = "10 is exact")]
        let long = WINDOW as f64;
        let left = (1.0 - into.as_secs_f64() / long).max(0.0);
        (f64::from(count) + f64::from(before) * left) / long
    }
}

impl RecentUse {
    /// Adds the use that another worker has seen.
    pub fn add(&mut self, other: Self) {
        self.per_second += other.per_second;
        self.seen = self.seen.max(other.seen);
        for (outcome, count) in other.refused {
            count_in(&mut self.refused, outcome, count);
        }
    }
}

fn count_in(counts: &mut Vec<(Outcome, u64)>, outcome: Outcome, more: u64) {
    match counts.iter_mut().find(|(known, _)| *known == outcome) {
        Some((_, count)) => *count += more,
        None => counts.push((outcome, more)),
    }
}

impl Default for SourceBook {
    fn default() -> Self {
        Self {
            pages: HashMap::new(),
            began: Instant::now(),
            searched: None,
            without_page: 0,
        }
    }
}

impl SourceBook {
    /// Notes a connection that was let in at `now`. `group` is the name of its source group.
    pub fn opened(&mut self, source: IpNet, group: &str, now: Instant) {
        let (window, _) = self.window(now);
        if let Some(page) = self.page(source, group, now) {
            page.rate.add(window);
        }
    }

    /// Notes a connection that was refused at `now`.
    pub fn refused(&mut self, source: IpNet, group: &str, outcome: Outcome, now: Instant) {
        if let Some(page) = self.page(source, group, now) {
            count_in(&mut page.refused, outcome, 1);
        }
    }

    /// The window of `now`, and the part of it that is over.
    fn window(&self, now: Instant) -> (u64, Duration) {
        let since = now.saturating_duration_since(self.began);
        let window = since.as_secs() / WINDOW;
        (
            window,
            since.saturating_sub(Duration::from_secs(window * WINDOW)),
        )
    }

    fn page(&mut self, source: IpNet, group: &str, now: Instant) -> Option<&mut SourcePage> {
        if !self.pages.contains_key(&source) {
            if self.pages.len() >= MOST_PAGES && !self.make_room(now) {
                self.without_page += 1;
                return None;
            }
            let page = SourcePage {
                group: group.into(),
                seen: now,
                rate: WindowedCount::default(),
                refused: Vec::new(),
            };
            self.pages.insert(source, page);
        }
        let page = self.pages.get_mut(&source)?;
        page.seen = page.seen.max(now);
        if *page.group != *group {
            // A reload has changed the groups.
            page.group = group.into();
        }
        Some(page)
    }

    /// Forgets addresses that were not seen for long. Returns whether there is room now.
    fn make_room(&mut self, now: Instant) -> bool {
        let since = self.searched.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < SEARCH) {
            return false;
        }
        self.searched = Some(now);
        for time in FORGOTTEN {
            self.pages
                .retain(|_, page| now.saturating_duration_since(page.seen) < time);
            if self.pages.len() < MOST_PAGES {
                return true;
            }
        }
        false
    }

    /// Every source that has a page.
    pub fn sources(&self) -> Vec<IpNet> {
        self.pages.keys().copied().collect()
    }

    /// Those of `sources` that were seen lately, each with the name of its group.
    pub fn recent(
        &self,
        sources: &[IpNet],
        now: Instant,
    ) -> impl Iterator<Item = (IpNet, &str, RecentUse)> {
        let (window, into) = self.window(now);
        let is_kept =
            move |page: &SourcePage| now.saturating_duration_since(page.seen) < FORGOTTEN[0];
        let pages = sources.iter().filter_map(|of| self.pages.get_key_value(of));
        let kept = pages.filter(move |(_, page)| is_kept(page));
        kept.map(move |(source, page)| {
            let recent = RecentUse {
                per_second: page.rate.per_second(window, into),
                refused: page.refused.clone(),
                seen: page.seen,
            };
            (*source, &*page.group, recent)
        })
    }

    /// The number of connections whose source found no page.
    pub fn without_page(&self) -> u64 {
        self.without_page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn of(book: &SourceBook, source: IpNet, now: Instant) -> Option<RecentUse> {
        let (_, _, recent) = book.recent(&[source], now).next()?;
        Some(recent)
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        let mut book = SourceBook::default();
        let (source, second) = (net("10.0.0.1/32"), Duration::from_secs(1));
        let start = book.began;
        for n in 0..100 {
            book.opened(source, "alpha", start + second / 10 * n);
        }
        let rate = |seconds: u32| {
            of(&book, source, start + second * seconds)
                .unwrap()
                .per_second
        };
        assert_eq!([10, 15, 20, 30].map(rate), [10.0, 5.0, 0.0, 0.0]);
        assert_eq!(rate(5), 10.0, "the window is not over");
        assert!(of(&book, source, start + FORGOTTEN[0] + second * 10).is_none());
    }

    #[test]
    fn refusals_are_counted_by_outcome_and_workers_are_added_up() {
        let (mut one, mut other) = (SourceBook::default(), SourceBook::default());
        let (source, now) = (net("2001:db8::/64"), Instant::now());
        one.refused(source, "other", Outcome::NotTls, now);
        other.refused(source, "other", Outcome::NotTls, now);
        other.refused(source, "other", Outcome::NoRoute, now);
        let mut all = of(&one, source, now).unwrap();
        all.add(of(&other, source, now).unwrap());
        assert_eq!(all.refused, [(Outcome::NotTls, 2), (Outcome::NoRoute, 1)]);
    }

    #[test]
    fn a_page_has_the_name_that_its_group_has_now() {
        let mut book = SourceBook::default();
        let (source, now) = (net("10.0.0.1/32"), Instant::now());
        for group in ["alpha", "beta"] {
            book.opened(source, group, now);
            book.refused(source, group, Outcome::NotTls, now);
        }
        let groups: Vec<_> = book
            .recent(&book.sources(), now)
            .map(|(_, group, _)| group)
            .collect();
        assert_eq!(groups, ["beta"]);
    }

    #[test]
    fn strangers_do_not_make_it_grow_and_old_ones_make_room() {
        let mut book = SourceBook::default();
        let start = book.began;
        let address = |n: usize| net(&format!("10.{}.{}.{}/32", n >> 16, (n >> 8) & 255, n & 255));
        for n in 0..2 * MOST_PAGES {
            book.opened(address(n), "other", start);
        }
        assert_eq!(book.pages.len(), MOST_PAGES);
        assert_eq!(book.without_page(), MOST_PAGES as u64);
        assert!(
            of(&book, address(0), start).is_some(),
            "the first have theirs"
        );
        let later = start + FORGOTTEN[1];
        book.opened(address(0), "other", later);
        book.opened(net("192.0.2.1/32"), "other", later);
        assert_eq!(book.pages.len(), 2);
    }
}
