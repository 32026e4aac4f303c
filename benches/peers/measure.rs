//! The measurements: one run of one kind of work through one gateway.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::kind::Kind;
use crate::load::{Bulk, Connects, Direction, Latencies, Load, Ping, SMALL, Session, Shape, Work};
use crate::machine::{Processes, run_first};
use crate::options::Options;
use crate::peer::{Backends, Route, Running};

/// The number of short connections open at a time.
const CONNECTS: usize = 64;
/// The number of bulk streams beside the small messages.
const MIXED: usize = 16;
/// The time for a gateway to free the resources of closed connections, and to settle after a start.
const SETTLE: Duration = Duration::from_millis(150);
const SETTLE_MEMORY: Duration = Duration::from_millis(700);
/// The number of clients of a burst that connect at the same time.
const AT_ONCE: usize = 2000;
/// The sessions before those whose memory is measured.
const FIRST: usize = 16;
/// The time limit for handshakes to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time after a burst in which a gateway may give its memory back.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The results of one run, by the metric's name.
pub type Values = BTreeMap<String, f64>;

/// The backends' sockets, and the duration of a measurement.
#[derive(Debug)]
pub struct Bench {
    main: TcpListener,
    aside: TcpListener,
    warm_up: Duration,
    /// The duration of a measurement.
    pub measured: Duration,
    shape: Shape,
    clients: usize,
    idle: usize,
}

impl Bench {
    /// Creates the bench for the options, with backends on this address.
    pub fn new(options: &Options, backends: IpAddr) -> io::Result<Self> {
        let listen = || strait::socket::bind((backends, 0).into());
        Ok(Self {
            main: listen()?,
            aside: listen()?,
            warm_up: options.warm_up(),
            measured: options.measured(),
            shape: options.shape(),
            clients: options.clients,
            idle: options.idle(),
        })
    }

    /// The addresses of the backends.
    pub fn backends(&self) -> io::Result<Backends> {
        Ok(Backends {
            main: self.main.local_addr()?,
            aside: self.aside.local_addr()?,
        })
    }

    /// Runs the work once. `Memory` and `Burst` need a gateway that has not served before.
    pub fn run(&self, kind: Kind, gateway: &Running) -> io::Result<Values> {
        let values = match kind {
            Kind::Bulk(direction, streams) => self.bulk(gateway, direction, streams)?.values(),
            Kind::Connect => self.connect(gateway)?,
            Kind::Ping(connections) => self.ping(gateway, connections)?,
            Kind::Mixed => self.mixed(gateway)?,
            Kind::Beside(bytes) => self.beside(gateway, bytes)?,
            Kind::Memory => self.memory(gateway)?,
            Kind::Burst(sessions) => self.burst(gateway, sessions)?,
            Kind::Scale => return Err(io::Error::other("scale brings its own gateway")),
        };
        std::thread::sleep(SETTLE);
        Ok(values)
    }

    /// The clients and the backend of one run.
    pub fn load<W: Work>(&self, work: W, gateway: &Running, route: Route) -> io::Result<Load<W>> {
        let listener = match route {
            Route::Main => &self.main,
            Route::Aside => &self.aside,
        };
        Load::new(work, gateway.address(route), route.name(), listener)
    }

    /// Warms up, forgets the counts, and measures. Returns the real duration and the gateway's CPU
    /// time.
    fn window<W: Work>(
        &self,
        load: &mut Load<W>,
        gateway: &Running,
    ) -> io::Result<(Duration, Duration)> {
        let processes = gateway.processes();
        let cpu_time = || {
            processes
                .as_ref()
                .map_or(Duration::ZERO, Processes::cpu_time)
        };
        load.run_until(Instant::now() + self.warm_up)?;
        load.work.reset();
        let (start, cpu) = (Instant::now(), cpu_time());
        load.run_until(start + self.measured)?;
        load.failed.check()?;
        Ok((start.elapsed(), cpu_time().saturating_sub(cpu)))
    }

