//! A DNS server that says what a test tells it to, over UDP and TCP on one port of 127.0.0.1.
//!
//! A name that nothing was said about does not exist (NXDOMAIN). Answers too large for UDP are
//! truncated there, as RFC 1035 section 4.2.1 and RFC 6891 ask.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// A reply to a query.
#[derive(Clone)]
pub enum Reply {
    /// These records; none is NODATA.
    Records(Vec<Record>),
    /// Nothing but a response code.
    Code(ResponseCode),
    /// No reply at all.
    Silence,
}

/// A question that came; repeats over UDP, which a loaded machine provokes, are not counted.
#[derive(Clone)]
pub struct Asked {
    id: u16,
    pub name: String,
    pub kind: RecordType,
    pub over_tcp: bool,
    pub at: Instant,
}

#[derive(Default)]
struct State {
    replies: HashMap<(String, RecordType), Reply>,
    to_everything: Option<Reply>,
    asked: Vec<Asked>,
}

/// Serves until it is dropped.
pub struct DnsServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl DnsServer {
    pub async fn start() -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, state.clone()));
        tasks.spawn(serve_tcp(tcp, state.clone()));
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// A server on a thread of its own, for tests that block.
    pub fn on_a_thread() -> Self {
        let (started, server) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                started.send(Self::start().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        server.recv().unwrap()
    }

    /// Sets the reply to queries for `kind` of `name` from now on.
    pub fn set(&self, name: &str, kind: RecordType, reply: Reply) {
        let key = (absolute(name).to_lowercase().to_string(), kind);
        self.lock().replies.insert(key, reply);
    }

    /// A and AAAA of `name` from now on, with one TTL in seconds; a family without address is NODATA.
    pub fn set_addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
        let (v4, v6): (Vec<_>, Vec<_>) = addresses
            .map(|ip| match ip {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            })
            .map(|data| Record::from_rdata(absolute(name), ttl, data))
            .partition(|record| record.record_type() == RecordType::A);
        self.set(name, RecordType::A, Reply::Records(v4));
        self.set(name, RecordType::AAAA, Reply::Records(v6));
    }

    /// SRV of `name` from now on: priority, weight, port and target of each.
    pub fn set_services(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let records = services.iter().map(|(priority, weight, port, target)| {
            let service = SRV::new(*priority, *weight, *port, absolute(target));
            Record::from_rdata(absolute(name), ttl, RData::SRV(service))
        });
        self.set(name, RecordType::SRV, Reply::Records(records.collect()));
    }

    /// Sets the reply to every query until [`DnsServer::recover`].
    pub fn fail(&self, reply: Reply) {
        self.lock().to_everything = Some(reply);
    }

    /// Ends what [`DnsServer::fail`] began.
    pub fn recover(&self) {
        self.lock().to_everything = None;
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// The questions for `kind` of `name` so far.
    pub fn asked_for(&self, name: &str, kind: RecordType) -> Vec<Asked> {
        let name = absolute(name).to_lowercase().to_string();
        let mut asked = self.asked();
        asked.retain(|asked| asked.name == name && asked.kind == kind);
        asked
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// `name` as a record has it.
pub fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}

/// An alias.
pub fn alias(name: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(absolute(name), ttl, RData::CNAME(CNAME(absolute(target))))
}

/// Waits until `condition` holds; fails the test, naming what was waited for, after 20 s.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One port for both; another test may hold the UDP port of the TCP port that the kernel chose.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port that is free for UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let request = Message::from_vec(&buffer[..length]).unwrap();
        let Some(response) = respond(&request, false, &state) else {
            continue;
        };
        let mut bytes = response.to_vec().unwrap();
        if bytes.len() > usize::from(request.max_payload()) {
            let mut truncated = response.truncate();
            truncated.answers.clear();
            bytes = truncated.to_vec().unwrap();
        }
        // The client may be gone, and its port closed.
        let _ = socket.send_to(&bytes, client).await;
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_stream(stream, state.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    // A read fails when the client closes.
    while let Ok(length) = stream.read_u16().await {
        let mut buffer = vec![0; length.into()];
        if stream.read_exact(&mut buffer).await.is_err() {
            return;
        }
        let request = Message::from_vec(&buffer).unwrap();
        if let Some(response) = respond(&request, true, &state) {
            let bytes = response.to_vec().unwrap();
            let length = u16::try_from(bytes.len()).unwrap();
            let _ = stream.write_all(&length.to_be_bytes()).await;
            let _ = stream.write_all(&bytes).await;
        }
    }
}

fn respond(request: &Message, over_tcp: bool, state: &Mutex<State>) -> Option<Message> {
    let query = request.queries.first().unwrap().clone();
    let name = query.name().to_lowercase().to_string();
    let kind = query.query_type();
    let mut state = state.lock().unwrap();
    let asked = Asked {
        id: request.metadata.id,
        name: name.clone(),
        kind,
        over_tcp,
        at: Instant::now(),
    };
    let repeats = |earlier: &Asked| {
        (earlier.id, earlier.kind, &earlier.name) == (asked.id, kind, &name) && !earlier.over_tcp
    };
    if over_tcp || !state.asked.iter().any(repeats) {
        state.asked.push(asked);
    }
    let reply = state
        .to_everything
        .as_ref()
        .or_else(|| state.replies.get(&(name, kind)));
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.metadata.recursion_desired = true;
    response.metadata.recursion_available = true;
    response.add_query(query);
    match reply {
        Some(Reply::Records(records)) => {
            response.add_answers(records.iter().cloned());
        }
        Some(Reply::Code(code)) => response.metadata.response_code = *code,
        Some(Reply::Silence) => return None,
        None => response.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(response)
}
