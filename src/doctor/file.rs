//! The federation file: what each side should be, as the objects of both clusters say it.

use std::fmt;
use std::sync::Arc;

use super::text::{
    BundleUrl, GatewayPlace, GatewayText, IdText, MapText, PathText, ServiceHost, SubsetText,
    TrustDomainName, UrlText,
};
use crate::config::form::containers::List;
use crate::config::form::decode::{At, words};
use crate::config::form::problems::{Complaint, Problems};
use crate::config::form::section::section;
use crate::config::{ConfigError, Count, decode_file};
use crate::server_name::ServerName;

/// The number of services of a side that are looked at: each is two connections, and one more with an SVID.
pub(super) const MAX_SERVICES: usize = 32;
/// The number of a side's gateways that are asked for their view.
const MAX_ADMIN: usize = 8;
/// The number of callers of a service that are named.
const MAX_CALLERS: usize = 32;

/// Two trust domains that are federated, and how each is reached.
#[derive(Debug, Clone)]
pub struct Federation {
    /// The two sides, in the file's order.
    pub sides: [FederationSide; 2],
}

/// One trust domain, as the other side reaches it.
#[derive(Debug, Clone)]
pub struct FederationSide {
    /// The trust domain, such as `beta.com`.
    pub trust_domain: Arc<str>,
    /// The address of its gateway.
    pub gateway: GatewayPlace,
    /// SPIRE's bundle endpoint. `None`: it is not looked at.
    pub bundle: Option<BundleFacts>,
    /// The services that the other side calls.
    pub services: Vec<FederatedService>,
    /// The admin addresses of its gateways, for their own view.
    pub admin: Vec<GatewayPlace>,
    /// The namespace and name of the ConfigMap with Istio's mesh config.
    pub mesh_config: Arc<str>,
    /// The namespace and name of the ConfigMap with spire-agent's config.
    pub agent_config: Arc<str>,
}

/// SPIRE's bundle endpoint, as the other side's ClusterFederatedTrustDomain has it.
#[derive(Debug, Clone)]
pub struct BundleFacts {
    /// `bundleEndpointURL`.
    pub url: BundleUrl,
    /// `bundleEndpointProfile.type`.
    pub profile: BundleProfile,
    /// `bundleEndpointProfile.endpointSPIFFEID`.
    pub spiffe_id: Option<Arc<str>>,
}

/// The profile of a bundle endpoint (SPIFFE Federation, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleProfile {
    /// Its certificate is an SVID.
    HttpsSpiffe,
    /// Its certificate is of a public CA.
    HttpsWeb,
}

impl BundleProfile {
    /// The word for it in the object.
    pub fn word(self) -> &'static str {
        match self {
            Self::HttpsSpiffe => "https_spiffe",
            Self::HttpsWeb => "https_web",
        }
    }
}

/// A service that the other side calls.
#[derive(Debug, Clone)]
pub struct FederatedService {
    /// The host of the caller's ServiceEntry.
    pub host: ServerName,
    /// The port of the ServiceEntry.
    pub port: u16,
    /// The subset of the caller's DestinationRule.
    pub subset: Option<Arc<str>>,
    /// The server name that the caller's sidecar sends.
    pub server_name: ServerName,
    /// `subjectAltNames` of the caller's DestinationRule.
    pub spiffe_id: Option<Arc<str>>,
    /// The SPIFFE IDs that may call it. Empty: every SVID that the doctor has.
    pub callers: Vec<Arc<str>>,
    /// The protocol that it speaks inside of TLS.
    pub protocol: ServiceProtocol,
    /// The path of a GET that does no harm.
    pub path: Arc<str>,
}

/// The protocol of a service inside of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceProtocol {
    /// HTTP of any version.
    Http,
    /// Anything else: nothing is asked after the handshake.
    Tcp,
}

impl fmt::Display for FederatedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)?;
        match &self.subset {
            Some(subset) => write!(f, ", subset {subset}"),
            None => Ok(()),
        }
    }
}

section! {
    /// A federation of two trust domains.
    FederationForm {
        /// The two sides.
        sides: List<FederationSideForm, 2, 2>,
    }
}