    fn bulk(&self, gateway: &Running, direction: Direction, streams: usize) -> io::Result<Rate> {
        let work = Bulk::new(direction, self.shape)?;
        let mut load = self.load(work, gateway, Route::Main)?;
        load.open(streams, streams)?;
        let (time, cpu) = self.window(&mut load, gateway)?;
        Ok(Rate {
            bytes: load.work.bytes,
            time,
            cpu,
        })
    }

    fn connect(&self, gateway: &Running) -> io::Result<Values> {
        let mut load = self.load(Connects::new()?, gateway, Route::Main)?;
        load.start(CONNECTS)?;
        let (time, cpu) = self.window(&mut load, gateway)?;
        Ok(messages(&load.work.latencies, time, cpu))
    }

    fn ping(&self, gateway: &Running, connections: usize) -> io::Result<Values> {
        let mut load = self.load(Ping::new(&[SMALL])?, gateway, Route::Main)?;
        load.open(connections, connections)?;
        let (time, cpu) = self.window(&mut load, gateway)?;
        Ok(messages(&load.work.latencies[0], time, cpu))
    }

    /// Measures messages of a size beside small ones. One thread serves the ends of both, so that neither
    /// waits for the other outside of the gateway.
    fn beside(&self, gateway: &Running, bytes: usize) -> io::Result<Values> {
        let mut load = self.load(Ping::new(&[bytes, SMALL])?, gateway, Route::Main)?;
        load.open(2 * self.clients, self.clients)?;
        let (time, cpu) = self.window(&mut load, gateway)?;
        let mut values = messages(&load.work.latencies[0], time, cpu);
        values.remove("cpu_us");
        let small = messages(&load.work.latencies[1], time, cpu);
        let small = small
            .into_iter()
            .filter(|(name, _)| name != "cpu_us")
            .map(|(name, value)| (format!("small_{name}"), value));
        values.extend(small);
        Ok(values)
    }

    /// Measures the bulk alone, then with small messages beside it. The ends of the messages run before
    /// those of the bulk, so that the wait in the gateway is measured and not the wait in the load.
    fn mixed(&self, gateway: &Running) -> io::Result<Values> {
        let alone = self.bulk(gateway, Direction::Down, MIXED)?;
        // The bulk opens its streams first, so it ends later than this.
        let end = Instant::now() + self.warm_up + self.measured;
        let (beside, pinged) = std::thread::scope(|scope| {
            let pinging = scope.spawn(|| self.ping_until(end, gateway));
            (self.bulk(gateway, Direction::Down, MIXED), pinging.join())
        });
        let pinged = pinged.map_err(|_| io::Error::other("the pinging thread panicked"))?;
        let (latencies, first) = pinged?;
        let beside = beside?;
        let mut values = messages(&latencies, beside.time, Duration::ZERO);
        values.remove("rate");
        values.remove("cpu_us");
        values.insert("alone_gbps".to_owned(), alone.gbps());
        values.insert("gbps".to_owned(), beside.gbps());
        values.insert(
            "loss_percent".to_owned(),
            100.0 * (1.0 - beside.gbps() / alone.gbps()),
        );
        values.insert("ends_run_first".to_owned(), f64::from(u8::from(first)));
        Ok(values)
    }

    /// Also returns whether this thread could run before the bulk's.
    fn ping_until(&self, end: Instant, gateway: &Running) -> io::Result<(Latencies, bool)> {
        let first = run_first();
        let mut ping = self.load(Ping::new(&[SMALL])?, gateway, Route::Aside)?;
        ping.open(1, 1)?;
        ping.run_until(end - self.measured)?;
        ping.work.reset();
        ping.run_until(end)?;
        ping.failed.check()?;
        let [latencies] = <[Latencies; 1]>::try_from(ping.work.latencies)
            .map_err(|_| io::Error::other("one size has one set of latencies"))?;
        Ok((latencies, first))
    }

