//! The ALPN offers that a worker has seen lately.
//!
//! The clients of one mesh make the same few offers, each of which a connection keeps for its record.
//! So each is kept once a worker. What clients send bounds nothing: the list has room for a few, and
//! an offer that is not in it is kept by its connections alone.

use std::cell::RefCell;
use std::rc::Rc;

/// Offers remembered. Istio's sidecars make four.
const REMEMBERED: usize = 16;
/// The longest offer that is remembered, in protocols.
const MAX_PROTOCOLS: usize = 8;

/// The protocols that a client offers, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AlpnOffer {
    protocols: Box<[Box<[u8]>]>,
    text: Box<str>,
}

impl AlpnOffer {
    fn new<'a>(protocols: impl Iterator<Item = &'a [u8]>) -> Self {
        let protocols: Box<[Box<[u8]>]> = protocols.map(Box::from).collect();
        let text: Vec<_> = protocols
            .iter()
            .map(|protocol| String::from_utf8_lossy(protocol))
            .collect();
        Self {
            text: text.join(",").into(),
            protocols,
        }
    }

    /// The protocols.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &[u8]> {
        self.protocols.iter().map(|protocol| &**protocol)
    }

    /// Joined by commas; a byte that is no UTF-8 reads as U+FFFD.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The offers seen lately; those that are made most often come to stand in front.
#[derive(Debug, Default)]
pub(super) struct AlpnOffers(RefCell<Vec<Rc<AlpnOffer>>>);

impl AlpnOffers {
    /// The offer of these protocols; `None` when there is none.
    pub(super) fn intern<'a>(
        &self,
        protocols: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Option<Rc<AlpnOffer>> {
        protocols.clone().next()?;
        let mut seen = self.0.borrow_mut();
        let same = |offer: &Rc<AlpnOffer>| offer.protocols().eq(protocols.clone());
        if let Some(position) = seen.iter().position(same) {
            // A step forward each time keeps what is used in front of what came once.
            seen.swap(position, position.saturating_sub(1));
            return seen.get(position.saturating_sub(1)).cloned();
        }
        let offer = Rc::new(AlpnOffer::new(protocols));
        if offer.protocols.len() <= MAX_PROTOCOLS {
            if seen.len() == REMEMBERED {
                seen.pop();
            }
            seen.push(offer.clone());
        }
        Some(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(offers: &AlpnOffers, protocols: &[&str]) -> Option<Rc<AlpnOffer>> {
        offers.intern(protocols.iter().map(|protocol| protocol.as_bytes()))
    }

    #[test]
    fn one_offer_is_kept_once_and_no_offer_is_none() {
        let offers = AlpnOffers::default();
        assert_eq!(intern(&offers, &[]), None);
        let first = intern(&offers, &["istio", "h2"]).unwrap();
        let second = intern(&offers, &["istio", "h2"]).unwrap();
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(first.text(), "istio,h2");
        let other = intern(&offers, &["istio,h2"]).unwrap();
        assert!(!Rc::ptr_eq(&first, &other), "one protocol with a comma");
    }

    #[test]
    fn strangers_offers_neither_pile_up_nor_push_out_what_is_in_use() {
        let offers = AlpnOffers::default();
        let mut mesh = intern(&offers, &["istio"]).unwrap();
        for number in 0..1000 {
            let strange = intern(&offers, &[&number.to_string()]).unwrap();
            assert_eq!(strange.text(), number.to_string());
            let again = intern(&offers, &["istio"]).unwrap();
            assert!(Rc::ptr_eq(&mesh, &again), "after {number}");
            mesh = again;
        }
        assert_eq!(offers.0.borrow().len(), REMEMBERED);
        let long = ["p"; MAX_PROTOCOLS + 1];
        intern(&offers, &long).unwrap();
        assert!(
            offers
                .0
                .borrow()
                .iter()
                .all(|offer| offer.protocols.len() == 1)
        );
    }
}
