//! A simulation of the choice of endpoints by many replicas that do not know of each other's connections.
//!
//! `cargo bench --bench balance` prints its tables. Each replica has
//! strait's own balancer; only the network and the clock are simulated: connections come at random times
//! (a Poisson process) to a replica at random, as a Service spreads them, and last for random times (exponential, with
//! a mean of one). The same seed gives the same tables. The test command runs a small part.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strait::config::Config;
use strait::upstream::{Picked, Upstream, Upstreams};

/// The times, in mean durations of a connection, until the numbers of connections are steady, and then between samples.
const WARM_UP: f64 = 6.0;
const BETWEEN: f64 = 0.25;
const SAMPLES: usize = 60;
const RUNS: usize = 5;

/// A world of replicas and endpoints.
#[derive(Clone)]
struct World {
    balance: &'static str,
    /// The number of endpoints in each zone. One zone is no zone.
    endpoints: Vec<usize>,
    /// The number of replicas in each zone.
    replicas: Vec<usize>,
    /// The mean number of connections of an endpoint.
    mean: f64,
    /// The number of endpoints that each replica knows, chosen at random. `None` for all.
    subset: Option<usize>,
}

/// The figures of a run.
#[derive(Clone, Copy)]
struct Figures {
    /// The connections of the endpoint with the most of them, by the mean of all. The mean of all samples.
    peak: f64,
    /// The standard deviation of the endpoints' connections, by their mean.
    deviation: f64,
    /// The part of the connections that stayed in their replica's zone.
    near: f64,
}

/// The end of a connection, in the order of time.
struct Departure {
    at: f64,
    endpoint: usize,
    _held: Picked,
}

impl PartialEq for Departure {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Departure {}
impl PartialOrd for Departure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Departure {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at)
    }
}

/// A random time with this mean.
fn exponential(mean: f64) -> f64 {
    -mean * (1.0 - fastrand::f64()).ln()
}

fn address(endpoint: usize) -> SocketAddr {
    let bits = u32::try_from(endpoint).unwrap_or(u32::MAX);
    SocketAddr::from((
        std::net::Ipv4Addr::from_bits(0x0a00_0001 + bits).octets(),
        8443,
    ))
}

impl World {
    /// The zone of each endpoint or replica, of which there are so many in each zone.
    fn zones(counts: &[usize]) -> Vec<usize> {
        let zones = counts.iter().enumerate();
        zones
            .flat_map(|(zone, count)| std::iter::repeat_n(zone, *count))
            .collect()
    }

    fn replica(&self, zone: usize, zones: &[usize]) -> Arc<Upstream> {
        let mut known: Vec<usize> = (0..zones.len()).collect();
        if let Some(subset) = self.subset {
            fastrand::shuffle(&mut known);
            known.truncate(subset);
        }
        let zoned = self.endpoints.len() > 1;
        let endpoints = known.iter().map(|endpoint| {
            let zone = zones[*endpoint];
            match zoned {
                true => format!("{{ address: '{}', zone: z{zone} }}", address(*endpoint)),
                false => format!("'{}'", address(*endpoint)),
            }
        });
        let endpoints = endpoints.collect::<Vec<_>>().join(", ");
        let own = match zoned {
            true => format!("zone: z{zone}"),
            false => String::new(),
        };
        let text = format!(
            "
{own}
listeners:
  - {{ name: bench, bind: '127.0.0.1:0', routes: [{{ sni: a.test, alpn: any, upstream: main }}] }}
upstreams:
  main: {{ balance: {}, endpoints: [{endpoints}] }}
",
            self.balance
        );
        let config = Config::parse(&text, "bench").unwrap_or_else(|error| panic!("{error}"));
        let all = Upstreams::default().prepare(&config);
        let upstream = all.get("main").cloned();
        upstream.unwrap_or_else(|| panic!("no upstream"))
    }

    fn run(&self, seed: u64) -> Figures {
        fastrand::seed(seed);
        let endpoint_zones = Self::zones(&self.endpoints);
        let replica_zones = Self::zones(&self.replicas);
        let number = endpoint_zones.len();
        let replicas: Vec<Arc<Upstream>> = replica_zones
            .iter()
            .map(|zone| self.replica(*zone, &endpoint_zones))
            .collect();
        let by_address: HashMap<SocketAddr, usize> =
            (0..number).map(|one| (address(one), one)).collect();
        let mut connections = vec![0_u32; number];
        let mut departures: BinaryHeap<Reverse<Departure>> = BinaryHeap::new();
        let between_arrivals = 1.0 / (self.mean * number as f64);
        let (mut now, mut next_sample) = (0.0, WARM_UP);
        let (mut peak, mut deviation, mut samples) = (0.0, 0.0, 0);
        let (mut near, mut all) = (0_u64, 0_u64);
        while samples < SAMPLES {
            now += exponential(between_arrivals);
            while let Some(Reverse(first)) = departures.peek()
                && first.at <= now
            {
                connections[first.endpoint] -= 1;
                departures.pop();
            }
            if now >= next_sample {
                let of = Sample::of(&connections);
                peak += of.peak;
                deviation += of.deviation;
                samples += 1;
                next_sample += BETWEEN;
            }
            let replica = fastrand::usize(..replicas.len());
            let anywhere = replicas[replica].ties_to(None);
            let picked = replicas[replica].pick(&[], &anywhere);
            let mut held = picked.unwrap_or_else(|error| panic!("{error:?}"));
            held.connected(Duration::ZERO);
            let endpoint = by_address[&held.endpoint()];
            connections[endpoint] += 1;
            all += 1;
            near += u64::from(endpoint_zones[endpoint] == replica_zones[replica]);
            departures.push(Reverse(Departure {
                at: now + exponential(1.0),
                endpoint,
                _held: held,
            }));
        }
        let samples = samples as f64;
        Figures {
            peak: peak / samples,
            deviation: deviation / samples,
            near: near as f64 / all as f64,
        }
    }

