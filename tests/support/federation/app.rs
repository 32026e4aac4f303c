//! The application behind svcb's sidecar. It reports what the sidecar reports to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::http::HeaderMap;
use axum::response::Json;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

/// Serves until it is dropped.
pub struct App {
    /// The address, which only its sidecar calls.
    pub address: SocketAddr,
    released: watch::Sender<bool>,
    /// Its thread ends with it.
    _running: oneshot::Sender<()>,
}

/// The application's view of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// The pod that answered.
    pub pod: String,
    /// The request's headers, by their lower-case names.
    pub headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
    #[serde(default)]
    hold: bool,
}

impl App {
    /// The application of the pod called `pod`. `/?wait_ms=N` takes that long, `/?hold=true` until
    /// [`App::release`].
    pub fn start(pod: &str) -> Self {
        let pod = pod.to_owned();
        let (released, mut release) = watch::channel(false);
        let answer = move |Query(wait): Query<Wait>, headers: HeaderMap| async move {
            tokio::time::sleep(Duration::from_millis(wait.wait_ms)).await;
            if wait.hold {
                // Dropped with the application, which is as good.
                let _ = release.wait_for(|released| *released).await;
            }
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let headers = headers.iter();
            Json(Seen {
                pod,
                headers: headers
                    .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                    .collect(),
            })
        };
        let router = Router::new().route("/", get(answer));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (running, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    result = axum::serve(listener, router) => result.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            released,
            _running: running,
        }
    }

    /// Answers what it has held back, and holds nothing back from now on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

impl Seen {
    /// Reads a body that [`App`] wrote.
    #[track_caller]
    pub fn parse(body: &str) -> Self {
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The sidecar's report of its peer: a value of x-forwarded-client-cert.
    #[track_caller]
    pub fn peer(&self, key: &str) -> &str {
        let certificate = &self.headers["x-forwarded-client-cert"];
        let value = certificate.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name == key).then_some(value)
        });
        value.unwrap_or_else(|| panic!("no {key} in {certificate}"))
    }
}
