//! The ALPN offers that a worker has seen last, as the access log shows them.
//!
//! The clients of one mesh make the same few offers, each of which a connection keeps for its record.
//! So each is kept once a worker. Clients cannot make the list grow: it holds a few offers, a text is cut where
//! the log would cut it, and an offer that is not in the list is kept by its connections alone.

use std::cell::RefCell;
use std::rc::Rc;

use crate::access_log;
use crate::client_hello::DOCTOR_LABEL;
use crate::verdict::answers_are_long;

/// Offers remembered. Istio's sidecars make four.
const REMEMBERED: usize = 16;

/// The protocols that a client offers, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct AlpnOffer {
    text: Box<str>,
    /// True if the text tells the protocols apart and lacks none.
    exact: bool,
    multiplexed: bool,
    doctors: bool,
    answers_are_long: bool,
}

impl AlpnOffer {
    /// Joined by commas, as much of them as the log shows; a byte that is no UTF-8 reads as U+FFFD.
    pub(in crate::proxy) fn text(&self) -> &str {
        &self.text
    }

    /// The protocols; `None` if the text does not tell them exactly.
    pub(in crate::proxy) fn protocols(&self) -> Option<impl Iterator<Item = &[u8]>> {
        self.exact.then(|| self.text.split(',').map(str::as_bytes))
    }

    /// Whether it holds HTTP/2, plain or as Istio's sidecars name it: many calls may share the connection.
    pub(in crate::proxy) fn is_multiplexed(&self) -> bool {
        self.multiplexed
    }

    /// Whether it holds the label of `strait doctor`.
    pub(in crate::proxy) fn is_doctors(&self) -> bool {
        self.doctors
    }

    /// Whether every protocol in it has answers longer than an alert.
    pub(in crate::proxy) fn answers_are_long(&self) -> bool {
        self.answers_are_long
    }
}

/// The offers seen last. Those that are made most often move to the front.
#[derive(Debug, Default)]
pub(in crate::proxy) struct AlpnOfferCache(RefCell<Seen>);

#[derive(Debug, Default)]
struct Seen {
    offers: Vec<Rc<AlpnOffer>>,
    /// The text to look for, kept so that an offer seen before allocates nothing.
    text: String,
}

impl AlpnOfferCache {
    /// The offer of these protocols; `None` when there are none.
    pub(in crate::proxy) fn intern<'a>(
        &self,
        protocols: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Rc<AlpnOffer>> {
        let Seen { offers, text } = &mut *self.0.borrow_mut();
        let exact = join(protocols, text);
        let shown = access_log::shown(text);
        if shown.is_empty() {
            return None;
        }
        if let Some(position) = offers
            .iter()
            .position(|offer| &*offer.text == shown && offer.exact == exact)
        {
            let before = position.saturating_sub(1);
            // A step forward each time keeps what is used in front of what came once.
            offers.swap(position, before);
            return offers.get(before).cloned();
        }
        let offer = Rc::new(AlpnOffer {
            text: shown.into(),
            exact,
            multiplexed: shown
                .split(',')
                .any(|name| matches!(name, "h2" | "istio-h2")),
            doctors: shown.split(',').any(|name| name == DOCTOR_LABEL),
            answers_are_long: answers_are_long(shown),
        });
        offers.truncate(REMEMBERED - 1);
        offers.push(offer.clone());
        Some(offer)
    }
}

/// Writes the protocols into `text`, until that is more than is ever shown. Returns whether it tells them exactly:
/// nothing is cut or replaced, and no protocol has a comma in it.
fn join<'a>(protocols: impl Iterator<Item = &'a [u8]>, text: &mut String) -> bool {
    text.clear();
    let mut exact = true;
    for protocol in protocols {
        if !text.is_empty() {
            text.push(',');
        }
        exact &= !protocol.contains(&b',');
        for chunk in protocol.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                exact = false;
            }
        }
        if access_log::shown(text).len() < text.len() {
            return false;
        }
    }
    exact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intern(offers: &AlpnOfferCache, protocols: &[&str]) -> Option<Rc<AlpnOffer>> {
        offers.intern(protocols.iter().map(|protocol| protocol.as_bytes()))
    }

    #[test]
    fn one_offer_is_kept_once_and_no_offer_is_none() {
        let offers = AlpnOfferCache::default();
        assert_eq!(intern(&offers, &[]), None);
        let first = intern(&offers, &["istio", "h2"]).unwrap();
        let second = intern(&offers, &["istio", "h2"]).unwrap();
        assert!(Rc::ptr_eq(&first, &second));
        assert_eq!(first.text(), "istio,h2");
    }

    #[test]
    fn protocols_are_told_only_if_the_text_has_them_exactly() {
        let offers = AlpnOfferCache::default();
        let told = |protocols: &[&[u8]]| {
            let offer = offers.intern(protocols.iter().copied()).unwrap();
            let told = offer.protocols()?.map(<[u8]>::to_vec);
            Some(told.collect::<Vec<_>>())
        };
        let exactly =
            |protocols: &[&[u8]]| Some(protocols.iter().map(|one| one.to_vec()).collect());
        for protocols in [
            &[&b"istio"[..], b"h2"][..],
            &[b"h2"],
            &[&[b'a'; 255], b"h2"],
        ] {
            assert_eq!(told(protocols), exactly(protocols));
        }
        for protocols in [&[&b"istio,h2"[..]][..], &[b"\xff"], &[&[b'a'; 255][..]; 4]] {
            assert_eq!(told(protocols), None, "{protocols:?}");
        }
    }

    #[test]
    fn an_offer_with_http2_is_multiplexed() {
        let offers = AlpnOfferCache::default();
        for (protocols, expected) in [
            (&["h2", "http/1.1"][..], true),
            (&["istio-http/1.1", "istio-h2", "istio"], true),
            (&["istio-peer-exchange", "istio"], false),
            (&["h2c", "http/1.1"], false),
        ] {
            let offer = intern(&offers, protocols).unwrap();
            assert_eq!(offer.is_multiplexed(), expected, "{protocols:?}");
        }
    }

    #[test]
    fn of_a_long_offer_only_what_the_log_shows_is_kept_and_read() {
        let offers = AlpnOfferCache::default();
        let mut read = 0;
        let protocols = (0..30_000).map(|_| &b"\xff"[..]).inspect(|_| read += 1);
        let offer = offers.intern(protocols).unwrap();
        assert!(offer.text().starts_with("\u{fffd},\u{fffd},"));
        assert!(offer.text().len() > 512, "the log says that it is cut");
        assert!(offer.text().len() <= 516);
        assert!(read <= 516);
        let longest = offers.intern([&[0xff; 255][..]].into_iter()).unwrap();
        assert!(longest.text().len() <= 516);
        assert!(offers.0.borrow().text.capacity() <= 2048);
    }

    #[test]
    fn strangers_offers_neither_pile_up_nor_push_out_what_is_in_use() {
        let offers = AlpnOfferCache::default();
        let mut mesh = intern(&offers, &["istio"]).unwrap();
        for number in 0..1000 {
            let strange = intern(&offers, &[&number.to_string()]).unwrap();
            assert_eq!(strange.text(), number.to_string());
            let again = intern(&offers, &["istio"]).unwrap();
            assert!(Rc::ptr_eq(&mesh, &again), "after {number}");
            mesh = again;
        }
        assert_eq!(offers.0.borrow().offers.len(), REMEMBERED);
    }
}