    /// The medians of the runs, each with the least and the greatest.
    fn figures(&self) -> [Spread; 3] {
        let runs: Vec<Figures> = (0..RUNS).map(|run| self.run(run as u64)).collect();
        let of = |value: fn(&Figures) -> f64| Spread::of(runs.iter().map(value));
        [
            of(|run| run.peak),
            of(|run| run.deviation),
            of(|run| run.near),
        ]
    }
}

struct Sample {
    peak: f64,
    deviation: f64,
}

impl Sample {
    fn of(connections: &[u32]) -> Self {
        let number = connections.len() as f64;
        let mean = connections.iter().copied().map(f64::from).sum::<f64>() / number;
        let squares = connections
            .iter()
            .map(|count| (f64::from(*count) - mean).powi(2));
        let most = connections.iter().copied().max().unwrap_or(0);
        Self {
            peak: f64::from(most) / mean,
            deviation: (squares.sum::<f64>() / number).sqrt() / mean,
        }
    }
}

#[derive(Clone, Copy)]
struct Spread {
    least: f64,
    median: f64,
    greatest: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self {
            least: values[0],
            median: values[values.len() / 2],
            greatest: values[values.len() - 1],
        }
    }

    fn times(self) -> String {
        let Self {
            least,
            median,
            greatest,
        } = self;
        format!("{median:.2} ({least:.2} to {greatest:.2})")
    }

    fn percent(self) -> String {
        format!("{:.0} %", self.median * 100.0)
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |one: &str| arguments.iter().any(|argument| argument == one);
    // Test runners ask for a list of tests.
    if has("--list") {
        let list = if has("--ignored") {
            ""
        } else {
            "balance: test\n"
        };
        return write!(io::stdout(), "{list}");
    }
    match has("--bench") {
        true => tables(),
        false => test(),
    }
}

fn tables() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{}", replicas_table())?;
    writeln!(out, "{}", zones_table())?;
    writeln!(out, "{}", subsets_table())
}

/// The most loaded endpoint, by the number of replicas.
fn replicas_table() -> String {
    let mut text =
        String::from("| 100 endpoints | 1 replica | 2 | 10 | 100 |\n|---|---|---|---|---|\n");
    for mean in [3.0, 10.0, 100.0] {
        for balance in ["least_connections", "round_robin", "random"] {
            let cells = [1, 2, 10, 100].map(|replicas| {
                let world = World {
                    balance,
                    endpoints: vec![100],
                    replicas: vec![replicas],
                    mean,
                    subset: None,
                };
                world.figures()[0].times()
            });
            text += &format!(
                "| {mean} connections each, `{balance}` | {} |\n",
                cells.join(" | ")
            );
        }
    }
    text
}

/// The effect of zones that are even or not.
fn zones_table() -> String {
    let mut text = String::from(
        "| endpoints in each zone | replicas in each zone | stays in its zone | most loaded endpoint |\n|---|---|---|---|\n",
    );
    for (endpoints, replicas) in [
        (vec![100], vec![9]),
        (vec![34, 33, 33], vec![3, 3, 3]),
        (vec![34, 33, 33], vec![5, 2, 2]),
        (vec![60, 20, 20], vec![3, 3, 3]),
        (vec![90, 5, 5], vec![3, 3, 3]),
        (vec![34, 33, 33], vec![9, 0, 0]),
    ] {
        let world = World {
            balance: "least_connections",
            endpoints: endpoints.clone(),
            replicas: replicas.clone(),
            mean: 20.0,
            subset: None,
        };
        let [peak, _, near] = world.figures();
        let near = match endpoints.len() {
            1 => "-".to_owned(),
            _ => near.percent(),
        };
        text += &format!(
            "| {} | {} | {near} | {} |\n",
            list(&endpoints),
            list(&replicas),
            peak.times()
        );
    }
    text
}

fn list(counts: &[usize]) -> String {
    let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
    counts.join(", ")
}

/// The effect of replicas that know only some of the endpoints.
fn subsets_table() -> String {
    let mut text = String::from(
        "| endpoints that each of 100 replicas knows, of 1,000 | most loaded endpoint | deviation |\n|---|---|---|\n",
    );
    for subset in [None, Some(200), Some(50), Some(20)] {
        let world = World {
            balance: "least_connections",
            endpoints: vec![1000],
            replicas: vec![100],
            mean: 10.0,
            subset,
        };
        let [peak, deviation, _] = world.figures();
        let known = subset.map_or("all".to_owned(), |known| known.to_string());
        text += &format!("| {known} | {} | {} |\n", peak.times(), deviation.times());
    }
    text
}

/// Runs a small world, in which one replica that sees all must do better than chance.
fn test() -> io::Result<()> {
    let world = |balance| World {
        balance,
        endpoints: vec![20],
        replicas: vec![1],
        mean: 10.0,
        subset: None,
    };
    let [least, random] =
        ["least_connections", "random"].map(|balance| world(balance).run(1).deviation);
    assert!(
        least < random / 2.0,
        "least connections deviate by {least}, a random choice by {random}"
    );
    // Printed like a test program, for tools that add up tests.
    writeln!(
        io::stdout(),
        "test result: ok. 1 passed; 0 failed; 0 ignored"
    )
}
