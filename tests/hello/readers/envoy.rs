//! BoringSSL as Envoy has it: its listener filter reads the hello, and the access log has the server name.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use serde_json::json;
use socket2::SockRef;

use crate::federation::envoy::{Envoy, address, typed};
use crate::support::process::Folder;
use crate::support::{DEADLINE, wait_until};

/// A running Envoy.
pub(crate) struct BoringSsl {
    envoy: SocketAddr,
    log: PathBuf,
    _process: Envoy,
}

impl BoringSsl {
    /// Starts one. `folder` goes with it.
    pub(super) fn start(folder: Folder) -> Self {
        let log = folder.path("access.log");
        let format = "%DOWNSTREAM_REMOTE_PORT%\t%FILTER_CHAIN_NAME%\t%REQUESTED_SERVER_NAME%\n";
        let file = json!({ "path": log, "log_format": { "text_format_source": { "inline_string": format } } });
        let file = typed(
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            file,
        );
        let answer = json!({ "response": { "inline_string": "read" } });
        let kind = "envoy.extensions.filters.network.direct_response.v3.Config";
        let filters = json!([{ "name": "answer", "typed_config": typed(kind, answer) }]);
        let inspector = typed(
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            json!({}),
        );
        // A hello that BoringSSL refuses is no TLS to Envoy.
        let listener = json!({
            "name": "reader",
            "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
            "access_log": [{ "name": "file", "typed_config": file }],
            "listener_filters": [{ "name": "tls", "typed_config": inspector }],
            "listener_filters_timeout": "2s",
            "filter_chains": [
                { "name": "tls", "filter_chain_match": { "transport_protocol": "tls" }, "filters": filters },
                { "name": "refused", "filters": filters },
            ],
        });
        let process = Envoy::start("reader", &[listener], &[], folder);
        Self {
            envoy: process.listener("reader"),
            log,
            _process: process,
        }
    }

    /// The name that it reads in each hello; `None` where it refuses the hello.
    pub(super) fn read(&mut self, hellos: &[&[u8]]) -> Vec<Option<String>> {
        // Log lines are appended.
        let _ = File::options().write(true).truncate(true).open(&self.log);
        let connections: Vec<TcpStream> = hellos.iter().map(|hello| self.send(hello)).collect();
        let port = |connection: &TcpStream| connection.local_addr().unwrap().port();
        let mut answered = Vec::new();
        for mut connection in &connections {
            let mut answer = Vec::new();
            // Envoy resets what it has not read.
            let _ = connection.read_to_end(&mut answer);
            if !answer.is_empty() {
                answered.push(port(connection));
            }
        }
        let mut lines = String::new();
        // Not so many lines: one of an earlier connection may come late, and those without an answer have some too.
        wait_until("Envoy has written their lines", || {
            lines = fs::read_to_string(&self.log).unwrap_or_default();
            lines.truncate(lines.rfind('\n').map_or(0, |end| end + 1));
            let of = |line: &str| line.split('\t').next()?.parse().ok();
            let written: HashSet<u16> = lines.lines().filter_map(of).collect();
            answered.iter().all(|port| written.contains(port))
        });
        let names: HashMap<u16, &str> = lines.lines().filter_map(name).collect();
        let name = |connection| Some((*names.get(&port(connection))?).to_owned());
        connections.iter().map(name).collect()
    }

    /// A connection with a hello on it.
    fn send(&self, hello: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(self.envoy).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        // A long run must not use up the ports.
        let linger = Some(std::time::Duration::ZERO);
        SockRef::from(&connection).set_linger(linger).unwrap();
        connection.write_all(hello).unwrap();
        connection
    }
}

/// The port and the name of a line, if BoringSSL took the hello.
fn name(line: &str) -> Option<(u16, &str)> {
    let mut parts = line.splitn(3, '\t');
    let (port, chain) = (parts.next()?.parse().ok()?, parts.next()?);
    let name = parts.next()?;
    (chain == "tls").then_some((port, name))
}
