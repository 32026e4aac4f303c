//! Observations of two sides that are well, to be changed by a test.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::doctor::bundle::ServedBundle;
use crate::doctor::certificate::{ShownCertificate, ShownChain, ShownName};
use crate::doctor::checks::DoctorCheck;
use crate::doctor::checks::DoctorState;
use crate::doctor::file::{BundleFacts, Federation};
use crate::doctor::identity::{CallerSvid, DoctorCallers, SvidPem};
use crate::doctor::judge::judge;
use crate::doctor::seen::{
    BundleAnswer, CallAnswer, ClockSeen, GatewayReach, ServiceSeen, ShownServer, SideSeen,
    TlsAnswer,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 24 * HOUR;

pub(super) const FILE: &str = "sides:
  - trust_domain: alpha.com
    gateway: east-west.alpha.com:15443
    bundle_endpoint: { url: 'https://spire.bundles.alpha.com:15443', spiffe_id: 'spiffe://alpha.com/spire/server' }
    services:
      - { host: svca.apps.svc.cluster.local, port: 80, spiffe_id: 'spiffe://alpha.com/ns/apps/sa/svca' }
  - trust_domain: beta.com
    gateway: east-west.beta.com:15443
    bundle_endpoint: { url: 'https://spire.bundles.beta.com:15443', spiffe_id: 'spiffe://beta.com/spire/server' }
    services:
      - { host: svcb.apps.svc.cluster.local, port: 80, spiffe_id: 'spiffe://beta.com/ns/apps/sa/svcb' }
";

pub(super) fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
}

/// An authority with a subject as SPIRE makes it.
pub(super) struct Authority {
    pub(super) issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(trust_domain: &str, serial: &str) -> Self {
        Self::between(trust_domain, serial, NOW - HOUR, NOW + DAY)
    }

