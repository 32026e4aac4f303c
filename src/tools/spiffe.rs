//! Trust domains in memory: SPIFFE IDs, a CA for each trust domain, and the X.509-SVIDs that it signs.
//!
//! This module does what SPIRE does for two clusters, and is small enough for the demo and the tests.
//! The certificates follow the SPIFFE standard "X.509-SVID": exactly one URI name, key usage
//! digitalSignature for leaves and keyCertSign for CAs. [`tls`] checks the certificate of the peer.

pub mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// SPIRE's default lifetime of an X.509-SVID.
pub const SVID_LIFETIME: Duration = Duration::from_secs(3600);
/// Lifetime of a CA. CAs live in memory only, and no longer than their process.
const CA_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// SPIRE backdates an SVID by this much, so that a verifier with a slow clock accepts it.
const BACKDATE: Duration = Duration::from_secs(10);
/// The longest SPIFFE ID (SPIFFE standard "SPIFFE-ID", section 2.3).
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;
/// The object identifier of the attribute serialNumber (RFC 4519 section 2.31).
const SERIAL_NUMBER: [u64; 4] = [2, 5, 4, 5];

/// A SPIFFE ID: `spiffe://TRUST_DOMAIN/PATH`, valid by SPIFFE-ID section 2. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Length of the part of `text` that ends with the trust domain.
    trust_domain_end: usize,
}

/// A text that is not a SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SPIFFE ID")]
pub struct NotASpiffeId(String);

