//! The answers of the status server, from the start of the process to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use strait::admin::{
    Missing, Readiness, SOURCE_GRACE, ServeLimits, Snapshots, admin_router, metrics_router,
    status_router,
};
use strait::drain::{DrainPhase, channel};
use strait::metrics::Metrics;

use crate::operator::http::{Gateway, ask, get};
use crate::operator::{self, series};

async fn serve(gateway: &Gateway) -> SocketAddr {
    let router = status_router(gateway.context.clone());
    gateway.serve(router, ServeLimits::default()).await
}

#[tokio::test]
async fn ready_counts_what_is_missing_until_nothing_is_and_ends_with_the_drain() {
    let gateway = Gateway::new(operator::config(), operator::PATIENCE, None);
    let address = serve(&gateway).await;
    let ready = async || {
        let answer = get(address, "/healthz/ready").await;
        let metric = series(&gateway.metrics, "strait_ready");
        assert_eq!(metric == 1, answer.status == 200);
        (answer.status, answer.body)
    };
    let missing = "not ready: listeners are not bound yet\nnot ready: 1 source has not answered\n";
    assert_eq!(ready().await, (503, missing.to_owned()));

    gateway.readiness.set_listeners_bound();
    let missing = "not ready: 1 source has not answered\n";
    assert_eq!(ready().await, (503, missing.to_owned()));

    gateway.upstreams["spire"].source_failed("SERVFAIL".to_owned());
    assert_eq!(
        ready().await,
        (200, "ready\n".to_owned()),
        "it has answered"
    );

    assert_eq!(series(&gateway.metrics, "strait_draining"), 0);
    gateway.trigger.advance(DrainPhase::Announced);
    assert_eq!(ready().await, (503, "not ready: draining\n".to_owned()));
    assert_eq!(series(&gateway.metrics, "strait_draining"), 1);
}

#[tokio::test]
async fn a_worker_that_hangs_is_not_live() {
    let gateway = Gateway::new(operator::config(), operator::PATIENCE, None);
    let address = serve(&gateway).await;
    gateway.readiness.set_stalled(vec![2]);
    let live = get(address, "/healthz/live").await;
    let body = "worker 2 has hung for 30s or more\n";
    assert_eq!((live.status, live.body.as_str()), (503, body));
    gateway.readiness.set_stalled(Vec::new());
    assert_eq!(get(address, "/healthz/live").await.status, 200);
}

#[tokio::test]
async fn live_as_long_as_the_control_thread_answers() {
    let gateway = Gateway::new(operator::config(), operator::PATIENCE, None);
    let address = serve(&gateway).await;
    assert_eq!(get(address, "/healthz/live").await.status, 200);
    gateway.trigger.advance(DrainPhase::Announced);
    let live = get(address, "/healthz/live").await;
    assert_eq!((live.status, live.body.as_str()), (200, "live\n"));
    assert_eq!(get(address, "/config_dump").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_holds_up_for_the_grace_only() {
    let snapshots = operator::http::in_force(operator::config());
    let (_trigger, watcher) = channel();
    let metrics = Arc::new(Metrics::new().unwrap());
    let readiness = Readiness::new(snapshots, watcher, metrics.clone());
    tokio::time::advance(SOURCE_GRACE - Duration::from_millis(1)).await;
    readiness.set_listeners_bound();
    let missing = vec![Missing {
        summary: "1 source has not answered".to_owned(),
        names: vec!["upstream spire: no answer yet".to_owned()],
    }];
    assert_eq!(readiness.check(), Err(missing));
    assert_eq!(metrics.ready.get(), 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(readiness.check(), Ok(()));
    assert_eq!(metrics.ready.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_grace_does_not_excuse_listeners() {
    let (_trigger, watcher) = channel();
    let metrics = Arc::new(Metrics::new().unwrap());
    let snapshots = Snapshots::before(Arc::new(operator::config()));
    let readiness = Readiness::new(snapshots, watcher, metrics);
    tokio::time::advance(SOURCE_GRACE * 10).await;
    let missing = vec![Missing::unnamed("listeners are not bound yet")];
    assert_eq!(readiness.check(), Err(missing));
}

#[tokio::test]
async fn names_of_what_is_missing_are_for_the_admin_address_only() {
    const SECRET: &str = "payments-internal-ledger";
    let mut config = operator::config();
    let spire = config.upstreams["spire"].clone();
    config.upstreams.insert(SECRET.into(), spire);
    let gateway = Gateway::new(config, operator::PATIENCE, None);
    gateway.readiness.set_listeners_bound();

    let status = serve(&gateway).await;
    for path in ["/healthz/ready", "/healthz/live", "/", "/upstreams", "/x"] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = ask(status, method, path).await;
            for part in [&answer.head, &answer.body] {
                assert!(!part.contains(SECRET), "{method} {path}: {answer:?}");
                assert!(!part.contains("spire"), "{method} {path}: {answer:?}");
            }
            let headers = answer.head.lines().skip(1).map(|line| {
                let name = line.split_once(':').expect("a header").0;
                name.to_ascii_lowercase()
            });
            for header in headers {
                let known = [
                    "allow",
                    "connection",
                    "content-length",
                    "content-type",
                    "date",
                ];
                assert!(known.contains(&&*header), "{method} {path} tells {header}");
            }
        }
    }
    let answer = get(status, "/healthz/ready").await;
    assert_eq!(answer.body, "not ready: 2 sources have not answered\n");

    // Nor does the metrics port say it anywhere but in the metrics.
    let router = metrics_router(gateway.context.clone());
    let metrics = gateway.serve(router, ServeLimits::default()).await;
    for path in ["/", "/healthz/ready", "/config_dump"] {
        let answer = get(metrics, path).await;
        assert_eq!((answer.status, &*answer.body), (404, ""), "{path}");
    }

    let router = admin_router(gateway.context.clone());
    let admin = gateway.serve(router, ServeLimits::default()).await;
    let answer = get(admin, "/healthz/ready").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        "not ready: 2 sources have not answered\n  \
         upstream payments-internal-ledger: no answer yet\n  \
         upstream spire: no answer yet\n"
    );
    assert!(get(admin, "/").await.body.contains(SECRET));
}

#[tokio::test]
async fn the_servers_answer_through_the_drain_and_end_with_it() {
    let gateway = Gateway::ready();
    let address = serve(&gateway).await;
    gateway.trigger.advance(DrainPhase::Draining {
        deadline: tokio::time::Instant::now() + Duration::from_secs(20),
    });
    assert_eq!(get(address, "/healthz/ready").await.status, 503);
    gateway.trigger.advance(DrainPhase::Stopped);
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(operator::PATIENCE, refused)
        .await
        .expect("the server closes its listener");
}
