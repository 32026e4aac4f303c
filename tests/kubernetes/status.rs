//! Statuses written back: by one replica, only differences, over what others have written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use strait::metrics::{Metrics, WrittenObject};
use strait::source::kubernetes::records::ObjectKey;
use strait::source::kubernetes::records::gateway::{ParentRef, Revision};
use strait::source::kubernetes::{
    Condition, ConditionKind, Kind, LeaseHolder, LeaseTiming, ParentStatus, Status, StatusWriter,
    Statuses, Wanted,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::kubernetes::api_server::{ApiServer, Fault};

const OURS: &str = "strait.dev/gateway-controller";
const PATIENCE: Duration = Duration::from_secs(20);

/// Fast enough for a test of its end, with the proportions of the real one. A machine that stands still for a moment
/// does not end it.
const SHORT: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(6),
    give_up: Duration::from_secs(4),
    period: Duration::from_millis(500),
};
/// For tests of everything else: it does not end while one runs.
const LASTING: LeaseTiming = LeaseTiming {
    duration: Duration::from_secs(120),
    give_up: Duration::from_secs(100),
    period: Duration::from_secs(1),
};

fn test<F: Future>(body: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(body)
}

async fn client(server: &ApiServer) -> Client {
    let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// A replica that runs.
struct Replica {
    statuses: watch::Sender<Arc<Statuses>>,
    metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Replica {
    async fn start(server: &ApiServer, identity: &str, wanted: &Arc<Statuses>) -> Self {
        Self::with(server, identity, wanted, LASTING).await
    }

    async fn with(
        server: &ApiServer,
        identity: &str,
        wanted: &Arc<Statuses>,
        timing: LeaseTiming,
    ) -> Self {
        let (statuses, receiver) = watch::channel(wanted.clone());
        let metrics = Arc::new(Metrics::new().unwrap());
        let writer = StatusWriter {
            client: client(server).await,
            controller: OURS.into(),
            lease: LeaseHolder {
                namespace: "strait".to_owned(),
                name: "strait-status".to_owned(),
                identity: identity.to_owned(),
                timing,
            },
            statuses: receiver,
            metrics: metrics.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stop = async {
                let _ = stopped.await;
            };
            Box::pin(writer.run(stop)).await.unwrap();
        });
        Self {
            statuses,
            metrics,
            stop: Some(stop),
            task,
        }
    }

    fn leads(&self) -> bool {
        self.metrics.statuses.leader.get() == 1
    }

    /// As by SIGTERM.
    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }

    /// As by SIGKILL: nothing is left free.
    fn kill(self) {
        self.task.abort();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn put_route(server: &ApiServer, name: &str, hostname: &str) {
    let status = server
        .get("tlsroutes", "apps", name)
        .map(|route| route["status"].clone());
    server.put(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute",
        "metadata": { "namespace": "apps", "name": name },
        "spec": { "hostnames": [hostname], "parentRefs": [{ "name": "gw" }] },
        "status": status.unwrap_or_else(|| json!({})),
    }));
}

