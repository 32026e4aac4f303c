//! The document that a bundle endpoint serves (SPIFFE Trust Domain and Bundle, section 4).

use data_encoding::BASE64;
use serde::Deserialize;

use super::certificate::ShownCertificate;

/// X.509 roots of a bundle that are read.
const MAX_ROOTS: usize = 64;

/// A bundle as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServedBundle {
    /// The X.509 roots.
    pub(crate) roots: Vec<ShownCertificate>,
    /// `spiffe_refresh_hint` in seconds.
    pub(crate) refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct BundleDocument {
    keys: Vec<BundleKey>,
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
}

#[derive(Deserialize)]
struct BundleKey {
    #[serde(default, rename = "use")]
    purpose: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl ServedBundle {
    /// Reads the document.
    ///
    /// # Errors
    /// The reason why it is no bundle, in words that quote nothing of it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let document: BundleDocument = serde_json::from_slice(body)
            .map_err(|error| format!("it is no JSON Web Key Set ({:?} error)", error.classify()))?;
        let keys = document
            .keys
            .iter()
            .filter(|key| key.purpose == "x509-svid");
        let mut roots = Vec::new();
        for key in keys.take(MAX_ROOTS) {
            let der = key
                .x5c
                .first()
                .and_then(|text| BASE64.decode(text.as_bytes()).ok());
            match der.as_deref().and_then(ShownCertificate::parse) {
                Some(root) => roots.push(root),
                None => return Err("one of its x509-svid keys has no certificate".to_owned()),
            }
        }
        match roots.is_empty() {
            true => Err("it has no x509-svid key".to_owned()),
            false => Ok(Self {
                roots,
                refresh_hint: document.spiffe_refresh_hint,
            }),
        }
    }

    /// The seconds between two polls of SPIRE: a quarter of the hint, which counts as at least a minute.
    pub(crate) fn poll_interval(&self) -> u64 {
        self.refresh_hint.unwrap_or(0).max(60) / 4
    }
}