    pub(super) fn between(trust_domain: &str, serial: &str, start: i64, end: i64) -> Self {
        let mut params = params(&format!("spiffe://{trust_domain}"), start, end);
        for (kind, value) in [
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "SPIFFE"),
            (DnType::CommonName, trust_domain),
            (DnType::CustomDnType(vec![2, 5, 4, 5]), serial),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(super) fn root(&self) -> ShownCertificate {
        ShownCertificate::parse(self.issuer.der()).unwrap()
    }

    pub(super) fn name(&self) -> ShownName {
        self.root().subject
    }

    pub(super) fn leaf(&self, id: &str) -> ShownChain {
        self.leaf_between(id, NOW - 60, NOW + HOUR)
    }

    pub(super) fn leaf_between(&self, id: &str, start: i64, end: i64) -> ShownChain {
        self.sign(&params(id, start, end))
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> ShownChain {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        ShownChain::parse(&[leaf.der().to_vec()]).unwrap()
    }
}

pub(super) fn params(id: &str, start: i64, end: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (at(start).into(), at(end).into());
    params
}

pub(super) fn shown(chain: ShownChain, trusts: Option<Vec<ShownName>>, alpn: &str) -> TlsAnswer {
    TlsAnswer::Shown(Box::new(ShownServer {
        chain,
        trusts,
        alpn: Some(alpn.to_owned()),
    }))
}

pub(super) fn served(roots: &[&Authority]) -> BundleAnswer {
    let bundle = ServedBundle {
        roots: roots.iter().map(|one| one.root()).collect(),
        refresh_hint: Some(300),
    };
    BundleAnswer::Served(
        Ok(bundle),
        Some(ClockSeen {
            theirs: NOW,
            ours: NOW,
        }),
    )
}

/// Two sides that are well, until a test changes something.
pub(super) struct World {
    pub(super) federation: Federation,
    pub(super) seen: [SideSeen; 2],
    pub(super) callers: DoctorCallers,
    pub(super) alpha: Authority,
    pub(super) beta: Authority,
}

impl World {
    pub(super) fn healthy() -> Self {
        let alpha = Authority::new("alpha.com", "1");
        let beta = Authority::new("beta.com", "2");
        let side = |own: &Authority, name: &str, account: &str| SideSeen {
            reach: Ok(vec![(
                "192.0.2.1:15443".parse().unwrap(),
                GatewayReach::Connected,
            )]),
            control: TlsAnswer::Alert(112),
            mesh_control: TlsAnswer::Alert(112),
            bundle: shown(
                own.leaf(&format!("spiffe://{name}/spire/server")),
                None,
                "h2",
            ),
            document: served(&[own]),
            large: shown(
                own.leaf(&format!("spiffe://{name}/spire/server")),
                None,
                "h2",
            ),
            services: vec![ServiceSeen {
                mesh: shown(
                    own.leaf(&format!("spiffe://{name}/ns/apps/sa/{account}")),
                    Some(vec![alpha.name(), beta.name()]),
                    "istio",
                ),
                open: TlsAnswer::Alert(120),
                call: CallAnswer::NotAsked,
            }],
            views: Vec::new(),
            objects: None,
        };
        Self {
            federation: Federation::parse(FILE.as_bytes(), "test").unwrap(),
            seen: [
                side(&alpha, "alpha.com", "svca"),
                side(&beta, "beta.com", "svcb"),
            ],
            callers: DoctorCallers::default(),
            alpha,
            beta,
        }
    }

    /// A caller of alpha with an SVID of its authority, and the answer that it gets.
    pub(super) fn calls(&mut self, id: &str, (start, end): (i64, i64), answer: CallAnswer) {
        let key = KeyPair::generate().unwrap();
        let chain = params(id, start, end)
            .signed_by(&key, &self.alpha.issuer)
            .unwrap();
        let svid = CallerSvid::parse(SvidPem {
            chain: chain.pem().as_bytes(),
            key: key.serialize_pem().as_bytes(),
            bundle: self.alpha.issuer.pem().as_bytes(),
        });
        self.callers = DoctorCallers::of(&self.federation, vec![svid.unwrap()]).unwrap();
        self.service().call = answer;
    }

    /// Beta as the file and the probes have it.
    pub(super) fn beta(&mut self) -> &mut SideSeen {
        &mut self.seen[1]
    }

    pub(super) fn service(&mut self) -> &mut ServiceSeen {
        &mut self.seen[1].services[0]
    }

    pub(super) fn facts(&mut self) -> &mut BundleFacts {
        self.federation.sides[1].bundle.as_mut().unwrap()
    }

    pub(super) fn set_url(&mut self, url: &str) {
        let text = FILE.replace("https://spire.bundles.beta.com:15443", url);
        self.federation = Federation::parse(text.as_bytes(), "test").unwrap();
    }

    /// The service of alpha names these CAs.
    pub(super) fn alpha_trusts(&mut self, names: &[ShownName]) {
        let TlsAnswer::Shown(server) = &mut self.seen[0].services[0].mesh else {
            panic!("alpha's service is not there");
        };
        server.trusts = Some(names.to_vec());
    }

    pub(super) fn judged(&self) -> Vec<DoctorCheck> {
        judge(&self.federation, &self.callers, &self.seen, NOW)
    }

    /// The group's side, the check, the state and the cause of what did not pass, without what cannot be told.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let judged = self.judged();
        let faults = judged
            .iter()
            .filter(|check| matches!(check.state, DoctorState::Failed | DoctorState::Warned));
        let fault = |check: &DoctorCheck| {
            let side = check.group.split([':', ' ']).next().unwrap().to_owned();
            let mark = if check.state == DoctorState::Warned {
                "?"
            } else {
                ""
            };
            (
                side,
                format!("{}{mark} {}", check.check, check.cause.unwrap()),
            )
        };
        faults.map(fault).collect()
    }

    pub(super) fn finding(&self, check: &str) -> String {
        let judged = self.judged();
        let found = judged
            .iter()
            .find(|one| one.check == check && one.cause.is_some());
        let found = found.unwrap_or_else(|| panic!("{check}: {judged:#?}"));
        format!(
            "{} / {}",
            found.finding.as_ref().unwrap(),
            found.remedy.as_ref().unwrap()
        )
    }
}

#[track_caller]
pub(super) fn finds(what: &str, change: impl FnOnce(&mut World), faults: &[(&str, &str)]) -> World {
    let mut world = World::healthy();
    change(&mut world);
    let found = world.faults();
    let expected: Vec<_> = faults
        .iter()
        .map(|(side, fault)| ((*side).to_owned(), (*fault).to_owned()))
        .collect();
    assert_eq!(found, expected, "{what}");
    world
}

pub(super) fn finds_at_least(
    change: impl FnOnce(&mut World),
    (side, fault): (&str, &str),
) -> World {
    let mut world = World::healthy();
    change(&mut world);
    let faults = world.faults();
    assert!(
        faults.contains(&(side.to_owned(), fault.to_owned())),
        "{faults:?}"
    );
    world
}
