use super::*;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::file::test_folder::TestFolder;
use crate::metrics::TaskName;
use crate::proxy::Listener;
use crate::socket::StreamOptions;
use crate::upstream::Upstreams;

async fn started(more: &str) -> Gateway {
    let text = "
workers: 2
listeners: [{ name: l, bind: '127.0.0.1:0' }]
admin: off
status: { bind: '127.0.0.1:0' }
metrics: off
";
    let text = &format!("{text}{more}");
    let options = Options {
        access_log: AccessLogSink::Writer(Box::new(io::sink())),
        ..Options::default()
    };
    let config = Config::parse(text, "a sample").unwrap();
    Gateway::start(config, options).await.unwrap()
}

async fn within_reason<T>(future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, future).await.unwrap()
}

#[tokio::test]
async fn a_worker_that_cannot_accept_ends_the_process_with_the_reason() {
    // epoll_ctl(2) refuses a regular file, as it refuses a socket when memory has run out.
    let file = File::open("/proc/self/exe").unwrap();
    // accept(2) refuses a socket that does not listen, and epoll says that it is ready.
    let mute = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let mute = mute.unwrap();
    mute.set_nonblocking(true).unwrap();
    for (socket, reason) in [
        (file.into(), "cannot wait for a listening socket: "),
        (
            mute.into(),
            "a task that it cannot do without has ended: listener l accepts nothing any more: ",
        ),
    ] {
        let gateway = started("").await;
        let config = gateway.config();
        let [listener] = config.listeners.as_slice() else {
            panic!("one listener");
        };
        let (shared, upstreams) = (&gateway.control.shared, Upstreams::default());
        let in_force = listeners::InForce {
            config: &config,
            replaced: None,
        };
        let state = listeners::state(listener, &config, None, in_force, &upstreams, shared);
        let options = StreamOptions::from(listener.tcp);
        let socket = Arc::<OwnedFd>::new(socket);
        let members = [socket.clone()];
        let listener = Arc::new(Listener::new(listener.bind, options, state, &members));
        gateway.workers[1].inbox().listen(listener, socket);
        let mut watcher = gateway.watcher();
        within_reason(watcher.stopped()).await;
        let error = within_reason(gateway.finished()).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("worker 1: {reason}")), "{error}");
    }
}

#[tokio::test]
async fn a_worker_that_works_counts_its_rounds() {
    let gateway = started("").await;
    let loads = &gateway.control.shared.loads;
    within_reason(async {
        while loads.iter().any(|load| load.rounds() < 3) {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(gateway.control.readiness.live().is_ok());
    gateway.stop();
    within_reason(gateway.finished()).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_stands_still_is_found() {
    let gateway = started("").await;
    let live = || gateway.control.readiness.live();
    // Half a minute passes here before a worker has counted its next round.
    tokio::time::pause();
    let start = std::time::Instant::now();
    while live().is_ok() {
        assert!(start.elapsed() < Duration::from_secs(20), "never found");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    within_reason(async {
        while live().is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    gateway.stop();
    within_reason(gateway.finished()).await.unwrap();
}

#[tokio::test]
async fn a_kubernetes_source_that_breaks_down_is_started_anew() {
    let folder = TestFolder::create();
    // Nothing listens there.
    let kubeconfig = "
apiVersion: v1
kind: Config
current-context: c
clusters: [{ name: c, cluster: { server: 'http://127.0.0.1:1' } }]
contexts: [{ name: c, context: { cluster: c, user: u } }]
users: [{ name: u, user: {} }]
";
    let path = folder.write("kubeconfig", kubeconfig);
    let kubernetes = format!("kubernetes: {{ kubeconfig: '{}' }}", path.display());
    let gateway = started(&kubernetes).await;
    let restarts = gateway
        .control
        .shared
        .metrics
        .task_restarts(TaskName::Kubernetes);
    // The task waits for the source by the time it breaks down.
    sleep(Duration::from_millis(10)).await;
    gateway.control.mailbox.set_broken("on purpose");
    within_reason(async {
        while restarts.get() < 1 || gateway.control.mailbox.is_broken() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    gateway.stop();
    within_reason(gateway.finished()).await.unwrap();
}

#[tokio::test]
async fn a_task_that_panics_is_started_again() {
    let mut gateway = started("").await;
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let made = runs.clone();
    gateway.tasks.keep(TaskName::Dns, move |_| {
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            assert!(number > 0, "on purpose");
            std::future::pending().await
        }
    });
    let restarts = gateway.control.shared.metrics.task_restarts(TaskName::Dns);
    within_reason(async {
        while runs.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(restarts.get(), 1);
    gateway.stop();
    within_reason(gateway.finished()).await.unwrap();
}

async fn status_of(server: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn probes_are_answered_while_tables_are_made_and_of_two_reloads_the_last_one_wins() {
    let config = |connections| {
        let text = format!(
            "
workers: 1
limits: {{ connections: {connections} }}
listeners: [{{ name: l, bind: '127.0.0.1:0' }}]
admin: {{ bind: '127.0.0.1:0' }}
status: {{ bind: '127.0.0.1:0' }}
metrics: {{ bind: '127.0.0.1:0' }}
"
        );
        Config::parse(&text, "a sample").unwrap()
    };
    let options = Options {
        access_log: AccessLogSink::Writer(Box::new(io::sink())),
        ..Options::default()
    };
    let gateway = Gateway::start(config(10), options).await.unwrap();
    let left = || gateway.control.shared.connections.left();
    // As long as this lasts, the tables of a reload are being made.
    let (done, lasts) = std::sync::mpsc::channel::<()>();
    let work = gateway.aside(move || lasts.recv().is_ok());
    let answers = async {
        for (server, path) in [
            (gateway.status(), "/healthz/ready"),
            (gateway.status(), "/healthz/live"),
            (gateway.metrics(), "/metrics"),
            (gateway.admin(), "/status"),
        ] {
            let status = within_reason(status_of(server.unwrap(), path)).await;
            assert_eq!(status, "200", "{path}");
        }
        assert_eq!(left(), 10, "nothing is in force yet");
        done.send(()).unwrap();
    };
    let (work, first, second, ()) = tokio::join!(
        work,
        gateway.reload(config(20)),
        gateway.reload(config(30)),
        answers
    );
    assert!(work.unwrap());
    first.unwrap();
    second.unwrap();
    assert_eq!(left(), 30);
    gateway.stop();
    within_reason(gateway.finished()).await.unwrap();
}

#[cfg(feature = "kubernetes")]
mod events;
#[cfg(feature = "kubernetes")]
mod latency;
mod reload;
