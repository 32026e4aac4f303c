//! The packets of the namespace's loopback interface, put together to the streams of TCP connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// IPv4 in a frame's header.
const ETH_P_IP: u16 = 0x0800;
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const RST: u8 = 1 << 2;
const ACK: u8 = 1 << 4;

/// The number of a hello's first bytes by which both connections of a relay are known: they hold its random.
const HELLO_KEY: usize = 5 + 4 + 2 + 32;

/// An act of one end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// The place among all packets of the one that it came by, or of the one by which the gateway sent it on.
    pub at: usize,
    /// The end is the client's.
    pub by_client: bool,
    pub bytes: Vec<u8>,
    pub fin: bool,
    /// The bytes that were sent to it and that its host had not acknowledged, if it reset.
    pub reset: Option<u32>,
}

/// The packets of one end of a connection.
#[derive(Debug, Default)]
struct Stream {
    /// The sequence number that comes next, once a SYN came.
    next: Option<u32>,
    acknowledged: u32,
    closed: bool,
    events: Vec<Event>,
    /// Its first bytes.
    start: Vec<u8>,
    /// A packet was lost.
    torn: bool,
}

impl Stream {
    /// The events, each at the time at which the gateway sent it on: in that order the gateway has read what both
    /// sides sent, which crossed on the way to it.
    fn events_as_sent_on(&self, onward: &Self, by_client: bool) -> Vec<Event> {
        let mut total = 0;
        let sent = onward.events.iter().filter(|event| event.reset.is_none());
        let marks = sent.map(|event| {
            total += event.bytes.len();
            (total, event.fin, event.at)
        });
        let marks: Vec<_> = marks.collect();
        let (mut came, mut latest) = (0, 0);
        let as_sent_on = self.events.iter().map(|event| {
            came += event.bytes.len();
            let whole =
                |(total, fin, _): &&(usize, bool, usize)| *total >= came && (*fin || !event.fin);
            let mark = marks.iter().find(whole).filter(|_| event.reset.is_none());
            latest = latest.max(mark.map_or(event.at, |(.., at)| *at));
            let event = event.clone();
            Event {
                at: latest,
                by_client,
                ..event
            }
        });
        as_sent_on.collect()
    }
}

/// Whether `one` ended after the end of `other` had come to the gateway, and before that was sent on: nobody outside
/// can tell which of the two the gateway has read first.
fn ends_crossed(one: &Stream, other: &Stream, onward: &Stream) -> bool {
    let end = |stream: &Stream| {
        let ends = |event: &&Event| event.fin || event.reset.is_some();
        stream.events.iter().find(ends).map(|event| event.at)
    };
    let (Some(mine), Some(theirs)) = (end(one), end(other)) else {
        return false;
    };
    theirs < mine && end(onward).is_none_or(|sent| sent > mine)
}

/// The sender's port and the receiver's.
type Way = (u16, u16);

/// Packets, as they come.
#[derive(Debug, Default)]
pub struct Packets {
    seen: usize,
    open: HashMap<Way, Stream>,
    /// The streams whose ports were taken again.
    done: Vec<(Way, Stream)>,
}