section! {
    /// One trust domain, as the other side reaches it.
    FederationSideForm {
        /// The trust domain.
        trust_domain: TrustDomainName,
        /// The gateway's address as the other cluster reaches it.
        gateway: GatewayText,
        /// SPIRE's bundle endpoint. Without it, bundles are not looked at.
        bundle_endpoint: Option<BundleEndpointForm> = null,
        /// The services that the other side calls.
        services: List<FederatedServiceForm, 0, MAX_SERVICES> = [],
        /// The admin addresses of its gateways, whose own view is asked for.
        admin: List<GatewayText, 0, MAX_ADMIN> = [],
        /// The ConfigMap with Istio's mesh config, for a look by its API.
        mesh_config: MapText = "istio-system/istio",
        /// The ConfigMap with spire-agent's config, for a look by its API.
        agent_config: MapText = "spire/spire-agent",
    }
}

section! {
    /// SPIRE's bundle endpoint, as the other side's ClusterFederatedTrustDomain has it.
    BundleEndpointForm {
        /// `bundleEndpointURL`.
        url: UrlText,
        /// `bundleEndpointProfile.type`.
        profile: BundleProfile = "https_spiffe",
        /// `bundleEndpointProfile.endpointSPIFFEID`.
        spiffe_id: Option<IdText> = null,
    }
}

section! {
    /// A service that the other side calls.
    FederatedServiceForm {
        /// The host of the caller's ServiceEntry.
        host: At<ServiceHost>,
        /// The port of the ServiceEntry.
        port: Count<1, 65_535>,
        /// The subset of the caller's DestinationRule.
        subset: Option<SubsetText> = null,
        /// `subjectAltNames` of the caller's DestinationRule.
        spiffe_id: Option<IdText> = null,
        /// The SPIFFE IDs that its AuthorizationPolicy lets in.
        callers: List<IdText, 0, MAX_CALLERS> = [],
        /// The protocol that it speaks inside of TLS.
        protocol: ServiceProtocol = "http",
        /// The path of the GET of a call with an SVID.
        path: PathText = "/",
    }
}

words!(ServiceProtocol {
    "http" => Http,
    "tcp" => Tcp,
});

words!(BundleProfile {
    "https_spiffe" => HttpsSpiffe,
    "https_web" => HttpsWeb,
});

impl Federation {
    /// The largest file, in bytes.
    pub const MAX_FILE: usize = crate::config::MAX_FILE;

    /// Reads the bytes of a file that messages call `origin`.
    ///
    /// # Errors
    /// Every problem of the file, with its line, its key and a remedy.
    pub fn parse(bytes: &[u8], origin: &str) -> Result<Self, ConfigError> {
        let form: FederationForm = decode_file(bytes, origin)?;
        let mut problems = Problems::default();
        let sides = form.sides.items.into_iter();
        let sides: Vec<FederationSide> = sides.map(|one| side(one, &mut problems)).collect();
        // Two, or the list was a problem.
        match <[FederationSide; 2]>::try_from(sides) {
            Ok(sides) if problems.is_empty() => Ok(Self { sides }),
            _ => Err(ConfigError {
                origin: origin.to_owned(),
                problems: problems.into_sorted(),
            }),
        }
    }
}

fn side(form: FederationSideForm, problems: &mut Problems) -> FederationSide {
    FederationSide {
        trust_domain: form.trust_domain.0,
        gateway: form.gateway.0,
        bundle: form.bundle_endpoint.map(|bundle| BundleFacts {
            url: bundle.url.0,
            profile: bundle.profile,
            spiffe_id: bundle.spiffe_id.map(|id| id.0),
        }),
        services: form
            .services
            .items
            .into_iter()
            .filter_map(|one| service(one, problems))
            .collect(),
        admin: form.admin.items.into_iter().map(|one| one.0).collect(),
        mesh_config: form.mesh_config.0,
        agent_config: form.agent_config.0,
    }
}

