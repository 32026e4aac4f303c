//! The HTTP servers without file descriptors: they wait, burn nothing, and answer once there are some.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strait::admin::{ServeLimits, status_router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::operator::http::Gateway;
use crate::{alone, operator};

/// Long enough for several pauses of 100 ms.
const STARVED: Duration = Duration::from_millis(700);

/// Takes every descriptor up to the soft limit, which it lowers so that this is soon done.
fn take_all_descriptors() -> Vec<File> {
    let limit = Rlimit {
        current: Some(128),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Time that the thread of `schedstat` has run: the first of its fields, in nanoseconds.
fn cpu_time(schedstat: &File) -> Duration {
    let mut text = [0; 128];
    let length = schedstat.read_at(&mut text, 0).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn without_descriptors_accept_pauses_and_goes_on_later() {
    let _alone = alone();
    let limit = getrlimit(Resource::Nofile);
    let gateway = Gateway::ready();
    let router = status_router(gateway.context.clone());
    let address = gateway.serve(router, ServeLimits::default()).await;
    let schedstat = File::open("/proc/thread-self/schedstat").unwrap();
    let client = TcpSocket::new_v4().unwrap();
    let taken = take_all_descriptors();
    assert!(!taken.is_empty());

    let before = cpu_time(&schedstat);
    let mut client = client.connect(address).await.unwrap();
    client
        .write_all(b"GET /healthz/live HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let early = timeout(STARVED, client.read_to_string(&mut answer)).await;
    assert!(early.is_err(), "nothing was left to accept with: {answer}");
    let spent = cpu_time(&schedstat) - before;
    // The runtime has one thread: a loop that tries again at once would have filled it.
    assert!(
        spent < STARVED / 10,
        "{spent:?} of CPU time in {STARVED:?} of waiting"
    );

    drop(taken);
    setrlimit(Resource::Nofile, limit).unwrap();
    timeout(operator::PATIENCE, client.read_to_string(&mut answer))
        .await
        .expect("accepted once descriptors are back")
        .unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}
