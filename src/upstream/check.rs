//! Active checks: strait itself connects to each endpoint now and then, off by default. An endpoint that fails is used as
//! an ejected one is, though no call has failed there.
//!
//! The control thread makes them, never a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::check_state::NotPassed;
use super::endpoints::EndpointStats;
use super::{SourceAddresses, Upstream, Upstreams, is_own_shortage};
use crate::client_hello::vectors::{HelloBuilder, X25519};
use crate::config::{CheckHello, ProxyVersion, UpstreamConfig};
use crate::names::UpstreamName;
use crate::proxy_header::local_header;
use crate::shared_map::SharedMap;

/// The time between two looks at the endpoints that are due.
const LOOK: Duration = Duration::from_millis(100);
/// Checks that may be under way at a time, of all upstreams together.
const MOST_UNDER_WAY: usize = 64;
/// The bytes of an answer that are read: the header of a record, and the type of the handshake message in it.
const ANSWER: usize = 6;
const SERVER_HELLO: u8 = 2;

/// A check that is under way until this is dropped: an endpoint has one at a time.
struct UnderWay(Arc<EndpointStats>);

impl UnderWay {
    fn begin(endpoint: Arc<EndpointStats>) -> Self {
        endpoint.check().under_way.store(true, Ordering::Relaxed);
        Self(endpoint)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.check().under_way.store(false, Ordering::Relaxed);
    }
}

/// A check that has ended.
struct Checked {
    upstream: UpstreamName,
    check: UnderWay,
    result: Result<(), NotPassed>,
}

/// Checks the endpoints of the upstreams whose config asks for it, without end. `now` gives the upstreams in force.
pub async fn run(now: impl Fn() -> Arc<Upstreams>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    let mut known = SharedMap::default();
    let mut checked: Vec<Arc<Upstream>> = Vec::new();
    // The upstream that is looked at first, so that none waits for ever.
    let mut first = 0;
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let in_force = now();
                if !in_force.checked().is_same(&known) {
                    known = in_force.checked().clone();
                    checked = known.values().cloned().collect();
                }
                first = begin_due(&checked, first, &mut under_way);
            }
            Some(ended) = under_way.join_next() => {
                if let Ok(ended) = ended {
                    note(&ended, &now());
                }
            }
        }
    }
}

/// Begins the checks that are due, as many as may be under way. Returns the upstream to look at first next time.
fn begin_due(checked: &[Arc<Upstream>], first: usize, under_way: &mut JoinSet<Checked>) -> usize {
    let now = Instant::now();
    for step in 0..checked.len() {
        let position = (first + step) % checked.len();
        let Some(upstream) = checked.get(position) else {
            continue;
        };
        let config = upstream.config();
        let Some(policy) = &config.check else {
            continue;
        };
        for endpoint in upstream.endpoints().iter() {
            let stats = &endpoint.stats;
            if !stats.check().is_due(now, policy) {
                continue;
            }
            if under_way.len() >= MOST_UNDER_WAY {
                return position;
            }
            let addresses = [Some(endpoint.spec.address), endpoint.spec.other];
            let (upstream, config) = (upstream.clone(), config.clone());
            let begun = UnderWay::begin(stats.clone());
            under_way.spawn(async move {
                let result = check(addresses, &upstream, &config).await;
                Checked {
                    upstream: config.name.clone(),
                    check: begun,
                    result,
                }
            });
        }
    }
    0
}