fn service(form: FederatedServiceForm, problems: &mut Problems) -> Option<FederatedService> {
    let host = form.host.value.0;
    let port = u16::try_from(form.port.get()).ok()?;
    let subset = form.subset.map(|subset| subset.0);
    let named = host.istio_outbound(port, subset.as_deref().unwrap_or(""));
    let server_name = match named {
        Ok(name) => name,
        Err(error) => {
            let long = format!("no client can call it by outbound_.{port}_.SUBSET_.HOST: {error}");
            let complaint = Complaint::new(long).remedy("take a shorter host or subset");
            problems.note(&form.host.place, complaint);
            return None;
        }
    };
    Some(FederatedService {
        host,
        port,
        subset,
        server_name,
        spiffe_id: form.spiffe_id.map(|id| id.0),
        callers: form.callers.items.into_iter().map(|id| id.0).collect(),
        protocol: form.protocol,
        path: form.path.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "sides:
  - trust_domain: alpha.com
    gateway: east-west.alpha.com:15443
    bundle_endpoint: { url: 'https://spire.bundles.alpha.com:15443', spiffe_id: 'spiffe://alpha.com/spire/server' }
  - trust_domain: beta.com
    gateway: 192.0.2.1:15443
    bundle_endpoint: { url: 'https://[2001:db8::1]/x', profile: https_web }
    services:
      - { host: svcb.apps.svc.cluster.local, port: 80, spiffe_id: 'spiffe://beta.com/ns/apps/sa/svcb' }
";

    #[test]
    fn a_file_is_read_as_the_objects_say() {
        let federation = Federation::parse(GOOD.as_bytes(), "f").unwrap();
        let [alpha, beta] = &federation.sides;
        assert_eq!(alpha.gateway.to_string(), "east-west.alpha.com:15443");
        let bundle = alpha.bundle.as_ref().unwrap();
        assert_eq!(bundle.profile, BundleProfile::HttpsSpiffe);
        let name = bundle.url.server_name().unwrap();
        assert_eq!(name.as_str(), "spire.bundles.alpha.com");
        assert!(alpha.services.is_empty());
        let url = &beta.bundle.as_ref().unwrap().url;
        assert_eq!(
            (&*url.host, url.port, &*url.path),
            ("2001:db8::1", 443, "/x")
        );
        assert_eq!(url.server_name(), None);
        let sni = beta.services[0].server_name.as_str();
        assert_eq!(sni, "outbound_.80_._.svcb.apps.svc.cluster.local");
    }

    #[test]
    fn a_problem_has_its_line_its_key_and_a_remedy() {
        for (old, new, says) in [
            (
                "alpha.com\n    gateway",
                "spiffe://alpha.com\n    gateway",
                "f:2:19: sides[0].trust_domain: \"spiffe://alpha.com\" is not a trust domain; write alpha.com",
            ),
            (
                "east-west.alpha.com:15443",
                "east-west.alpha.com",
                "is it east-west.alpha.com:15443?",
            ),
            (
                "profile: https_web",
                "profile: https-web",
                "did you mean \"https_web\"?",
            ),
            (
                "trust_domain: beta.com",
                "trustDomain: beta.com",
                "did you mean \"trust_domain\"?",
            ),
            (
                "'spiffe://beta.com/ns",
                "'beta.com/ns",
                "write spiffe://beta.com/ns/apps/sa/svcb",
            ),
            ("https://spire.bundles", "spire.bundles", "is not a URL"),
            ("port: 80", "port: 0", "give it 1 to 65535"),
            (
                "{ host: svcb.",
                "{ host: outbound_.80_._.svcb.",
                "sides[1].services[0].host",
            ),
        ] {
            assert!(GOOD.contains(old), "{old}");
            let text = GOOD.replacen(old, new, 1);
            let error = Federation::parse(text.as_bytes(), "f").unwrap_err();
            assert!(error.to_string().contains(says), "{new}: {error}");
        }
        for (text, says) in [
            ("", "expected a section"),
            ("sides: []", "give it 2 to 2 items"),
            ("[", "f:1"),
        ] {
            let error = Federation::parse(text.as_bytes(), "f").unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_service_that_no_client_can_call_is_not_left_out_in_silence() {
        let long = ["a", "b", "c"].map(|letter| letter.repeat(60)).join(".");
        for (host, subset, says) in [
            (
                "svcb.apps.svc.cluster.local",
                63,
                "a label longer than 63 bytes",
            ),
            (&*long, 62, "longer than 253 bytes"),
        ] {
            let subset = format!("{host}, subset: {},", "s".repeat(subset));
            let text = GOOD.replace("svcb.apps.svc.cluster.local,", &subset);
            let error = Federation::parse(text.as_bytes(), "f")
                .unwrap_err()
                .to_string();
            let place = "f:9:17: sides[1].services[0].host: no client can call it";
            assert!(error.starts_with(place), "{error}");
            assert!(error.contains(says), "{error}");
            assert!(
                error.ends_with("; take a shorter host or subset"),
                "{error}"
            );
        }
    }
}