/// The statuses that the translation would give the existing routes: accepted, with `message`.
fn wanted(server: &ApiServer, message: &str) -> Arc<Statuses> {
    let mut statuses = Statuses::default();
    for route in server.all("tlsroutes") {
        let metadata = &route["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap();
        let key = ObjectKey {
            namespace: text("namespace").into(),
            name: text("name").into(),
        };
        let wanted = Wanted {
            revision: Revision {
                resource_version: text("resourceVersion").into(),
                generation: metadata["generation"].as_i64().unwrap(),
                created: 0,
            },
            api_version: "v1".into(),
            status: Status::Route {
                parents: vec![ParentStatus {
                    parent: ParentRef {
                        group: None,
                        kind: None,
                        namespace: None,
                        name: "gw".into(),
                        section_name: None,
                        port: None,
                    },
                    conditions: vec![Condition {
                        kind: ConditionKind::Accepted,
                        holds: true,
                        reason: "Accepted",
                        message: message.to_owned(),
                    }],
                }],
                others: Vec::new(),
            },
        };
        statuses.objects.insert((Kind::TlsRoute, key), wanted);
    }
    Arc::new(statuses)
}

/// The messages of every entry of ours.
fn says(server: &ApiServer, name: &str) -> Vec<String> {
    let route = server.get("tlsroutes", "apps", name).unwrap();
    let parents = route["status"]["parents"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ours = parents
        .iter()
        .filter(|entry| entry["controllerName"] == OURS);
    ours.map(|entry| {
        entry["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    })
    .collect()
}

fn version(server: &ApiServer, name: &str) -> String {
    let route = server.get("tlsroutes", "apps", name).unwrap();
    route["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_status_is_written_once_and_its_own_write_is_no_news() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    test(async {
        let replica = Replica::start(&server, "a", &wanted(&server, "one")).await;
        until("written", || says(&server, "r") == ["one"]).await;
        let (gets, patches) = (
            server.requests("get", "tlsroutes"),
            server.requests("patch", "tlsroutes"),
        );
        // The write comes back by the watch, as a new version.
        replica.statuses.send_replace(wanted(&server, "one"));
        // Asked after it, so that it was looked at before.
        put_route(&server, "z", "y.com");
        replica.statuses.send_replace(wanted(&server, "one"));
        until("the other written", || says(&server, "z") == ["one"]).await;
        assert_eq!(
            server.requests("get", "tlsroutes"),
            gets + 1,
            "only the other was looked at"
        );
        assert_eq!(server.requests("patch", "tlsroutes"), patches + 1);

        // Somebody else's change is looked at, and needs no write.
        let before = server.requests("get", "tlsroutes");
        let mut route = server.get("tlsroutes", "apps", "r").unwrap();
        route["metadata"]["labels"] = json!({ "a": "b" });
        server.put(route);
        replica.statuses.send_replace(wanted(&server, "one"));
        until("looked at", || server.requests("get", "tlsroutes") > before).await;
        replica.stop().await;
        assert_eq!(server.requests("patch", "tlsroutes"), patches + 1);
    });
}

#[test]
fn what_others_write_at_the_same_time_is_kept() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    test(async {
        let replica = Replica::start(&server, "a", &wanted(&server, "0")).await;
        until("leads", || replica.leads()).await;
        // Between its read and its write there is always a change.
        server.fail("tlsroutes", Fault::Slow(Duration::from_millis(30)));
        // Another controller writes its own entry all the time, by read and replace.
        for round in 1..=20 {
            replica
                .statuses
                .send_replace(wanted(&server, &round.to_string()));
            let mut route = server.get("tlsroutes", "apps", "r").unwrap();
            let mut parents = route["status"]["parents"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            parents.retain(|entry| entry["controllerName"] != "theirs");
            parents.push(json!({ "controllerName": "theirs", "parentRef": { "name": "gw" },
                                 "conditions": [{ "type": "Round", "message": round.to_string() }] }));
            route["status"] = json!({ "parents": parents });
            server.put(route);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.mend("tlsroutes");
        until("both are there", || {
            let route = server.get("tlsroutes", "apps", "r").unwrap();
            let parents = route["status"]["parents"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let theirs = parents
                .iter()
                .find(|entry| entry["controllerName"] == "theirs");
            let theirs = theirs.map(|entry| entry["conditions"][0]["message"].clone());
            says(&server, "r") == ["20"] && theirs == Some(Value::from("20")) && parents.len() == 2
        })
        .await;
        let conflicts = strait::metrics::StatusWrite::Conflict;
        assert!(
            replica
                .metrics
                .statuses
                .writes(WrittenObject::Status(Kind::TlsRoute), conflicts)
                .get()
                > 0
        );
        replica.stop().await;
    });
}

#[test]
fn a_status_made_from_an_old_generation_is_not_written() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    let old = wanted(&server, "old");
    put_route(&server, "r", "y.com");
    put_route(&server, "s", "y.com");
    test(async {
        let mut both = (*wanted(&server, "new")).clone();
        both.objects.extend(old.objects.clone());
        let replica = Replica::start(&server, "a", &Arc::new(both)).await;
        until("the other is written", || says(&server, "s") == ["new"]).await;
        assert!(says(&server, "r").is_empty());
        replica.statuses.send_replace(wanted(&server, "new"));
        until("the new one is written", || says(&server, "r") == ["new"]).await;
        replica.stop().await;
    });
}

#[test]
fn one_of_several_replicas_writes_and_another_takes_over() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    test(async {
        let mut replicas = Vec::new();
        for identity in ["a", "b", "c"] {
            let statuses = wanted(&server, identity);
            replicas.push(Replica::with(&server, identity, &statuses, SHORT).await);
        }
        let leaders = |replicas: &[Replica]| replicas.iter().filter(|one| one.leads()).count();
        let holder = || {
            let lease = server
                .get("leases", "strait", "strait-status")
                .unwrap_or_default();
            lease["spec"]["holderIdentity"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        until("one leads", || leaders(&replicas) == 1).await;
        until("it has written", || says(&server, "r") == [holder()]).await;
        for _ in 0..40 {
            assert!(leaders(&replicas) <= 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let first = replicas.iter().position(Replica::leads).unwrap();
        let patches = server.requests("patch", "tlsroutes");
        assert_eq!(patches, 1, "the others did not write");

        // One that stops leaves the Lease free: no need to wait for its end.
        let stopped = Instant::now();
        replicas.remove(first).stop().await;
        until("another leads", || leaders(&replicas) == 1).await;
        assert!(
            stopped.elapsed() < SHORT.duration,
            "{:?}",
            stopped.elapsed()
        );
        until("it has written", || says(&server, "r") == [holder()]).await;

        // One that dies does not.
        let first = replicas.iter().position(Replica::leads).unwrap();
        replicas.remove(first).kill();
        until("the last leads", || leaders(&replicas) == 1).await;
        until("it has written", || says(&server, "r") == [holder()]).await;
        let lease = server.get("leases", "strait", "strait-status").unwrap();
        assert_eq!(lease["spec"]["leaseTransitions"], 2);
        for replica in replicas {
            replica.stop().await;
        }
        assert_eq!(holder(), "");
    });
}

#[test]
fn a_leader_that_cannot_renew_stops_writing() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    test(async {
        let replica = Replica::with(&server, "a", &wanted(&server, "one"), SHORT).await;
        until("written", || says(&server, "r") == ["one"]).await;
        server.fail("leases", Fault::InternalError);
        until("it stops", || !replica.leads()).await;
        replica.statuses.send_replace(wanted(&server, "two"));
        tokio::time::sleep(SHORT.duration).await;
        assert_eq!(says(&server, "r"), ["one"]);
        server.mend("leases");
        until("it leads and writes again", || {
            says(&server, "r") == ["two"]
        })
        .await;
        replica.stop().await;
    });
}

#[test]
fn what_is_not_allowed_is_counted_and_the_rest_is_written() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    server.put(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "namespace": "apps", "name": "gw" }, "spec": {},
    }));
    test(async {
        let gateway = server.get("gateways", "apps", "gw").unwrap();
        let mut statuses = (*wanted(&server, "one")).clone();
        let wanted_gateway = Wanted {
            revision: Revision {
                resource_version: gateway["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap()
                    .into(),
                generation: gateway["metadata"]["generation"].as_i64().unwrap(),
                created: 0,
            },
            api_version: "v1".into(),
            status: Status::Gateway {
                conditions: Vec::new(),
                addresses: vec!["192.0.2.1".into()],
                listeners: Vec::new(),
            },
        };
        let key = ObjectKey {
            namespace: "apps".into(),
            name: "gw".into(),
        };
        statuses
            .objects
            .insert((Kind::Gateway, key), wanted_gateway);
        server.fail("gateways", Fault::Forbidden);
        let replica = Replica::start(&server, "a", &Arc::new(statuses)).await;
        until("the route is written", || says(&server, "r") == ["one"]).await;
        let denied = strait::metrics::StatusWrite::Denied;
        let denied = replica
            .metrics
            .statuses
            .writes(WrittenObject::Status(Kind::Gateway), denied);
        until("it is counted", || denied.get() > 0).await;
        // Not asked again and again.
        assert!(denied.get() <= 2, "{}", denied.get());
        server.mend("gateways");
        until("the Gateway is written", || {
            let gateway = server.get("gateways", "apps", "gw").unwrap();
            gateway["status"]["addresses"][0]["value"] == "192.0.2.1"
        })
        .await;
        replica.stop().await;
    });
}

#[test]
fn an_api_that_is_away_for_a_while_gets_the_newest_status() {
    let server = ApiServer::start();
    put_route(&server, "r", "x.com");
    test(async {
        let replica = Replica::with(&server, "a", &wanted(&server, "one"), SHORT).await;
        until("written", || says(&server, "r") == ["one"]).await;
        server.down();
        replica.statuses.send_replace(wanted(&server, "two"));
        until("it stops", || !replica.leads()).await;
        replica.statuses.send_replace(wanted(&server, "three"));
        server.up();
        until("the newest is written", || says(&server, "r") == ["three"]).await;
        let before = version(&server, "r");
        replica.stop().await;
        assert_eq!(version(&server, "r"), before);
    });
}

const WEBHOOK_DENIES: &str =
    "admission webhook \"policy.example\" denied the request: not this one";
const WEBHOOK_IS_DOWN: &str = "Internal error occurred: failed calling webhook \"policy.example\": \
     failed to call webhook: Post \"https://policy.apps.svc:443\": connect: connection refused";
const DATABASE_IS_DOWN: &str = "rpc error: code = Unknown desc = malformed header";

/// Objects of others in the same namespace, in another one, and of another kind all come after one that is
/// refused, whatever the order is.
#[test]
fn objects_that_the_api_refuses_keep_no_other_without_a_status() {
    let server = ApiServer::start();
    let names: Vec<String> = (0..50).map(|number| format!("r-{number:02}")).collect();
    for name in &names {
        put_route(&server, name, "x.com");
    }
    let refused = [
        ("r-00", 500, WEBHOOK_IS_DOWN),
        ("r-01", 500, DATABASE_IS_DOWN),
        ("r-02", 403, WEBHOOK_DENIES),
        ("r-03", 422, "TLSRoute \"r-03\" is invalid: no"),
    ];
    for (name, code, message) in refused {
        server.refuse_writes("tlsroutes", name, code, message);
    }
    test(async {
        let replica = Replica::start(&server, "a", &wanted(&server, "one")).await;
        let is_refused = |name: &str| refused.iter().any(|(refused, ..)| *refused == name);
        let others = || names.iter().filter(|name| !is_refused(name));
        until("all others have a status", || {
            others().all(|name| says(&server, name) == ["one"])
        })
        .await;
        for (name, ..) in refused {
            assert!(says(&server, name).is_empty(), "{name}");
        }
        use strait::metrics::StatusWrite::{Denied, Failed, Refused, Written};
        let count = |result| {
            replica
                .metrics
                .statuses
                .writes(WrittenObject::Status(Kind::TlsRoute), result)
                .get()
        };
        until("each kind of refusal is counted", || {
            count(Refused) >= 3 && count(Failed) >= 1 && count(Written) == 46
        })
        .await;
        assert_eq!(count(Denied), 0, "RBAC is not to blame");

        for (name, ..) in refused {
            server.take_writes("tlsroutes", name);
        }
        until("each gets its status once it is taken", || {
            names.iter().all(|name| says(&server, name) == ["one"])
        })
        .await;
        replica.stop().await;
    });
}
