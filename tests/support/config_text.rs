//! A config as YAML, written down by the parts that a test cares about.

use std::net::SocketAddr;

use super::SERVICE;

/// The key that makes the log text.
pub const TEXT_LOG: &str = "log: { format: text }";

/// One listener, one upstream.
#[derive(Debug, Clone)]
pub struct ConfigText {
    bind: String,
    endpoints: Vec<SocketAddr>,
    routes: String,
    listener: Vec<String>,
    upstream: Vec<String>,
    top: Vec<String>,
    metrics: String,
    verbatim: Option<String>,
}

impl ConfigText {
    /// Routes [`SERVICE`] to `endpoints`, whatever the ALPN.
    pub fn to(endpoints: &[SocketAddr]) -> Self {
        Self {
            bind: "127.0.0.1:0".to_owned(),
            endpoints: endpoints.to_vec(),
            routes: format!("[{{ service: '{SERVICE}:80', alpn: any, upstream: svcb }}]"),
            listener: Vec::new(),
            upstream: Vec::new(),
            top: Vec::new(),
            metrics: String::new(),
            verbatim: None,
        }
    }

    /// `listeners` and `upstreams` as they stand; what else every test needs is added.
    pub fn verbatim(text: &str) -> Self {
        Self {
            verbatim: Some(text.to_owned()),
            ..Self::to(&[])
        }
    }

    /// Other routes, as a flow sequence.
    pub fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.to_owned();
        self
    }

    /// A fixed address, for a reload that must keep it.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address.to_string();
        self
    }

    /// One more key of the listener.
    pub fn listener(mut self, line: &str) -> Self {
        self.listener.push(line.to_owned());
        self
    }

    /// One more key of the upstream.
    pub fn upstream(mut self, line: &str) -> Self {
        self.upstream.push(line.to_owned());
        self
    }

    /// One more key of the file.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Further keys of the metrics server, in flow style.
    pub fn metrics(mut self, keys: &str) -> Self {
        self.metrics = format!(", {keys}");
        self
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut lines = match &self.verbatim {
            Some(text) => vec![text.clone()],
            None => self.listeners_and_upstreams(),
        };
        for (server, keys) in [("admin", ""), ("status", ""), ("metrics", &self.metrics)] {
            lines.push(format!("{server}: {{ bind: '127.0.0.1:0'{keys} }}"));
        }
        lines.extend(self.top.iter().cloned());
        // Standard error is a pipe to the test, which looks for words in it.
        if !self.top.iter().any(|line| line.starts_with("log:")) {
            lines.push(TEXT_LOG.to_owned());
        }
        lines.join("\n") + "\n"
    }

    fn listeners_and_upstreams(&self) -> Vec<String> {
        let endpoints: Vec<String> = self.endpoints.iter().map(|e| format!("'{e}'")).collect();
        let mut lines = vec![
            "listeners:".to_owned(),
            "  - name: east-west".to_owned(),
            format!("    bind: '{}'", self.bind),
            format!("    routes: {}", self.routes),
        ];
        lines.extend(self.listener.iter().map(|line| format!("    {line}")));
        if !self.endpoints.is_empty() {
            lines.push("upstreams:".to_owned());
            lines.push("  svcb:".to_owned());
            lines.push(format!("    endpoints: [{}]", endpoints.join(", ")));
            lines.extend(self.upstream.iter().map(|line| format!("    {line}")));
        }
        lines
    }
}
