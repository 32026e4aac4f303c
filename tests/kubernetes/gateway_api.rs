//! Gateways and TLSRoutes end to end: objects in the API, real TLS through the gateway, and the status
//! that comes back. Named after the conformance suite's tests for TLS passthrough where it has one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::CertifiedKey;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use serde_json::{Value, json};
use strait::client_hello::SSL_REQUEST;

use crate::kubernetes::api_server::ApiServer;
use crate::kubernetes::{config, free_port, objects};
use crate::support::client::{connect, hello};
use crate::support::config_text::ConfigText;
use crate::support::gateway::TestGateway;
use crate::support::server::Server;
use crate::support::{DEADLINE, wait_until};

const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: strait }
spec: { controllerName: strait.dev/gateway-controller }
---
kind: Namespace
metadata: { name: apps }
---
kind: Namespace
metadata: { name: shop }
";

/// An API with a gateway that serves its Gateways at `port`, and TLS servers behind Services.
struct World {
    api: ApiServer,
    gateway: TestGateway,
    /// The port that the Gateways of a test ask for. It was free a moment ago.
    port: u16,
    roots: RootCertStore,
    key: CertifiedKey<rcgen::KeyPair>,
    backends: Vec<Server>,
}

impl World {
    /// Gateways of `apps` come before those of `shop`.
    fn start() -> Self {
        Self::with("namespaces: [apps, shop]")
    }

    fn with(keys: &str) -> Self {
        let api = ApiServer::start();
        api.apply(CLASS);
        let port = free_port();
        let keys = format!(
            "gateway_api: {{ address: 127.0.0.1, addresses: [127.0.0.1], ports: [{port}], {keys} }}"
        );
        let config = config(&api, &keys);
        Self::of(api, &config, port)
    }

    fn of(api: ApiServer, config: &ConfigText, port: u16) -> Self {
        let gateway = TestGateway::start(config);
        let names = [
            "abc.example.com",
            "other.example.com",
            "web.apps.svc.cluster.local",
        ];
        let names = names.map(str::to_owned);
        let key = rcgen::generate_simple_self_signed(names).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(key.cert.der().clone()).unwrap();
        Self {
            api,
            gateway,
            port,
            roots,
            key,
            backends: Vec::new(),
        }
    }

