//! The part of a DestinationRule's traffic policy that is about connections, in the API's form.

use std::time::Duration;

use serde::Serialize;

use crate::config::Balance;
use crate::source::kubernetes::records::wishes::{
    BalanceWishes, ConnectionWishes, EjectionWishes, PoolWishes,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenConnections {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_pool: Option<WrittenPool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outlier_detection: Option<WrittenOutliers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<WrittenBalance>,
}

#[derive(Serialize)]
struct WrittenPool {
    tcp: WrittenTcpPool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenTcpPool {
    max_connections: u32,
    connect_timeout: Option<String>,
    tcp_keepalive: WrittenKeepalive,
    idle_timeout: Option<String>,
    max_connection_duration: Option<String>,
}

#[derive(Serialize)]
struct WrittenKeepalive {
    time: Option<String>,
    interval: Option<String>,
    probes: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenOutliers {
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_errors: u32,
    base_ejection_time: Option<String>,
    max_ejection_percent: u32,
    min_health_percent: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenBalance {
    simple: Option<&'static str>,
    consistent_hash: WrittenHash,
    warmup_duration_secs: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenHash {
    use_source_ip: bool,
}

/// A duration in the spelling of Go.
fn text(duration: &Option<Duration>) -> Option<String> {
    duration.map(|duration| format!("{}ns", duration.as_nanos()))
}

pub(super) fn connections(wishes: &ConnectionWishes) -> WrittenConnections {
    let ConnectionWishes {
        pool,
        ejection,
        balance,
    } = wishes;
    WrittenConnections {
        connection_pool: pool.as_ref().map(|wishes| WrittenPool { tcp: tcp(wishes) }),
        outlier_detection: ejection.as_ref().map(outliers),
        load_balancer: balance.as_ref().map(load_balancer),
    }
}

fn tcp(pool: &PoolWishes) -> WrittenTcpPool {
    let PoolWishes {
        connections,
        connect,
        keepalive_time,
        keepalive_interval,
        keepalive_probes,
        idle,
        max_age,
    } = pool;
    WrittenTcpPool {
        max_connections: *connections,
        connect_timeout: text(connect),
        tcp_keepalive: WrittenKeepalive {
            time: text(keepalive_time),
            interval: text(keepalive_interval),
            probes: *keepalive_probes,
        },
        idle_timeout: text(idle),
        max_connection_duration: text(max_age),
    }
}

fn outliers(ejection: &EjectionWishes) -> WrittenOutliers {
    let EjectionWishes {
        failures,
        base,
        max_percent,
        min_healthy_percent,
    } = ejection;
    WrittenOutliers {
        consecutive_errors: *failures,
        base_ejection_time: text(base),
        max_ejection_percent: *max_percent,
        min_health_percent: *min_healthy_percent,
    }
}

fn load_balancer(wishes: &BalanceWishes) -> WrittenBalance {
    let BalanceWishes {
        balance,
        slow_start,
    } = wishes;
    WrittenBalance {
        simple: match balance {
            Some(Balance::LeastConnections) => Some("LEAST_REQUEST"),
            Some(Balance::RoundRobin) => Some("ROUND_ROBIN"),
            Some(Balance::Random) => Some("RANDOM"),
            // No rule asks for a hash of the name.
            None | Some(Balance::SourceHash | Balance::NameHash) => None,
        },
        consistent_hash: WrittenHash {
            use_source_ip: *balance == Some(Balance::SourceHash),
        },
        warmup_duration_secs: text(slow_start),
    }
}
