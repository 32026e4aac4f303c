//! The SVID of a caller, by which the doctor makes calls.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{ShownCertificate, ShownChain, trust_domain};
use super::file::Federation;

/// Certificates of a file, or of an answer, that are read.
pub(super) const MAX_CERTIFICATES: usize = 64;

/// An SVID with its key and the bundle that came with it. The key is used for handshakes and shown to nobody.
#[derive(Clone)]
pub(crate) struct CallerSvid {
    /// The SPIFFE ID.
    pub(crate) id: Arc<str>,
    pub(crate) chain: ShownChain,
    /// The roots of its own trust domain.
    pub(crate) roots: Vec<ShownCertificate>,
    pub(super) key: Arc<CertifiedKey>,
}

impl fmt::Debug for CallerSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallerSvid").field(&self.id).finish()
    }
}

/// The parts of an SVID in PEM.
#[derive(Clone, Copy)]
pub(crate) struct SvidPem<'a> {
    /// The certificate, and the intermediate ones behind it.
    pub(crate) chain: &'a [u8],
    pub(crate) key: &'a [u8],
    pub(crate) bundle: &'a [u8],
}

impl CallerSvid {
    /// Reads an SVID.
    ///
    /// # Errors
    /// The part that cannot be used and the reason, without a byte of the key.
    pub(crate) fn parse(pem: SvidPem<'_>) -> Result<Self, String> {
        let chain = certificates(pem.chain).map_err(|why| format!("the certificate {why}"))?;
        let roots = certificates(pem.bundle).map_err(|why| format!("the bundle {why}"))?;
        let key = PrivateKeyDer::from_pem_slice(pem.key)
            .map_err(|_| "the key is no private key in PEM".to_owned())?;
        Self::of(chain, &key, &roots)
    }

    /// Makes one of its certificate with the intermediate ones, its key, and its bundle.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn of(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        roots: &[CertificateDer<'_>],
    ) -> Result<Self, String> {
        let key = any_supported_type(key)
            .map_err(|_| "the key is of no kind that TLS uses here".to_owned())?;
        let shown: Vec<Vec<u8>> = chain.iter().map(|one| one.to_vec()).collect();
        let shown = ShownChain::parse(&shown);
        let shown = shown.ok_or("the certificate cannot be read")?;
        let id = shown.leaf.spiffe_id();
        let id = Arc::from(id.ok_or("the certificate has no SPIFFE ID: it is no SVID")?);
        let key = CertifiedKey::new(chain, key);
        if let Err(rustls::Error::InconsistentKeys(_)) = key.keys_match() {
            return Err("the key is not the certificate's".to_owned());
        }
        let roots = roots.iter().map(|root| ShownCertificate::parse(root));
        let roots: Option<Vec<ShownCertificate>> = roots.collect();
        Ok(Self {
            id,
            chain: shown,
            roots: roots.ok_or("the bundle has a certificate that cannot be read")?,
            key: Arc::new(key),
        })
    }

    pub(crate) fn trust_domain(&self) -> &str {
        trust_domain(&self.id)
    }
}

/// # Errors
/// The rest of a sentence that begins with the name of the part.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).take(MAX_CERTIFICATES);
    let found: Result<Vec<_>, _> = found.collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err("has no certificate in PEM".to_owned()),
        Err(_) => Err("is no PEM".to_owned()),
    }
}

/// The SVIDs of both sides' callers, in the order of the sides.
#[derive(Debug, Clone, Default)]
pub(crate) struct DoctorCallers([Option<CallerSvid>; 2]);

impl DoctorCallers {
    /// Gives each SVID to the side of its trust domain.
    ///
    /// # Errors
    /// The SVID that belongs to no side, or to one that has another already.
    pub(crate) fn of(federation: &Federation, svids: Vec<CallerSvid>) -> Result<Self, String> {
        let mut callers = Self::default();
        let [one, other] = &federation.sides;
        if one.trust_domain == other.trust_domain && !svids.is_empty() {
            return Err("an SVID tells nothing where both sides have one trust domain".to_owned());
        }
        let [of_one, of_other] = &mut callers.0;
        for svid in svids {
            let place = match svid.trust_domain() {
                domain if *domain == *one.trust_domain => &mut *of_one,
                domain if *domain == *other.trust_domain => &mut *of_other,
                _ => {
                    return Err(format!(
                        "the SVID is {}, and the sides are {} and {}",
                        svid.id.escape_debug(),
                        one.trust_domain,
                        other.trust_domain
                    ));
                }
            };
            if place.is_some() {
                return Err(format!("a second SVID of {}", svid.trust_domain()));
            }
            *place = Some(svid);
        }
        Ok(callers)
    }

    /// The caller of each side.
    pub(crate) fn sides(&self) -> [Option<&CallerSvid>; 2] {
        let [one, other] = &self.0;
        [one.as_ref(), other.as_ref()]
    }
}