    /// A Service with a pod that ends TLS itself and then says `NAMESPACE/NAME`.
    fn backend(&mut self, namespace: &str, name: &str) {
        let chain = vec![CertificateDer::from(self.key.cert.der().to_vec())];
        let key = PrivateKeyDer::try_from(self.key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = vec![b"istio".to_vec()];
        let (tls, says) = (Arc::new(tls), format!("{namespace}/{name}"));
        let server = Server::start(move |socket| {
            let session = ServerConnection::new(tls.clone()).unwrap();
            let mut stream = StreamOwned::new(session, socket);
            if stream.write_all(says.as_bytes()).is_ok() {
                stream.conn.send_close_notify();
                let _ = stream.flush();
                let _ = io::copy(&mut stream.sock, &mut io::sink());
            }
        });
        // The gateway must know that the pod is in the mesh before the pod gets a connection.
        self.api.put(objects::pod(namespace, name, &json!({})));
        self.api
            .put_all(objects::served(namespace, name, 443, server.address));
        self.backends.push(server);
    }

    /// A Gateway of `apps` whose only listener passes `hostname` on to routes of its namespace.
    fn gateway(&self, name: &str, hostname: &str) {
        self.gateway_of("apps", name, hostname);
    }

    fn gateway_of(&self, namespace: &str, name: &str, hostname: &str) {
        let mut listener = json!({
            "name": "tls", "port": self.port, "protocol": "TLS", "tls": { "mode": "Passthrough" },
            "allowedRoutes": { "namespaces": { "from": "Same" }, "kinds": [{ "kind": "TLSRoute" }] },
        });
        if !hostname.is_empty() {
            listener["hostname"] = hostname.into();
        }
        self.api.put(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "gatewayClassName": "strait", "listeners": [listener] },
        }));
    }

    fn route(&self, name: &str, gateway: &str, hostname: &str, backends: &Value) {
        self.annotated_route(name, gateway, hostname, backends, &json!({}));
    }

    fn annotated_route(
        &self,
        name: &str,
        gateway: &str,
        hostname: &str,
        backends: &Value,
        annotations: &Value,
    ) {
        let status = self
            .api
            .get("tlsroutes", "apps", name)
            .map(|route| route["status"].clone());
        self.api.put(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute",
            "metadata": { "namespace": "apps", "name": name, "annotations": annotations },
            "spec": {
                "parentRefs": [{ "name": gateway, "namespace": "apps" }],
                "hostnames": [hostname],
                "rules": [{ "backendRefs": backends }],
            },
            "status": status.unwrap_or_else(|| json!({})),
        }));
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The pod that answers a TLS connection that names `server`; an error when it is refused.
    fn ask(&self, server: &str, alpn: &[&str]) -> io::Result<String> {
        // Not bound yet, or any more.
        let socket = std::net::TcpStream::connect_timeout(&self.address(), DEADLINE)?;
        drop(socket);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        tls.alpn_protocols = alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(tls), name).unwrap();
        let mut stream = StreamOwned::new(session, connect(self.address()));
        let mut says = String::new();
        stream.read_to_string(&mut says)?;
        Ok(says)
    }

    fn soon_answers(&self, server: &str, backend: &str) {
        self.soon_answers_to(server, &[], backend);
    }

    fn soon_answers_to(&self, server: &str, alpn: &[&str], backend: &str) {
        self.soon(server, alpn, |answer| {
            answer.as_deref().ok() == Some(backend)
        });
    }

    /// Waits until `server` is refused as the conformance suite means it: by FIN or RST in place of an
    /// answer. An alert is no refusal there.
    fn soon_refused(&self, server: &str) {
        self.soon(server, &[], |answer| {
            let error = answer.as_ref().err().map(io::Error::kind);
            let refusals = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            error.is_some_and(|error| refusals.contains(&error))
        });
    }

    fn soon(&self, server: &str, alpn: &[&str], is_right: impl Fn(&io::Result<String>) -> bool) {
        let start = Instant::now();
        loop {
            let answer = self.ask(server, alpn);
            if is_right(&answer) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{server}: {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn status(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let object = self.api.get(plural, namespace, name).unwrap();
        let generation = object["metadata"]["generation"].as_i64();
        let status = object["status"].clone();
        // A condition of an older generation does not count.
        let parents = status["parents"].as_array().into_iter().flatten();
        let conditions = parents
            .flat_map(|parent| parent["conditions"].as_array())
            .flatten();
        let conditions = conditions.chain(status["conditions"].as_array().into_iter().flatten());
        let stale = conditions.filter(|one| one["observedGeneration"].as_i64() != generation);
        if stale.count() > 0 {
            Value::Null
        } else {
            status
        }
    }

    /// `TYPE=STATUS/REASON` of each condition of the only parent of a route.
    fn parent(&self, name: &str) -> Vec<String> {
        let status = self.status("tlsroutes", "apps", name);
        match status["parents"].as_array().map(Vec::as_slice) {
            Some([parent]) => conditions(&parent["conditions"]),
            _ => Vec::new(),
        }
    }

    fn soon_says(&self, route: &str, expected: &[&str]) {
        wait_until(&format!("{route} says {expected:?}"), || {
            self.parent(route) == expected
        });
    }

    fn soon_accepts_the_class(&self) {
        wait_until("the class is accepted", || {
            conditions(&self.status("gatewayclasses", "", "strait")["conditions"]) == [ACCEPTED]
        });
    }

    /// Waits until the gateway has taken the events of all classes, Gateways and TLSRoutes: those of each kind come in
    /// order, so that it knows by then what is made, and removed, after them. That is of another controller.
    fn takes_all_events(&self) {
        let kinds = ["gateway_class", "gateway", "tls_route"];
        let number = |kind| {
            self.gateway
                .metric("strait_kubernetes_objects", &[("kind", kind)])
        };
        let before = kinds.map(number);
        self.api.apply(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: other }
spec: { controllerName: example.com/other }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { namespace: apps, name: other }
spec: { gatewayClassName: other, listeners: [] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { namespace: apps, name: other }
spec: { parentRefs: [{ name: other }], hostnames: [], rules: [] }
",
        );
        wait_until("the objects are known", || {
            kinds.map(number) == before.map(|number| number + 1.0)
        });
        self.api.delete("gatewayclasses", "", "other");
        self.api.delete("gateways", "apps", "other");
        self.api.delete("tlsroutes", "apps", "other");
        wait_until("the objects are gone", || kinds.map(number) == before);
    }

    /// Each reference of a TLSRoute of `apps` may be used by all of them.
    fn grant(&self) {
        self.api.put(json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": { "namespace": "shop", "name": "grant" },
            "spec": {
                "from": [{ "group": "gateway.networking.k8s.io", "kind": "TLSRoute", "namespace": "apps" }],
                "to": [{ "group": "", "kind": "Service", "name": "tls-backend" }],
            },
        }));
    }
}

