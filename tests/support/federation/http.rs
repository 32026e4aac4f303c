//! Just enough of HTTP/1.1 to call a sidecar as an application does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::server::with_deadlines;
use crate::support::{DEADLINE, SERVICE};

/// A connection that is kept alive.
pub struct HttpClient {
    stream: BufReader<TcpStream>,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The server closes the connection after it.
    pub closes: bool,
}

impl HttpClient {
    /// Connects; asks nothing yet.
    pub fn connect(at: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&at, DEADLINE)?;
        with_deadlines(&stream);
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Its own address.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request("GET", path)
    }

    /// A request without a body.
    pub fn request(&mut self, method: &str, path: &str) -> io::Result<Answer> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {SERVICE}\r\ncontent-length: 0\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let (mut length, mut chunked, mut closes) = (0, false, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(": ") {
                None if line.is_empty() => break,
                Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                Some(("transfer-encoding", "chunked")) => chunked = true,
                Some(("connection", "close")) => closes = true,
                _ => {}
            }
        }
        let body = match chunked {
            true => self.chunks()?,
            false => self.bytes(length)?,
        };
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(Answer {
            status,
            body,
            closes,
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line()?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            body.extend(self.bytes(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// One request on a connection of its own.
#[track_caller]
pub fn get(at: SocketAddr) -> Answer {
    let answer = HttpClient::connect(at).and_then(|mut client| client.get("/"));
    answer.unwrap_or_else(|error| panic!("{at}: {error}"))
}
