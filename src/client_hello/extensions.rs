//! The extensions block: each type at most once, and the few that strait reads.

use super::MalformedReason;
use super::reader::Reader;

pub(super) const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
pub(super) const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// The contents of the extensions that strait reads, not parsed yet.
#[derive(Default)]
pub(super) struct Extensions<'a> {
    /// The whole block as on the wire, without its length.
    block: &'a [u8],
    pub(super) server_name: Option<&'a [u8]>,
    pub(super) alpn: Option<&'a [u8]>,
    pub(super) supported_versions: Option<&'a [u8]>,
    pub(super) supported_groups: Option<&'a [u8]>,
    pub(super) signature_algorithms: Option<&'a [u8]>,
    /// The client asks to resume a session: by a pre-shared key (RFC 8446 section 4.2.11) or a ticket (RFC
    /// 5077 section 3.2).
    pub(super) resumes: bool,
    /// The number of extensions.
    pub(super) count: usize,
}

impl<'a> Extensions<'a> {
    /// Walks the whole block, in time linear in its length.
    pub(super) fn parse(block: &'a [u8]) -> Result<Self, MalformedReason> {
        let mut extensions = Self {
            block,
            ..Self::default()
        };
        let mut seen = TypeSet::default();
        let mut block = Reader::new(block);
        while !block.is_empty() {
            let kind = block.u16().ok_or(MalformedReason::Extension)?;
            let content = block.vector_u16().ok_or(MalformedReason::Extension)?;
            extensions.count += 1;
            if !seen.insert(kind) {
                return Err(MalformedReason::DuplicateExtension(kind));
            }
            match kind {
                SERVER_NAME => extensions.server_name = Some(content),
                ALPN => extensions.alpn = Some(content),
                SUPPORTED_VERSIONS => extensions.supported_versions = Some(content),
                SUPPORTED_GROUPS => extensions.supported_groups = Some(content),
                SIGNATURE_ALGORITHMS => extensions.signature_algorithms = Some(content),
                PRE_SHARED_KEY => extensions.resumes = true,
                SESSION_TICKET => extensions.resumes |= !content.is_empty(),
                _ => {}
            }
        }
        Ok(extensions)
    }

    /// The types, in the client's order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut block = Reader::new(self.block);
        std::iter::from_fn(move || {
            let kind = block.u16()?;
            block.vector_u16()?;
            Some(kind)
        })
    }
}

/// A set of extension types whose `insert` costs the same however many it holds.
///
/// Browsers' hellos have some 18 extensions, most with types below 64. For them the 8 KiB that can hold
/// any type are never allocated.
#[derive(Default)]
struct TypeSet {
    /// Types 0..=63, one bit each.
    low: u64,
    /// The first [`FEW`] other types, in the order in which they came.
    few: [u16; FEW],
    few_len: usize,
    /// Every type from 64 on, one bit each, once more came than fit into `few`.
    all: Option<Box<[u64]>>,
}

const FEW: usize = 12;
const BITS: usize = u64::BITS as usize;
const WORDS: usize = (1 << 16) / BITS;

impl TypeSet {
    /// Inserts `kind`. Returns false when it was there already.
    fn insert(&mut self, kind: u16) -> bool {
        let (word, bit) = (usize::from(kind) / BITS, usize::from(kind) % BITS);
        if word == 0 {
            return set_bit(&mut self.low, bit);
        }
        if let Some(all) = &mut self.all {
            return all.get_mut(word).is_some_and(|word| set_bit(word, bit));
        }
        let few = self.few.get(..self.few_len).unwrap_or(&self.few);
        if few.contains(&kind) {
            return false;
        }
        if let Some(free) = self.few.get_mut(self.few_len) {
            *free = kind;
            self.few_len += 1;
            return true;
        }
        let mut all: Box<[u64]> = vec![0; WORDS].into();
        for kind in self.few.iter().chain([&kind]) {
            let (word, bit) = (usize::from(*kind) / BITS, usize::from(*kind) % BITS);
            if let Some(word) = all.get_mut(word) {
                set_bit(word, bit);
            }
        }
        self.all = Some(all);
        true
    }
}

/// Sets the bit. Returns false when it was set already.
fn set_bit(word: &mut u64, bit: usize) -> bool {
    let mask = 1 << bit;
    let fresh = *word & mask == 0;
    *word |= mask;
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_new_once_wherever_the_set_keeps_it() {
        let mut set = TypeSet::default();
        for kind in 0..=u16::MAX {
            assert!(set.insert(kind), "{kind} the first time");
        }
        for kind in 0..=u16::MAX {
            assert!(!set.insert(kind), "{kind} the second time");
        }
    }

    #[test]
    fn a_usual_number_of_extensions_allocates_nothing() {
        let mut set = TypeSet::default();
        for kind in (0..64).chain([0x1a1a, 0xff01, 0xfe0d, 17513, 0xcaca]) {
            assert!(set.insert(kind));
        }
        assert!(set.all.is_none());
    }
}