fn conditions(list: &Value) -> Vec<String> {
    let text = |one: &Value| {
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        format!("{}={}/{}", text("type"), text("status"), text("reason"))
    };
    list.as_array().into_iter().flatten().map(text).collect()
}

fn to(name: &str) -> Value {
    json!([{ "name": name, "port": 443 }])
}

const ACCEPTED: &str = "Accepted=True/Accepted";
const RESOLVED: &str = "ResolvedRefs=True/ResolvedRefs";

#[test]
fn tls_route_simple_same_namespace() {
    let mut world = World::start();
    world.backend("apps", "tls-backend");
    world.gateway("gw", "*.example.com");
    world.route("r", "gw", "abc.example.com", &to("tls-backend"));
    world.soon_answers("abc.example.com", "apps/tls-backend");
    world.soon_refused("other.example.com");

    world.soon_says("r", &[ACCEPTED, RESOLVED]);
    let gateway = || world.status("gateways", "apps", "gw");
    wait_until("the Gateway has its route", || {
        gateway()["listeners"][0]["attachedRoutes"] == 1
    });
    let gateway = gateway();
    assert_eq!(
        gateway["addresses"],
        json!([{ "type": "IPAddress", "value": "127.0.0.1" }])
    );
    assert_eq!(
        conditions(&gateway["conditions"]),
        [ACCEPTED, "Programmed=True/Programmed"]
    );
    let listener = &gateway["listeners"][0];
    assert_eq!(
        listener["supportedKinds"],
        json!([{ "group": "gateway.networking.k8s.io", "kind": "TLSRoute" }])
    );
    assert_eq!(
        conditions(&listener["conditions"]),
        [
            ACCEPTED,
            "Conflicted=False/NoConflicts",
            RESOLVED,
            "Programmed=True/Programmed"
        ]
    );
    world.soon_accepts_the_class();
}

#[test]
fn a_port_that_another_program_has_is_not_programmed_until_it_is_free() {
    let mut world = World::start();
    let taken = std::net::TcpListener::bind(world.address()).unwrap();
    world.backend("apps", "tls-backend");
    world.gateway("gw", "*.example.com");
    world.route("r", "gw", "abc.example.com", &to("tls-backend"));
    let says = |accepted: &str, programmed: &str| {
        let status = world.status("gateways", "apps", "gw");
        let expected = [
            accepted,
            "Conflicted=False/NoConflicts",
            RESOLVED,
            programmed,
        ];
        conditions(&status["listeners"][0]["conditions"]) == expected
    };
    let refused = "Accepted=False/PortUnavailable";
    wait_until("the status says that the port is taken", || {
        says(refused, "Programmed=False/Invalid")
    });
    drop(taken);
    world.soon_answers("abc.example.com", "apps/tls-backend");
    wait_until("the status says that the port is open", || {
        says(ACCEPTED, "Programmed=True/Programmed")
    });
}