/// Notes the result of a check, and logs a change. The result is void if the upstream in force has no checks: they were
/// turned off meanwhile.
fn note(checked: &Checked, in_force: &Upstreams) {
    let Checked {
        upstream: name,
        check: UnderWay(endpoint),
        result,
    } = checked;
    let Some(config) = in_force.get(name).map(|upstream| upstream.config()) else {
        return;
    };
    let Some(policy) = &config.check else {
        return;
    };
    let why = result.as_ref().err().map(NotPassed::text);
    let unhealthy = endpoint.health.is_unhealthy();
    if !endpoint.check().ended(result, unhealthy, policy) {
        return;
    }
    endpoint.health.set_unhealthy(!unhealthy);
    let address = endpoint.address;
    match why {
        Some(why) => {
            tracing::warn!(upstream = %name, endpoint = %address, %why, "an endpoint is unhealthy: its checks fail");
        }
        None => {
            endpoint.begin_to_serve(Instant::now());
            tracing::info!(upstream = %name, endpoint = %address, "an endpoint is healthy: its checks pass");
        }
    }
}

/// Checks an endpoint, at its address of the other family if the first one does not pass.
async fn check(
    addresses: [Option<SocketAddr>; 2],
    upstream: &Upstream,
    config: &UpstreamConfig,
) -> Result<(), NotPassed> {
    let Some(policy) = &config.check else {
        return Ok(());
    };
    let mut result = Ok(());
    for address in addresses.into_iter().flatten() {
        let checked = timeout(policy.timeout, check_address(address, upstream, config)).await;
        let silent = || format!("no answer within {:?}", policy.timeout);
        let checked = checked.unwrap_or_else(|_| Err(NotPassed::Failed(silent())));
        result = judge_both(result, checked.map_err(|why| why.at(address)));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The result at an endpoint that was checked at one address after the other. A gateway of one family checks a pod of
/// both by one address.
fn judge_both(
    first: Result<(), NotPassed>,
    second: Result<(), NotPassed>,
) -> Result<(), NotPassed> {
    match (first, second) {
        (Err(NotPassed::Failed(why)), Err(NotPassed::NotMade(_))) => Err(NotPassed::Failed(why)),
        (_, second) => second,
    }
}

async fn check_address(
    address: SocketAddr,
    upstream: &Upstream,
    config: &UpstreamConfig,
) -> Result<(), NotPassed> {
    let failed = |error: std::io::Error| NotPassed::Failed(error.to_string());
    let from = SourceAddresses::of(upstream, config, address);
    let connected = from.connect(address, |_| Ok(())).await;
    let mut stream = connected.map_err(|error| match is_own_shortage(error.outcome()) {
        true => NotPassed::NotMade(error.to_string()),
        false => NotPassed::Failed(error.to_string()),
    })?;
    if config.proxy_protocol == Some(ProxyVersion::V2) {
        let header = local_header().map_err(|error| NotPassed::Failed(error.to_string()))?;
        stream.write_all(&header).await.map_err(failed)?;
    }
    let hello = config.check.as_ref().and_then(|check| check.hello.as_ref());
    let Some(hello) = hello else {
        return Ok(());
    };
    stream.write_all(&wire(hello)).await.map_err(failed)?;
    let mut answer = [0; ANSWER];
    match stream.read_exact(&mut answer).await {
        Ok(_) => judge(answer).map_err(NotPassed::Failed),
        Err(_) => {
            let closed = "it closed before it answered the hello";
            Err(NotPassed::Failed(closed.to_owned()))
        }
    }
}

/// The hello as it is sent. Its random and its key are the same each time, since no secret depends on them.
fn wire(hello: &CheckHello) -> Vec<u8> {
    let mut builder = HelloBuilder::tls13().key_shares(&[(X25519, 32)]);
    if let Some(name) = &hello.sni {
        builder = builder.server_name(name.as_str());
    }
    if !hello.alpn.is_empty() {
        builder = builder.alpn(
            &hello
                .alpn
                .iter()
                .map(|one| one.as_bytes())
                .collect::<Vec<_>>(),
        );
    }
    builder.wire()
}

/// Whether the first bytes of an answer are a ServerHello. A HelloRetryRequest is one too (RFC 8446 section 4.1.4).
fn judge(answer: [u8; ANSWER]) -> Result<(), String> {
    match answer {
        [22, 3, _, _, _, SERVER_HELLO] => Ok(()),
        [21, 3, ..] => Err("it answered the hello with an alert".to_owned()),
        _ => Err("its answer to the hello is no ServerHello".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_hello::{HelloParser, Progress};
    use crate::config::Config;
    use crate::server_name::{Name, ServerName};

    fn refused() -> NotPassed {
        NotPassed::Failed("refused".to_owned())
    }

    #[test]
    fn a_failure_at_one_address_counts_if_the_other_cannot_be_tried() {
        let not_made = || NotPassed::NotMade("no local port is left".to_owned());
        for (first, second, expected) in [
            (Err(refused()), Ok(()), Ok(())),
            (Err(not_made()), Ok(()), Ok(())),
            (Err(not_made()), Err(not_made()), Err(not_made())),
            (Err(refused()), Err(not_made()), Err(refused())),
            (Err(not_made()), Err(refused()), Err(refused())),
        ] {
            assert_eq!(judge_both(first, second), expected);
        }
    }

    #[test]
    fn a_check_that_ends_after_checks_were_turned_off_is_void() {
        let config = |upstream: &str| {
            let text = format!(
                "listeners: [{{ name: l, bind: '127.0.0.1:0' }}]\nupstreams: {{ u: {{ {upstream} }} }}"
            );
            Config::parse(&text, "test").unwrap()
        };
        let with = config("endpoints: ['127.0.0.1:1'], check: { fall: 1 }");
        // One keeps the upstream, and one replaces it over the same endpoint.
        for without in [
            config("endpoints: ['127.0.0.1:1']"),
            config("endpoints: ['127.0.0.1:1', '127.0.0.1:2']"),
        ] {
            let checked = Upstreams::default().prepare(&with);
            let endpoint = checked["u"]
                .endpoints()
                .iter()
                .next()
                .unwrap()
                .stats
                .clone();
            let failed = || Checked {
                upstream: "u".into(),
                check: UnderWay::begin(endpoint.clone()),
                result: Err(refused()),
            };
            note(&failed(), &checked);
            assert!(endpoint.health.is_unhealthy() && endpoint.check_failure().is_some());
            let late = failed();
            let in_force = checked.prepare(&without);
            in_force.adopt(&without);
            for noted in [false, true] {
                if noted {
                    note(&late, &in_force);
                }
                assert!(!endpoint.health.is_unhealthy());
                assert_eq!(endpoint.check_failure(), None);
            }
            assert!(endpoint.check().under_way.load(Ordering::Relaxed));
            drop(late);
            assert!(!endpoint.check().under_way.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn only_a_server_hello_passes() {
        for (answer, passes) in [
            ([22, 3, 3, 0, 90, 2], true),
            ([22, 3, 1, 0, 90, 2], true),
            ([21, 3, 3, 0, 2, 2], false),
            ([22, 3, 3, 0, 4, 1], false),
            (*b"HTTP/1", false),
            (*b"SSH-2.", false),
        ] {
            assert_eq!(judge(answer).is_ok(), passes, "{answer:?}");
        }
    }

    #[test]
    fn the_hello_names_what_the_config_says() {
        let name = "outbound_.80_._.svcb.apps.svc.cluster.local";
        let hello = CheckHello {
            sni: ServerName::parse(name.as_bytes()).ok(),
            alpn: vec!["istio".into(), "h2".into()],
        };
        let wire = wire(&hello);
        let mut parser = HelloParser::new(1 << 16);
        let Ok(Progress::Complete(hello)) = parser.parse(&wire) else {
            panic!("no hello: {wire:?}");
        };
        let asked = hello.server_name.as_ref().map(Name::as_str);
        assert_eq!(asked, Some(name));
        let alpn: Vec<&[u8]> = hello.alpn().collect();
        assert_eq!(alpn, [&b"istio"[..], b"h2"]);
    }
}