impl Packets {
    /// Takes a packet, from its IP header on.
    pub fn take(&mut self, packet: &[u8]) -> Option<()> {
        self.seen += 1;
        let header = usize::from(packet.first()? & 0xf) * 4;
        let total = usize::from(two(packet, 2)?);
        // A length of 0 is that of a packet larger than the field can say.
        let packet = packet.get(..if total == 0 { packet.len() } else { total })?;
        if packet.get(9) != Some(&6) {
            return None;
        }
        let segment = packet.get(header..)?;
        let way = (two(segment, 0)?, two(segment, 2)?);
        let four = |at| {
            Some(u32::from_be_bytes(
                segment.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let (sequence, acknowledged): (u32, u32) = (four(4)?, four(8)?);
        let flags = *segment.get(13)?;
        let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
        if flags & SYN != 0 {
            self.begin(way, sequence);
            return Some(());
        }
        let other = self.open.get(&(way.1, way.0)).and_then(|other| other.next);
        let stream = self.open.get_mut(&way)?;
        if flags & (ACK | RST) == ACK {
            stream.acknowledged = acknowledged;
        }
        let at = self.seen;
        if flags & RST != 0 {
            let sent = other.unwrap_or(stream.acknowledged);
            let reset = sent.wrapping_sub(stream.acknowledged);
            if stream.events.last().is_none_or(|last| last.reset.is_none()) {
                let reset = Some(if reset > u32::MAX / 2 { 0 } else { reset });
                stream.events.push(Event {
                    at,
                    reset,
                    ..Event::default()
                });
            }
            return Some(());
        }
        let next = stream.next?;
        // The loopback interface shows each packet twice, and a segment may be sent again.
        let old = next.wrapping_sub(sequence);
        if old > u32::MAX / 2 {
            stream.torn = true;
            return None;
        }
        let new = payload.get(old as usize..).unwrap_or_default();
        let fin = flags & FIN != 0 && !stream.closed && old as usize <= payload.len();
        if new.is_empty() && !fin {
            return Some(());
        }
        stream.closed |= fin;
        let count = u32::try_from(new.len()).ok()? + u32::from(fin);
        stream.next = Some(next.wrapping_add(count));
        let missing = HELLO_KEY.saturating_sub(stream.start.len()).min(new.len());
        stream.start.extend(&new[..missing]);
        let bytes = new.to_vec();
        stream.events.push(Event {
            at,
            bytes,
            fin,
            ..Event::default()
        });
        Some(())
    }

    fn begin(&mut self, way: Way, sequence: u32) {
        let next = Some(sequence.wrapping_add(1));
        if self
            .open
            .get(&way)
            .is_some_and(|stream| stream.events.is_empty() && stream.next == next)
        {
            return;
        }
        let fresh = Stream {
            next,
            ..Stream::default()
        };
        if let Some(before) = self.open.insert(way, fresh) {
            self.done.push((way, before));
        }
    }

    /// The connections that clients made to `gateways`, each as what the client and the server did.
    pub fn connections(self, gateways: &[u16]) -> Connections {
        let streams: Vec<_> = self.done.into_iter().chain(self.open).collect();
        let mut calls: HashMap<Vec<u8>, Way> = HashMap::new();
        // The gateway sends a hello on as it came.
        for (way, stream) in &streams {
            if !gateways.contains(&way.1) && stream.start.len() == HELLO_KEY {
                calls.insert(stream.start.clone(), *way);
            }
        }
        let (mut by_way, mut clients) = (HashMap::<Way, Vec<Stream>>::new(), Vec::new());
        for (way, stream) in streams {
            if gateways.contains(&way.1) {
                clients.push((way, stream));
            } else {
                by_way.entry(way).or_default().push(stream);
            }
        }
        // The stream of a way that was taken once: another is not worth a doubt.
        let only = |(from, to): Way| match by_way.get(&(from, to)).map(Vec::as_slice) {
            Some([stream]) => Some(stream),
            _ => None,
        };
        let mut connections = Connections::default();
        for ((port, gateway), client) in clients {
            let call = calls.get(&client.start);
            let Some(&(from, to)) = call else { continue };
            let streams = (only((to, from)), only((from, to)), only((gateway, port)));
            let (Some(server), Some(to_server), Some(to_client)) = streams else {
                continue;
            };
            if [&client, server].iter().any(|stream| stream.torn) {
                continue;
            }
            // Nobody outside can tell which end came first.
            if ends_crossed(&client, server, to_client) || ends_crossed(server, &client, to_server)
            {
                continue;
            }
            let mut events = client.events_as_sent_on(to_server, true);
            events.extend(server.events_as_sent_on(to_client, false));
            events.sort_by_key(|event| event.at);
            connections.by_port.entry(port).or_default().push(events);
        }
        connections.by_port.retain(|_, all| all.len() == 1);
        connections
    }
}

fn two(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Connections, by the client's port.
#[derive(Debug, Default)]
pub struct Connections {
    by_port: BTreeMap<u16, Vec<Vec<Event>>>,
}

impl Connections {
    /// The events of the connection from a port.
    pub fn take(&mut self, port: u16) -> Option<Vec<Event>> {
        self.by_port.remove(&port)?.pop()
    }
}

/// A thread that takes the packets.
pub struct Tap {
    gateways: Vec<u16>,
    packets: Arc<Mutex<Packets>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Tap {
    /// Begins.
    pub fn start(gateways: Vec<u16>) -> Self {
        let protocol = Protocol::from(i32::from(ETH_P_IP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).unwrap();
        socket.set_recv_buffer_size(64 << 20).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let (packets, stop) = (
            Arc::<Mutex<Packets>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let (own, stopped) = (packets.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 17];
            loop {
                match std::io::Read::read(&mut &socket, &mut buffer) {
                    Ok(length) => {
                        own.lock().unwrap().take(&buffer[..length]);
                    }
                    // Nothing came for a while.
                    Err(_) if stopped.load(Ordering::Relaxed) => return,
                    Err(_) => {}
                }
            }
        });
        Self {
            gateways,
            packets,
            stop,
            thread,
        }
    }

    /// Ends, with the connections that were seen.
    pub fn connections(self) -> Connections {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.packets.lock().unwrap()).connections(&self.gateways)
    }
}