/// The suite's four Gateways at once: they share this gateway's address.
#[test]
fn tls_route_hostname_intersection() {
    let mut world = World::start();
    world.backend("apps", "tls-backend");
    world.backend("apps", "tls-backend-2");
    for (gateway, hostname, routes) in [
        (
            "exact",
            "abc.example.com",
            &[("*.example.com", "tls-backend")][..],
        ),
        (
            "narrow",
            "*.example.com",
            &[
                ("abc.example.com", "tls-backend"),
                ("*.com", "tls-backend-2"),
            ],
        ),
        (
            "wide",
            "*.com",
            &[
                ("abc.example.com", "tls-backend"),
                ("*.example.com", "tls-backend-2"),
            ],
        ),
        (
            "all",
            "",
            &[
                ("abc.example.com", "tls-backend"),
                ("*.com", "tls-backend-2"),
            ],
        ),
    ] {
        world.gateway(gateway, hostname);
        for (index, (hostname, backend)) in routes.iter().enumerate() {
            world.route(
                &format!("{gateway}-{index}"),
                gateway,
                hostname,
                &to(backend),
            );
        }
    }
    for route in ["exact-0", "narrow-1"] {
        world.soon_says(route, &[ACCEPTED, RESOLVED]);
    }
    // For a name that a more specific listener has, the routes of the wider ones get a condition, too.
    for route in ["narrow-0", "wide-0", "wide-1", "all-0", "all-1"] {
        world.soon_says(
            route,
            &[
                ACCEPTED,
                RESOLVED,
                "strait.dev/HostnamesRefused=True/Conflict",
            ],
        );
    }
    world.soon_answers("abc.example.com", "apps/tls-backend");
    world.soon_answers("other.example.com", "apps/tls-backend-2");
    world.soon_refused("non.matching.com");
    world.soon_refused("non.matching.org");
}

#[test]
fn tls_route_invalid_no_matching_listener_hostname() {
    let mut world = World::start();
    world.backend("apps", "tls-backend");
    world.gateway("gw", "*.example.com");
    world.route("r", "gw", "www.different.com", &to("tls-backend"));
    world.soon_says(
        "r",
        &["Accepted=False/NoMatchingListenerHostname", RESOLVED],
    );
    world.soon_refused("www.different.com");
    wait_until("the Gateway has no route", || {
        world.status("gateways", "apps", "gw")["listeners"][0]["attachedRoutes"] == 0
    });
}

#[test]
fn tls_route_invalid_backend_ref_nonexistent() {
    let mut world = World::start();
    world.gateway("gw", "");
    world.route("r", "gw", "abc.example.com", &to("later"));
    world.soon_says("r", &[ACCEPTED, "ResolvedRefs=False/BackendNotFound"]);
    world.soon_refused("abc.example.com");
    wait_until("it is refused as a route without a backend", || {
        world.gateway.closed("no_endpoint") >= 1.0
    });

    world.backend("apps", "later");
    world.soon_answers("abc.example.com", "apps/later");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
}

#[test]
fn tls_route_invalid_backend_ref_unknown_kind() {
    let mut world = World::start();
    world.backend("apps", "tls-backend");
    world.gateway("gw", "");
    let unknown = json!([{ "group": "unknownkind.example.com", "kind": "NonExistent",
                           "name": "tls-backend", "port": 443 }]);
    world.route("r", "gw", "abc.example.com", &unknown);
    world.soon_says("r", &[ACCEPTED, "ResolvedRefs=False/InvalidKind"]);
    world.soon_refused("abc.example.com");
}

#[test]
fn tls_route_invalid_reference_grant() {
    let mut world = World::start();
    world.backend("shop", "tls-backend");
    world.gateway("gw", "");
    let backend = json!([{ "name": "tls-backend", "namespace": "shop", "port": 443 }]);
    world.route("r", "gw", "abc.example.com", &backend);
    let denied = [ACCEPTED, "ResolvedRefs=False/RefNotPermitted"];
    world.soon_says("r", &denied);
    world.soon_refused("abc.example.com");
    world.grant();
    world.soon_answers("abc.example.com", "shop/tls-backend");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
    world.api.delete("referencegrants", "shop", "grant");
    world.soon_refused("abc.example.com");
    world.soon_says("r", &denied);
}

