//! The TLS versions that clients offer, as a closed set.
//!
//! It is a module below the parser because [`crate::metrics`] labels series by it.

/// A version that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TlsVersion {
    /// TLS 1.3.
    Tls13,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.1.
    Tls11,
    /// TLS 1.0.
    Tls10,
    /// SSL, a draft, or an unknown version.
    Other,
}

impl TlsVersion {
    /// All of them, the newest first.
    pub const ALL: [Self; 5] = [
        Self::Tls13,
        Self::Tls12,
        Self::Tls11,
        Self::Tls10,
        Self::Other,
    ];

    /// Its index in [`TlsVersion::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The value in metric labels and log lines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls13 => "1.3",
            Self::Tls12 => "1.2",
            Self::Tls11 => "1.1",
            Self::Tls10 => "1.0",
            Self::Other => "other",
        }
    }

    /// The version with this number on the wire.
    pub const fn of(number: u16) -> Self {
        match number {
            0x0304 => Self::Tls13,
            0x0303 => Self::Tls12,
            0x0302 => Self::Tls11,
            0x0301 => Self::Tls10,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TlsVersion;

    #[test]
    fn every_version_has_its_place() {
        for (place, version) in TlsVersion::ALL.into_iter().enumerate() {
            assert_eq!(version.index(), place);
        }
    }
}
