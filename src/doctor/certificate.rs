//! Certificates as somebody shows them. Nothing that they say is trusted.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error as ChainError, KeyUsage, anchor_from_trusted_cert};
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::x509::X509Name;

/// Names of each kind that are kept of a certificate.
const MAX_NAMES: usize = 32;
/// Characters of a name that are kept.
const MAX_NAME: usize = 2048;
/// The object identifier of the common name.
const COMMON_NAME: &str = "2.5.4.3";

/// The name of a subject or an issuer: its attributes, in an order that does not depend on how it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShownName(Vec<(String, String)>);

impl ShownName {
    /// Reads the DER of a name. `None` if it is none.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (_, name) = X509Name::from_der(der).ok()?;
        Some(Self::of(&name))
    }

    fn of(name: &X509Name<'_>) -> Self {
        let attribute = |one: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let value = match one.as_str() {
                Ok(text) => cut(text),
                Err(_) => hex(one.as_slice().get(..64).unwrap_or(one.as_slice())),
            };
            (one.attr_type().to_id_string(), value)
        };
        let attributes = name.iter_attributes().take(MAX_NAMES).map(attribute);
        let mut attributes: Vec<_> = attributes.collect();
        attributes.sort_unstable();
        Self(attributes)
    }

    /// Its common name, which is the trust domain in the roots that SPIRE makes.
    pub(crate) fn common_name(&self) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(oid, _)| oid == COMMON_NAME)?;
        Some(value)
    }
}

/// A certificate that was shown, with what the judge asks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCertificate {
    pub(crate) der: Vec<u8>,
    pub(crate) subject: ShownName,
    pub(crate) uris: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
    /// The subject's public key.
    pub(crate) key: Vec<u8>,
    /// The start of its key identifier in hex, as a short name for people.
    pub(crate) key_id: String,
}

impl ShownCertificate {
    /// Reads a certificate. `None` if it is none.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(der).ok()?;
        let (mut uris, mut dns_names) = (Vec::new(), Vec::new());
        if let Ok(Some(names)) = read.subject_alternative_name() {
            for name in names.value.general_names.iter().take(MAX_NAMES) {
                match name {
                    GeneralName::URI(uri) => uris.push(cut(uri)),
                    GeneralName::DNSName(name) => dns_names.push(cut(name)),
                    _ => {}
                }
            }
        }
        let key_id = read
            .iter_extensions()
            .find_map(|one| match one.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            });
        let key = read.public_key().raw;
        let short = |bytes: &[u8]| hex(bytes.get(..4).unwrap_or(bytes));
        Some(Self {
            der: der.to_vec(),
            subject: ShownName::of(read.subject()),
            uris,
            dns_names,
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
            key_id: match key_id {
                Some(id) => short(id),
                None => short(ring::digest::digest(&ring::digest::SHA256, key).as_ref()),
            },
            key: key.to_vec(),
        })
    }

    /// Its one SPIFFE ID.
    pub(crate) fn spiffe_id(&self) -> Option<&str> {
        let mut ids = self.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        ids.next().map(String::as_str)
    }
}

/// The trust domain of a SPIFFE ID.
pub(crate) fn trust_domain(id: &str) -> &str {
    let rest = id.strip_prefix("spiffe://").unwrap_or(id);
    rest.split('/').next().unwrap_or_default()
}

/// The root that a chain ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IssuerFound {
    /// The root with this index.
    Root(usize),
    /// None of them.
    Unknown,
    /// The chain, or the kind of its keys, cannot be verified here.
    NotTold,
}

/// A leaf with the certificates that were shown behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownChain {
    pub(crate) leaf: ShownCertificate,
    pub(crate) intermediates: Vec<Vec<u8>>,
}

impl ShownChain {
    /// Reads a chain, leaf first. `None` if the leaf is no certificate.
    pub(crate) fn parse(chain: &[Vec<u8>]) -> Option<Self> {
        let (leaf, intermediates) = chain.split_first()?;
        Some(Self {
            leaf: ShownCertificate::parse(leaf)?,
            intermediates: intermediates.to_vec(),
        })
    }

    /// The root whose signature the chain has. Whether the leaf has expired is another question: the chain is verified
    /// as of the leaf's last second.
    pub(crate) fn issuer_among(&self, roots: &[ShownCertificate]) -> IssuerFound {
        let leaf = CertificateDer::from_slice(&self.leaf.der);
        let Ok(leaf) = EndEntityCert::try_from(&leaf) else {
            return IssuerFound::NotTold;
        };
        let Ok(end) = u64::try_from(self.leaf.not_after) else {
            return IssuerFound::NotTold;
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(end));
        let slices = self
            .intermediates
            .iter()
            .map(|der| CertificateDer::from_slice(der));
        let intermediates: Vec<CertificateDer<'_>> = slices.collect();
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let mut found = IssuerFound::Unknown;
        for (index, root) in roots.iter().enumerate() {
            let root = CertificateDer::from_slice(&root.der);
            let Ok(anchor) = anchor_from_trusted_cert(&root) else {
                found = IssuerFound::NotTold;
                continue;
            };
            let anchors = [anchor];
            let verified = leaf.verify_for_usage(
                algorithms.all,
                &anchors,
                &intermediates,
                at,
                KeyUsage::server_auth(),
                None,
                None,
            );
            match verified {
                Ok(_) => return IssuerFound::Root(index),
                Err(ChainError::UnknownIssuer | ChainError::InvalidSignatureForPublicKey) => {}
                Err(_) => found = IssuerFound::NotTold,
            }
        }
        found
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