#[test]
fn backends_share_connections_and_a_wrong_one_refuses_its_share() {
    let mut world = World::start();
    world.backend("apps", "a");
    world.backend("apps", "b");
    world.gateway("gw", "");
    let backends = json!([
        { "name": "a", "port": 443, "weight": 2 },
        { "name": "b", "port": 443, "weight": 1 },
        { "name": "absent", "port": 443, "weight": 1 },
        { "name": "absent-too", "port": 443, "weight": 0 },
    ]);
    world.route("r", "gw", "abc.example.com", &backends);
    for backend in ["apps/a", "apps/b"] {
        world.soon_answers("abc.example.com", backend);
    }
    let mut counts = [0; 3];
    for _ in 0..200 {
        match world.ask("abc.example.com", &[]).as_deref() {
            Ok("apps/a") => counts[0] += 1,
            Ok("apps/b") => counts[1] += 1,
            Ok(other) => panic!("{other}"),
            Err(_) => counts[2] += 1,
        }
    }
    // Of 200: 100, 50 and 50, each with a margin of more than five standard deviations.
    assert!(
        counts[0] > 60 && counts[1] > 18 && counts[2] > 18,
        "{counts:?}"
    );
}

/// A PostgreSQL server as far as the gateway knows it: it grants TLS, and sends back what comes then.
fn postgres() -> Server {
    Server::start(|mut stream| {
        let mut request = [0; SSL_REQUEST.len()];
        if stream.read_exact(&mut request).is_ok() && request == SSL_REQUEST {
            let _ = stream.write_all(b"S");
            let mut reader = stream.try_clone().unwrap();
            let _ = io::copy(&mut reader, &mut stream);
        }
    })
}

/// The answer to a hello behind PostgreSQL's request for TLS, and the answer to that.
fn behind_request(gateway: SocketAddr, hello: &[u8]) -> io::Result<(u8, Vec<u8>)> {
    let mut client = std::net::TcpStream::connect_timeout(&gateway, DEADLINE)?;
    client.set_read_timeout(Some(DEADLINE))?;
    client.write_all(&SSL_REQUEST)?;
    let mut granted = [0];
    client.read_exact(&mut granted)?;
    client.write_all(hello)?;
    let mut answer = vec![0; hello.len()];
    client.read_exact(&mut answer)?;
    Ok((granted[0], answer))
}

#[test]
fn a_gateways_listener_answers_postgresql_where_the_file_says_so() {
    let mut world = World::with("namespaces: [apps], starttls: postgres");
    let server = postgres();
    world.api.put(objects::pod("apps", "db", &json!({})));
    let served = objects::served("apps", "db", 443, server.address);
    world.api.put_all(served);
    world.backend("apps", "web");
    world.gateway("gateway", "");
    world.route("db", "gateway", "db.example.com", &to("db"));
    world.route("web", "gateway", "abc.example.com", &to("web"));
    let hello = hello("db.example.com", &["postgresql"]);
    wait_until("the hello comes back", || {
        behind_request(world.address(), &hello).is_ok_and(|it| it == (b'S', hello.clone()))
    });
    // TLS without a request is relayed as everywhere.
    world.soon_answers("abc.example.com", "apps/web");
}

#[test]
fn a_pod_in_the_mesh_is_reached_with_an_istio_alpn_only() {
    let mut world = World::start();
    world.backend("apps", "web");
    world.gateway("gw", "");
    world.route("r", "gw", "abc.example.com", &to("web"));
    world.soon_answers("abc.example.com", "apps/web");
    let labels =
        |mode: &str| objects::pod("apps", "web", &json!({ "security.istio.io/tlsMode": mode }));
    world.api.put(labels("istio"));
    world.soon_refused("abc.example.com");
    world.soon_answers_to("abc.example.com", &["istio"], "apps/web");
    let any = json!({ "strait.dev/alpn": "any" });
    world.annotated_route("r", "gw", "abc.example.com", &to("web"), &any);
    world.soon_answers("abc.example.com", "apps/web");
    world.route("r", "gw", "abc.example.com", &to("web"));
    world.soon_refused("abc.example.com");
    // Out of the mesh again.
    world.api.put(labels("disabled"));
    world.soon_answers("abc.example.com", "apps/web");
}