/// A reason why an identity could not be created.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The ID to be signed is malformed.
    #[error(transparent)]
    Id(#[from] NotASpiffeId),
    /// Keys or certificates could not be generated.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be used for TLS.
    #[error("cannot use the certificate for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The CA's certificate cannot be a trust anchor.
    #[error("cannot use the CA as a trust anchor: {0}")]
    Anchor(#[from] webpki::Error),
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// It breaks a rule of SPIFFE-ID section 2.
    pub fn parse(text: &str) -> Result<Self, NotASpiffeId> {
        let id = || {
            let rest = text.strip_prefix(SCHEME)?;
            let (trust_domain, path) = match rest.split_once('/') {
                Some((trust_domain, path)) => (trust_domain, Some(path)),
                None => (rest, None),
            };
            let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            let segment = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(plain);
            let valid = text.len() <= MAX_ID
                && (1..=MAX_TRUST_DOMAIN).contains(&trust_domain.len())
                && trust_domain.bytes().all(lower)
                && path.is_none_or(|path| path.split('/').all(segment));
            valid.then(|| Self {
                text: text.into(),
                trust_domain_end: SCHEME.len() + trust_domain.len(),
            })
        };
        id().ok_or_else(|| NotASpiffeId(text.to_owned()))
    }

    /// The ID that Istio gives the pods of a service account.
    ///
    /// # Errors
    /// A part has a character that a SPIFFE ID cannot have.
    pub fn workload(
        trust_domain: &str,
        namespace: &str,
        account: &str,
    ) -> Result<Self, NotASpiffeId> {
        Self::parse(&format!(
            "{SCHEME}{trust_domain}/ns/{namespace}/sa/{account}"
        ))
    }

    /// `alpha.com` of `spiffe://alpha.com/ns/apps/sa/svca`.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.trust_domain_end]
    }

    /// Whether the ID names a workload (as a leaf's ID must) and not the trust domain itself.
    pub fn has_path(&self) -> bool {
        self.trust_domain_end < self.text.len()
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The data that verifies the SVIDs of one trust domain. It is public: federation distributes it.
#[derive(Debug, Clone)]
pub struct TrustBundle {
    /// The only trust domain that its roots may sign for.
    pub trust_domain: Arc<str>,
    /// The CA's certificate.
    pub root: CertificateDer<'static>,
}

/// A trust domain with its CA.
pub struct TrustDomain {
    name: Arc<str>,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// Shows the name alone, never the CA's key.
impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustDomain").field(&self.name).finish()
    }
}

/// An identity document: a certificate chain that ends below the CA, and its key.
#[derive(Debug)]
pub struct Svid {
    /// The one URI name of the leaf.
    pub id: SpiffeId,
    /// The certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Svid {
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl TrustDomain {
    /// Creates a trust domain with a new CA.
    ///
    /// # Errors
    /// The name is not a trust domain, or the key could not be generated.
    pub fn create(name: &str) -> Result<Self, IdentityError> {
        let id = SpiffeId::parse(&format!("{SCHEME}{name}"))?;
        let now = SystemTime::now();
        let mut params = params_of(&id, now, now + CA_LIFETIME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // As SPIRE names its roots: the serial number tells two CAs of one trust domain apart.
        let serial = fastrand::u128(..).to_string();
        for (attribute, value) in [
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "SPIFFE"),
            (DnType::CommonName, name),
            (DnType::CustomDnType(SERIAL_NUMBER.to_vec()), &serial),
        ] {
            params.distinguished_name.push(attribute, value);
        }
        Ok(Self {
            name: name.into(),
            authority: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// The trust domain's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bundle that others need to verify its SVIDs.
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle {
            trust_domain: self.name.clone(),
            root: self.authority.der().clone(),
        }
    }

    /// Issues an SVID for the pods of a service account of this trust domain.
    ///
    /// # Errors
    /// A part has a character that a SPIFFE ID cannot have, or the key could not be generated.
    pub fn issue(&self, namespace: &str, account: &str) -> Result<Svid, IdentityError> {
        self.sign(&SpiffeId::workload(&self.name, namespace, account)?)
    }

    /// Signs any ID, even one of another trust domain. A stolen CA could do this, and verifiers must
    /// refuse it.
    ///
    /// # Errors
    /// The key could not be generated.
    pub fn sign(&self, id: &SpiffeId) -> Result<Svid, IdentityError> {
        self.sign_until(id, SystemTime::now() + SVID_LIFETIME)
    }

    /// As [`TrustDomain::sign`], with an SVID that is valid until `end`, which may lie in the past.
    ///
    /// # Errors
    /// The key could not be generated.
    pub fn sign_until(&self, id: &SpiffeId, end: SystemTime) -> Result<Svid, IdentityError> {
        self.sign_between(id, end - SVID_LIFETIME, end)
    }

    /// As [`TrustDomain::sign`], with an SVID that is valid from `start` until `end`.
    ///
    /// # Errors
    /// The key could not be generated.
    pub fn sign_between(
        &self,
        id: &SpiffeId,
        start: SystemTime,
        end: SystemTime,
    ) -> Result<Svid, IdentityError> {
        let mut params = params_of(id, start, end)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.authority)?;
        Ok(Svid {
            id: id.clone(),
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

/// Parameters of a certificate with `id` as its only name.
fn params_of(
    id: &SpiffeId,
    start: SystemTime,
    end: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    params.not_before = (start - BACKDATE).into();
    params.not_after = end.into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_spiffe_id_by_its_parts() {
        let id = SpiffeId::workload("alpha.com", "apps", "svca").unwrap();
        assert_eq!(id.as_str(), "spiffe://alpha.com/ns/apps/sa/svca");
        assert_eq!(id.trust_domain(), "alpha.com");
        assert!(id.has_path());
        let authority = SpiffeId::parse("spiffe://alpha.com").unwrap();
        assert_eq!(authority.trust_domain(), "alpha.com");
        assert!(!authority.has_path());
    }

    #[test]
    fn refuses_what_is_no_spiffe_id() {
        for text in [
            "",
            "alpha.com/ns/apps",
            "https://alpha.com/ns",
            "SPIFFE://alpha.com/ns",
            "spiffe:///ns/apps",
            "spiffe://Alpha.com/ns",
            "spiffe://alpha.com:80/ns",
            "spiffe://user@alpha.com/ns",
            "spiffe://alpha.com/",
            "spiffe://alpha.com/ns/",
            "spiffe://alpha.com/ns//a",
            "spiffe://alpha.com/ns/../a",
            "spiffe://alpha.com/ns/%61",
            "spiffe://alpha.com/ns?x",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
    }
}
