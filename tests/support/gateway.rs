//! A gateway on a thread of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use strait::app::{AccessLogSink, Gateway, Options};
use strait::config::{Config, Loaded, Machine};
use strait::tools::records::LogLine;
use strait::tools::scrape::{self, Samples};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::DEADLINE;
use super::config_text::ConfigText;
use super::server::Server;

/// A running gateway; stops when dropped.
pub struct TestGateway {
    commands: UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
    addresses: Addresses,
    lines: Receiver<Vec<u8>>,
    /// Records that came while another one was looked for.
    set_aside: RefCell<VecDeque<LogLine>>,
}

#[derive(Debug, Clone)]
struct Addresses {
    listeners: Vec<(String, SocketAddr)>,
    admin: SocketAddr,
    status: SocketAddr,
    metrics: SocketAddr,
}

enum Command {
    Reload(
        Arc<Config>,
        Sender<Result<Vec<(String, SocketAddr)>, String>>,
    ),
    Drain,
    Stop,
}

/// Hands over whole lines.
struct LineSink {
    unfinished: Vec<u8>,
    lines: Sender<Vec<u8>>,
}

impl Write for LineSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let _ = self.lines.send(std::mem::take(&mut self.unfinished));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse(text: &str) -> Arc<Config> {
    parse_on(&Machine::current(), text)
}

fn parse_on(machine: &Machine, text: &str) -> Arc<Config> {
    match Loaded::parse(text.as_bytes(), "test", machine) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn names(gateway: &Gateway) -> Vec<(String, SocketAddr)> {
    let listeners = gateway.listeners().into_iter();
    listeners.map(|(name, at)| (name.to_string(), at)).collect()
}

async fn run(
    config: Arc<Config>,
    sink: LineSink,
    host_root: Option<PathBuf>,
    started: Sender<Addresses>,
    mut commands: UnboundedReceiver<Command>,
) {
    let options = Options {
        access_log: AccessLogSink::Writer(Box::new(sink)),
        host_root,
        ..Options::default()
    };
    let gateway = Gateway::start(config, options).await.unwrap();
    let addresses = Addresses {
        listeners: names(&gateway),
        admin: gateway.admin().unwrap(),
        status: gateway.status().unwrap(),
        metrics: gateway.metrics().unwrap(),
    };
    started.send(addresses).unwrap();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Reload(config, done) => {
                let result = gateway.reload(config).await;
                let result = result.map(|()| names(&gateway));
                let _ = done.send(result.map_err(|error| error.to_string()));
            }
            Command::Drain => {
                gateway.drain();
                // Goes on by itself; a stop must still get through.
                let finished = gateway.finished();
                tokio::pin!(finished);
                tokio::select! {
                    result = &mut finished => result.unwrap(),
                    () = until_stop(&mut commands) => {}
                }
                return;
            }
            Command::Stop => break,
        }
    }
    gateway.stop();
    gateway.finished().await.unwrap();
}

async fn until_stop(commands: &mut UnboundedReceiver<Command>) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Stop) {
            return;
        }
    }
}

impl TestGateway {
    /// A gateway in front of an echo, with these further keys of its listener.
    pub fn with_echo(lines: &[&str]) -> (Self, Server) {
        let echo = Server::echo();
        let config = ConfigText::to(&[echo.address]);
        let add = |config: ConfigText, line: &&str| config.listener(line);
        (Self::start(&lines.iter().fold(config, add)), echo)
    }

    /// Starts a gateway and waits until it listens.
    pub fn start(config: &ConfigText) -> Self {
        Self::start_with(parse(&config.text()), None)
    }

    /// As [`TestGateway::start`], on a host whose files of `/proc` and `/sys` lie in a folder.
    pub fn start_on(config: &ConfigText, host_root: Option<PathBuf>) -> Self {
        Self::start_with(parse(&config.text()), host_root)
    }

    /// As [`TestGateway::start`], as if on this Kubernetes node.
    pub fn start_on_node(node: &str, config: &ConfigText) -> Self {
        let machine = Machine {
            node: Some(node.to_owned()),
            ..Machine::current()
        };
        Self::start_with(parse_on(&machine, &config.text()), None)
    }

