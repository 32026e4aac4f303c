//! The part of a DestinationRule's traffic policy that is about connections.
//!
//! A part that cannot be read asks for nothing: unlike a TLS mode it closes no way into the mesh.

use std::time::Duration;

use serde::Deserialize;

use super::object::Lenient;
use crate::config::Balance;
use crate::source::kubernetes::records::wishes::{
    BalanceWishes, ConnectionWishes, EjectionWishes, PoolWishes,
};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConnectionSettings {
    connection_pool: Option<Lenient<ConnectionPool>>,
    outlier_detection: Option<Lenient<OutlierDetection>>,
    load_balancer: Option<Lenient<LoadBalancerSettings>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ConnectionPool {
    tcp: Option<TcpPool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TcpPool {
    max_connections: u32,
    connect_timeout: Option<String>,
    tcp_keepalive: Option<Keepalive>,
    idle_timeout: Option<String>,
    max_connection_duration: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Keepalive {
    time: Option<String>,
    interval: Option<String>,
    probes: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OutlierDetection {
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_errors: Option<u32>,
    consecutive_gateway_errors: Option<u32>,
    base_ejection_time: Option<String>,
    max_ejection_percent: u32,
    min_health_percent: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadBalancerSettings {
    simple: Option<String>,
    consistent_hash: Option<ConsistentHash>,
    warmup: Option<Warmup>,
    warmup_duration_secs: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ConsistentHash {
    use_source_ip: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Warmup {
    duration: Option<String>,
}

fn readable<T>(part: Option<&Lenient<T>>) -> Option<&T> {
    part?.0.as_ref().ok()
}

impl ConnectionSettings {
    pub(super) fn record(&self) -> ConnectionWishes {
        let tcp = readable(self.connection_pool.as_ref()).and_then(|pool| pool.tcp.as_ref());
        ConnectionWishes {
            pool: tcp.map(TcpPool::record),
            ejection: readable(self.outlier_detection.as_ref()).map(OutlierDetection::record),
            balance: readable(self.load_balancer.as_ref()).map(LoadBalancerSettings::record),
        }
    }
}

impl TcpPool {
    fn record(&self) -> PoolWishes {
        let keepalive = self.tcp_keepalive.as_ref();
        let time = |text: Option<&String>| text.and_then(|text| duration(text));
        PoolWishes {
            connections: self.max_connections,
            connect: time(self.connect_timeout.as_ref()),
            keepalive_time: time(keepalive.and_then(|of| of.time.as_ref())),
            keepalive_interval: time(keepalive.and_then(|of| of.interval.as_ref())),
            keepalive_probes: keepalive.map_or(0, |of| of.probes),
            idle: time(self.idle_timeout.as_ref()),
            max_age: time(self.max_connection_duration.as_ref()),
        }
    }
}

impl OutlierDetection {
    fn record(&self) -> EjectionWishes {
        let failures = self.consecutive_errors.or(self.consecutive_gateway_errors);
        EjectionWishes {
            failures: failures.unwrap_or(0),
            base: self.base_ejection_time.as_deref().and_then(duration),
            max_percent: self.max_ejection_percent,
            min_healthy_percent: self.min_health_percent,
        }
    }
}

impl LoadBalancerSettings {
    fn record(&self) -> BalanceWishes {
        let simple = match self.simple.as_deref() {
            Some("LEAST_REQUEST" | "LEAST_CONN") => Some(Balance::LeastConnections),
            Some("ROUND_ROBIN") => Some(Balance::RoundRobin),
            Some("RANDOM") => Some(Balance::Random),
            _ => None,
        };
        let hash = self.consistent_hash.as_ref();
        let by_source = hash.filter(|hash| hash.use_source_ip);
        let warmup = self
            .warmup
            .as_ref()
            .and_then(|warmup| warmup.duration.as_deref());
        let warmup = warmup.or(self.warmup_duration_secs.as_deref());
        BalanceWishes {
            balance: by_source.map(|_| Balance::SourceHash).or(simple),
            slow_start: warmup.and_then(duration),
        }
    }
}

/// A duration as Go writes it, such as `1m30s`, `1.5h` or `30ms`. `None` if it is no such text.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = cut(rest, |c| c.is_ascii_digit() || c == '.')?;
        let (unit, after) = cut(after, |c| !c.is_ascii_digit() && c != '.')?;
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let fraction = fraction.get(..fraction.len().min(9))?;
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part: u128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().ok()?
        };
        let whole = whole.checked_mul(unit)?;
        nanos = nanos
            .checked_add(whole)?
            .checked_add(part.checked_mul(unit)? / scale)?;
        rest = after;
    }
    let nanos = u64::try_from(nanos).ok()?;
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// The longest beginning of characters that `belong`, not empty, and the rest.
fn cut(text: &str, belong: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !belong(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(settings: Value) -> ConnectionWishes {
        let settings: ConnectionSettings = serde_json::from_value(settings).unwrap();
        settings.record()
    }

    #[test]
    fn durations_are_those_of_go() {
        let millis = Duration::from_millis;
        for (text, wanted) in [
            ("30ms", Some(millis(30))),
            ("1m30s", Some(millis(90_000))),
            ("1.5h", Some(millis(5_400_000))),
            ("0.25s", Some(millis(250))),
            (".5s", Some(millis(500))),
            ("5", None),
            ("s", None),
            ("", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_part_that_cannot_be_read_asks_for_nothing_and_leaves_the_others() {
        let wishes = record(json!({
            "connectionPool": { "tcp": { "maxConnections": "many" } },
            "outlierDetection": { "consecutive5xxErrors": 7, "baseEjectionTime": "soon" },
            "loadBalancer": { "simple": "PASSTHROUGH" },
        }));
        assert_eq!(wishes.pool, None);
        let ejection = wishes.ejection.unwrap();
        assert_eq!((ejection.failures, ejection.base), (7, None));
        assert_eq!(wishes.balance, Some(BalanceWishes::default()));
        assert_eq!(record(json!({})), ConnectionWishes::default());
    }

    #[test]
    fn balance_is_by_the_source_where_a_rule_hashes_it() {
        for (settings, wanted) in [
            (
                json!({ "simple": "LEAST_CONN" }),
                Some(Balance::LeastConnections),
            ),
            (json!({ "simple": "RANDOM" }), Some(Balance::Random)),
            (
                json!({ "consistentHash": { "useSourceIp": true } }),
                Some(Balance::SourceHash),
            ),
            (json!({ "consistentHash": { "httpHeaderName": "x" } }), None),
        ] {
            let wishes = record(json!({ "loadBalancer": settings }));
            assert_eq!(wishes.balance.unwrap().balance, wanted);
        }
        let warmup = record(json!({ "loadBalancer": { "warmup": { "duration": "10s" } } }));
        assert_eq!(
            warmup.balance.unwrap().slow_start,
            Some(Duration::from_secs(10))
        );
    }
}