    fn memory(&self, gateway: &Running) -> io::Result<Values> {
        let Some(processes) = gateway.processes() else {
            return Ok(Values::new());
        };
        std::thread::sleep(SETTLE_MEMORY);
        let at_rest = processes.resident();
        self.first_sessions(gateway)?;
        let before = processes.resident();
        let mut load = self.load(Session::new(), gateway, Route::Main)?;
        load.open(self.idle, CONNECTS)?;
        established(&mut load, self.idle, SETTLE_MEMORY)?;
        let idle = kib(processes.resident(), before, self.idle);
        Ok(Values::from([
            ("rest_mib".to_owned(), at_rest as f64 / MIB),
            ("idle_kib".to_owned(), idle),
        ]))
    }

    /// Lets a few sessions come and go, so that the code that serves them is in memory. The first one of a process brings
    /// it there, and no other pays for it.
    fn first_sessions(&self, gateway: &Running) -> io::Result<()> {
        let mut load = self.load(Session::new(), gateway, Route::Main)?;
        load.open(FIRST, FIRST)?;
        established(&mut load, FIRST, SETTLE)?;
        load.leave();
        load.run_until(Instant::now() + SETTLE_MEMORY)
    }

    fn burst(&self, gateway: &Running, sessions: usize) -> io::Result<Values> {
        let Some(processes) = gateway.processes() else {
            return Ok(Values::new());
        };
        std::thread::sleep(SETTLE_MEMORY);
        self.first_sessions(gateway)?;
        let at_rest = processes.resident();
        let mut load = self.load(Session::new(), gateway, Route::Main)?;
        let half = sessions / 2;
        let mut resident = [0; 2];
        for (more, resident) in [half, sessions - half].into_iter().zip(&mut resident) {
            let all = load.work.established + more;
            load.open(more, AT_ONCE)?;
            established(&mut load, all, SETTLE_MEMORY)?;
            *resident = processes.resident();
        }
        load.leave();
        load.run_until(Instant::now() + AFTERWARDS)?;
        let left = processes.resident() as f64 - at_rest as f64;
        let [some, all] = resident;
        Ok(Values::from([
            ("idle_kib".to_owned(), kib(all, at_rest, sessions)),
            ("slope_kib".to_owned(), kib(all, some, sessions - half)),
            ("left_mib".to_owned(), left / MIB),
        ]))
    }
}

const MIB: f64 = (1 << 20) as f64;

/// The growth of memory for each of so many sessions, in KiB.
fn kib(now: u64, before: u64, sessions: usize) -> f64 {
    now.saturating_sub(before) as f64 / 1024.0 / sessions as f64
}

/// Runs until so many sessions stand, and then for `settle`.
fn established(load: &mut Load<Session>, wanted: usize, settle: Duration) -> io::Result<()> {
    let give_up = Instant::now() + PATIENCE;
    while load.work.established < wanted && Instant::now() < give_up {
        load.run_until(Instant::now() + SETTLE)?;
    }
    load.run_until(Instant::now() + settle)?;
    load.failed.check()?;
    match load.work.established {
        all if all == wanted => Ok(()),
        some => Err(io::Error::other(format!(
            "{some} of {wanted} sessions stand"
        ))),
    }
}

/// The number of bytes in a time.
#[derive(Debug)]
struct Rate {
    bytes: u64,
    time: Duration,
    cpu: Duration,
}

impl Rate {
    fn gbps(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.time.as_secs_f64()
    }

    fn values(&self) -> Values {
        let gigabytes = self.bytes as f64 / 1e9;
        Values::from([
            ("gbps".to_owned(), self.gbps()),
            (
                "cpu_ms_per_gb".to_owned(),
                self.cpu.as_secs_f64() * 1e3 / gigabytes,
            ),
        ])
    }
}

fn messages(latencies: &Latencies, time: Duration, cpu: Duration) -> Values {
    let count = latencies.len() as f64;
    let mut values = Values::from([
        ("rate".to_owned(), count / time.as_secs_f64()),
        ("cpu_us".to_owned(), cpu.as_secs_f64() * 1e6 / count),
    ]);
    for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        let nanoseconds = latencies.value_at_quantile(quantile);
        values.insert(name.to_owned(), nanoseconds as f64 / 1e3);
    }
    values
}