#[test]
fn a_gateway_that_goes_closes_its_port_and_cleans_up() {
    let mut world = World::start();
    world.backend("apps", "web");
    world.gateway("gw", "");
    world.route("r", "gw", "abc.example.com", &to("web"));
    world.soon_answers("abc.example.com", "apps/web");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
    world.api.delete("gateways", "apps", "gw");
    wait_until("the port is closed", || {
        std::net::TcpStream::connect_timeout(&world.address(), DEADLINE).is_err()
    });
    wait_until("our entry is gone", || {
        world.status("tlsroutes", "apps", "r")["parents"] == json!([])
    });
    // And it comes back.
    world.gateway("gw", "");
    world.soon_answers("abc.example.com", "apps/web");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
}

#[test]
fn nothing_is_asked_or_written_once_all_is_said() {
    let mut world = World::start();
    world.backend("apps", "web");
    world.gateway("gw", "");
    for route in ["r", "s", "t"] {
        world.route(route, "gw", &format!("{route}.example.com"), &to("web"));
    }
    for route in ["r", "s", "t"] {
        world.soon_says(route, &[ACCEPTED, RESOLVED]);
    }
    wait_until("the Gateway has its routes", || {
        world.status("gateways", "apps", "gw")["listeners"][0]["attachedRoutes"] == 3
    });
    world.soon_accepts_the_class();
    let asked = || {
        let verbs = ["get", "patch", "update"];
        let plurals = ["gatewayclasses", "gateways", "tlsroutes"];
        let each = verbs
            .iter()
            .flat_map(|verb| plurals.map(|plural| world.api.requests(verb, plural)));
        each.sum::<usize>()
    };
    world.takes_all_events();
    let before = asked();
    let swaps = world
        .gateway
        .metric_or_zero("strait_kubernetes_publications_total");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(asked(), before);
    let later = world
        .gateway
        .metric_or_zero("strait_kubernetes_publications_total");
    assert!(
        (later - swaps).abs() < 0.5,
        "statuses make no new routes: {swaps}, then {later}"
    );
}

/// A tenant with rights on Gateways and TLSRoutes of its own namespace asks for a name of the platform's
/// listener.
#[test]
fn a_tenants_gateway_takes_no_name_from_the_platforms_listener() {
    let mut world = World::start();
    world.backend("apps", "web");
    world.backend("shop", "evil");
    world.gateway("platform", "*.example.com");
    world.route("r", "platform", "abc.example.com", &to("web"));
    world.soon_answers("abc.example.com", "apps/web");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
    let gateway = |namespace: &str, name: &str| world.api.get("gateways", namespace, name).unwrap();
    wait_until("the platform's Gateway has its route", || {
        gateway("apps", "platform")["status"]["listeners"][0]["attachedRoutes"] == 1
    });
    let before = [
        gateway("apps", "platform"),
        world.api.get("tlsroutes", "apps", "r").unwrap(),
    ];

    world.gateway_of("shop", "tenant", "abc.example.com");
    world.api.put(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute",
        "metadata": { "namespace": "shop", "name": "evil" },
        "spec": {
            "parentRefs": [{ "name": "tenant" }], "hostnames": ["abc.example.com"],
            "rules": [{ "backendRefs": to("evil") }],
        },
    }));
    let conflicted = [
        "Accepted=False/HostnameConflict",
        "Conflicted=True/HostnameConflict",
        RESOLVED,
        "Programmed=False/Invalid",
    ];
    wait_until("the tenant's listener is conflicted", || {
        let status = world.status("gateways", "shop", "tenant");
        conditions(&status["listeners"][0]["conditions"]) == conflicted
    });
    wait_until("the tenant's route is not accepted", || {
        let status = world.status("tlsroutes", "shop", "evil");
        let parent = conditions(&status["parents"][0]["conditions"]);
        parent == ["Accepted=False/NotAllowedByListeners", RESOLVED]
    });
    assert_eq!(world.ask("abc.example.com", &[]).unwrap(), "apps/web");
    let conflicts = [("reason", "conflict")];
    let left_out = world
        .gateway
        .metric("strait_kubernetes_listeners_left_out", &conflicts);
    assert!((left_out - 1.0).abs() < 0.1, "{left_out}");

    // The platform gets an Event, and its objects are unchanged.
    wait_until("the Event is there", || !world.api.all("events").is_empty());
    let events = world.api.all("events");
    let [event] = &events[..] else {
        panic!("{events:?}");
    };
    let regarding = &event["regarding"];
    assert_eq!(regarding["uid"], before[0]["metadata"]["uid"]);
    assert_eq!(regarding["name"], "platform");
    assert_eq!(event["metadata"]["namespace"], "apps");
    for (field, text) in [
        ("reason", "HostnameConflict"),
        ("type", "Warning"),
        ("reportingController", "strait.dev/gateway-controller"),
    ] {
        assert_eq!(event[field], text);
    }
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .contains("Gateway shop/tenant"),
        "{event}"
    );
    let now = [
        gateway("apps", "platform"),
        world.api.get("tlsroutes", "apps", "r").unwrap(),
    ];
    assert_eq!(now, before);
}

