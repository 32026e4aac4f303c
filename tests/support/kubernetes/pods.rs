//! Pods: servers on addresses of their own that all have the same port, as the pods of a Service do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use socket2::SockRef;

use crate::support::client::{connect, hello};
use crate::support::server::with_deadlines;

/// Pods by name. Each says its name, and then sends back what it gets.
pub struct Pods {
    /// The port of all.
    pub port: u16,
    pods: BTreeMap<String, Pod>,
}

struct Pod {
    address: IpAddr,
    listener: TcpListener,
    /// The connections that are open, by number.
    open: Arc<Mutex<BTreeMap<u64, TcpStream>>>,
}

impl Pods {
    /// One for each name, at 127.1.0.1 and upwards.
    pub fn start(names: &[&str]) -> Self {
        let address = |index: usize| {
            let index = u16::try_from(index + 1).unwrap().to_be_bytes();
            IpAddr::from(Ipv4Addr::new(127, 1, index[0], index[1]))
        };
        for _ in 0..100 {
            let first = TcpListener::bind((address(0), 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            let rest = (1..names.len()).map(|index| TcpListener::bind((address(index), port)));
            let Ok(rest) = rest.collect::<io::Result<Vec<_>>>() else {
                continue;
            };
            let listeners = std::iter::once(first).chain(rest).zip(names).enumerate();
            let pods = listeners.map(|(index, (listener, name))| {
                let pod = Pod::serve(name, address(index), listener);
                ((*name).to_owned(), pod)
            });
            return Self {
                port,
                pods: pods.collect(),
            };
        }
        panic!("no port is free on all addresses");
    }

    /// The address of a pod.
    pub fn address(&self, name: &str) -> IpAddr {
        self.pods[name].address
    }

    /// The address that a pod listens on.
    pub fn socket(&self, name: &str) -> SocketAddr {
        SocketAddr::new(self.address(name), self.port)
    }
}

impl Pod {
    fn serve(name: &str, address: IpAddr, listener: TcpListener) -> Self {
        let open: Arc<Mutex<BTreeMap<u64, TcpStream>>> = Arc::default();
        let (accepting, held, greeting) = (
            listener.try_clone().unwrap(),
            open.clone(),
            format!("{name}\n"),
        );
        std::thread::spawn(move || {
            for number in 0.. {
                let Ok((mut stream, _)) = accepting.accept() else {
                    return;
                };
                with_deadlines(&stream);
                let clone = stream.try_clone().unwrap();
                held.lock().unwrap().insert(number, clone);
                let (greeting, held) = (greeting.clone(), held.clone());
                std::thread::spawn(move || {
                    let _ = stream.write_all(greeting.as_bytes());
                    let mut reader = stream.try_clone().unwrap();
                    let _ = io::copy(&mut reader, &mut stream);
                    let _ = stream.shutdown(Shutdown::Both);
                    // A test that asks again and again would else use up the file descriptors.
                    held.lock().unwrap().remove(&number);
                });
            }
        });
        Self {
            address,
            listener,
            open,
        }
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for pod in self.pods.values() {
            // Wakes accept(2), which then fails.
            let _ = SockRef::from(&pod.listener).shutdown(Shutdown::Both);
            for stream in pod.open.lock().unwrap().values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// A connection through the gateway, and the pod that took it; `Err` with the connection's own address
/// when none did.
pub fn ask(
    gateway: SocketAddr,
    server_name: &str,
    alpn: &[&str],
) -> Result<(TcpStream, String), SocketAddr> {
    let mut stream = connect(gateway);
    let own = stream.local_addr().unwrap();
    stream.write_all(&hello(server_name, alpn)).unwrap();
    let mut name = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) if byte == *b"\n" => break,
            // A TLS alert begins with a byte that is no letter.
            Ok(1) if byte[0].is_ascii_graphic() => name.push(byte[0]),
            _ => return Err(own),
        }
    }
    Ok((stream, String::from_utf8(name).unwrap()))
}