    fn start_with(config: Arc<Config>, host_root: Option<PathBuf>) -> Self {
        let (commands, inbox) = unbounded_channel();
        let (started, addresses) = channel();
        let (sender, lines) = channel();
        let sink = LineSink {
            unfinished: Vec::new(),
            lines: sender,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, run(config, sink, host_root, started, inbox));
        });
        Self {
            commands,
            thread: Some(thread),
            addresses: addresses.recv_timeout(DEADLINE).expect("gateway starts"),
            lines,
            set_aside: RefCell::default(),
        }
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses.listeners[0].1
    }

    /// The address of the status server.
    pub fn status(&self) -> SocketAddr {
        self.addresses.status
    }

    /// Takes another config into use, and returns where it listens.
    pub fn reload(&self, config: &ConfigText) -> Result<Vec<(String, SocketAddr)>, String> {
        self.reload_text(&config.text())
    }

    /// As [`TestGateway::reload`].
    pub fn reload_text(&self, config: &str) -> Result<Vec<(String, SocketAddr)>, String> {
        let (done, result) = channel();
        let config = parse(config);
        self.commands.send(Command::Reload(config, done)).unwrap();
        result.recv_timeout(DEADLINE).expect("reload ends")
    }

    /// Begins to drain.
    pub fn drain(&self) {
        self.commands.send(Command::Drain).unwrap();
    }

    /// Waits until the gateway has ended by itself.
    pub fn wait_finished(mut self) -> Vec<LogLine> {
        let thread = self.thread.take().unwrap();
        super::wait_until("the gateway has ended", || thread.is_finished());
        thread.join().unwrap();
        self.set_aside
            .take()
            .into_iter()
            .chain(self.rest())
            .collect()
    }

    /// Whether the gateway has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn rest(&self) -> Vec<LogLine> {
        self.lines.try_iter().map(|line| record(&line)).collect()
    }

    /// The next record.
    #[track_caller]
    pub fn record(&self) -> LogLine {
        if let Some(record) = self.set_aside.borrow_mut().pop_front() {
            return record;
        }
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => record(&line),
            Err(_) => panic!("no record came"),
        }
    }

    /// The next line of the access log that nobody has looked at, whatever its format.
    #[track_caller]
    pub fn line(&self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        String::from_utf8(line.expect("a line comes")).unwrap()
    }

    /// The record of the connection that came from `source`.
    #[track_caller]
    pub fn record_of(&self, source: SocketAddr) -> LogLine {
        let mut others = VecDeque::new();
        loop {
            let record = self.record();
            if record.source == source {
                let mut set_aside = self.set_aside.borrow_mut();
                others.append(&mut set_aside);
                *set_aside = others;
                return record;
            }
            others.push_back(record);
        }
    }

    /// Asserts that no record comes for a while.
    #[track_caller]
    pub fn no_record_within(&self, time: Duration) {
        match self.lines.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the gateway has ended"),
            Ok(line) => panic!("unexpected record: {:?}", record(&line)),
        }
    }

    /// The status and the body of `GET path` on the status server; `None` when nobody listens.
    pub fn health(&self, path: &str) -> Option<(u16, String)> {
        get(self.addresses.status, path).ok()
    }

    /// The address of its admin server.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// The body of `GET path` on the admin server, whatever its status.
    pub fn admin_text(&self, path: &str) -> String {
        get(self.addresses.admin, path).unwrap().1
    }

    /// The body of `GET path` on the admin server, which need not be text.
    pub fn admin_bytes(&self, path: &str) -> Vec<u8> {
        let address = self.addresses.admin;
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let head = reply.windows(4).position(|end| end == b"\r\n\r\n");
        reply.split_off(head.expect("a head") + 4)
    }

    /// The status and the body of what `method` asks of the admin server at `path`.
    pub fn admin(&self, method: &str, path: &str) -> (u16, String) {
        ask(self.addresses.admin, method, path).unwrap()
    }

    /// Waits until load balancers may send connections here.
    pub fn wait_ready(&self) {
        super::wait_until("the gateway is ready", || {
            self.health("/healthz/ready")
                .is_some_and(|(status, _)| status == 200)
        });
    }

    /// The admin server's answer at `path`.
    pub fn dump(&self, path: &str) -> serde_json::Value {
        let (status, text) = get(self.addresses.admin, path).unwrap();
        assert_eq!(status, 200);
        serde_json::from_str(&text).unwrap()
    }

    /// The endpoints of [`ConfigText`]'s upstream as the admin server shows them.
    pub fn endpoints(&self) -> Vec<serde_json::Value> {
        let (status, text) = get(self.addresses.admin, "/upstreams").unwrap();
        assert_eq!(status, 200);
        let dump: serde_json::Value = serde_json::from_str(&text).unwrap();
        let endpoints = &dump["upstreams"][0]["endpoints"];
        endpoints.as_array().expect("a list of endpoints").clone()
    }

    /// All metrics now.
    pub fn samples(&self) -> Samples {
        let (status, text) = get(self.addresses.metrics, "/metrics").unwrap();
        assert_eq!(status, 200);
        scrape::parse(&text)
    }

    /// The sum of the series called `name` that have all of `labels`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        scrape::total(&self.samples(), name, labels)
    }

    /// The sum of the series called `name`; 0 when the gateway serves no metrics any more.
    pub fn metric_or_zero(&self, name: &str) -> f64 {
        get(self.addresses.metrics, "/metrics").map_or(0.0, |(_, text)| {
            scrape::total(&scrape::parse(&text), name, &[])
        })
    }

    /// Connections that ended with `outcome`.
    pub fn closed(&self, outcome: &str) -> f64 {
        self.metric("strait_connections_closed_total", &[("outcome", outcome)])
    }
}

fn record(line: &[u8]) -> LogLine {
    match serde_json::from_slice(line) {
        Ok(record) => record,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
    }
}

/// The status and the body of `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(address, "GET", path)
}

/// The status and the body of what `method` asks of `path`.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::InvalidData)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        let Some(thread) = self.thread.take() else {
            return;
        };
        if std::thread::panicking() {
            return;
        }
        super::wait_until("the gateway has stopped", || thread.is_finished());
        thread.join().unwrap();
    }
}