#[test]
fn without_the_operators_word_only_gateways_of_straits_own_namespace_are_served() {
    let mut world = World::with("");
    world.backend("apps", "web");
    world.gateway("tenant", "");
    world.route("r", "tenant", "abc.example.com", &to("web"));
    world.soon_says("r", &["Accepted=False/NotAllowedByListeners", RESOLVED]);
    let refused = [
        "Accepted=False/NamespaceNotAllowed",
        "Programmed=False/Invalid",
    ];
    let status = || world.status("gateways", "apps", "tenant");
    wait_until("the Gateway is refused", || {
        conditions(&status()["conditions"]) == refused
    });
    let status = status();
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("kubernetes.gateway_api.namespaces"),
        "{message}"
    );
    let connected = std::net::TcpStream::connect_timeout(&world.address(), DEADLINE);
    assert!(connected.is_err(), "the port is closed");
    let by_namespace = [("reason", "namespace")];
    let left_out = world
        .gateway
        .metric("strait_kubernetes_listeners_left_out", &by_namespace);
    assert!((left_out - 1.0).abs() < 0.1, "{left_out}");

    // The namespace of the kubeconfig's context.
    world.backend("strait", "web");
    world.gateway_of("strait", "own", "");
    world.api.put(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute",
        "metadata": { "namespace": "strait", "name": "own" },
        "spec": {
            "parentRefs": [{ "name": "own" }], "hostnames": ["abc.example.com"],
            "rules": [{ "backendRefs": to("web") }],
        },
    }));
    world.soon_answers("abc.example.com", "strait/web");
}

/// A file whose only route takes any name, and leads nowhere.
#[test]
fn what_the_file_has_no_tls_route_takes_and_exported_services_keep_their_names() {
    let api = ApiServer::start();
    api.apply(CLASS);
    let port = free_port();
    let text = |below: &str| {
        ConfigText::verbatim(&format!(
            "listeners:
  - name: east-west
    bind: '127.0.0.1:{port}'
    refuse: close
    routes: [{{ sni: '*', alpn: any, upstream: nowhere }}]
upstreams: {{ nowhere: {{ endpoints: ['127.0.0.1:1'] }} }}
kubernetes:
  kubeconfig: '{}'
  export: {{ mode: all, alpn: any }}
  gateway_api: {{ namespaces: [apps], below_file_routes: {below} }}
",
            api.kubeconfig().display()
        ))
    };
    let (refuse, allow) = (text("refuse"), text("allow"));
    let mut world = World::of(api, &refuse, port);
    world.backend("apps", "web");
    world.soon_answers("web.apps.svc.cluster.local", "apps/web");
    world.gateway("gw", "*.example.com");
    world.route("r", "gw", "abc.example.com", &to("web"));
    world.soon_says("r", &["Accepted=False/NotAllowedByListeners", RESOLVED]);
    world.soon_refused("abc.example.com");
    wait_until("it went where the file says", || {
        world.gateway.closed("connect_refused") >= 1.0
    });
    world.gateway.reload(&allow).unwrap();
    world.soon_answers("abc.example.com", "apps/web");
    world.soon_says("r", &[ACCEPTED, RESOLVED]);
    world.soon_answers("web.apps.svc.cluster.local", "apps/web");
}
