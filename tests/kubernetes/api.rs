//! The stand-in for the API server, seen by the client library that the source uses: what the other
//! tests of the source believe of it must hold.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Error};
use serde_json::json;

use crate::kubernetes::api_server::{ApiServer, Fault};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

async fn client(server: &ApiServer) -> Client {
    let file = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn service(name: &str) -> serde_json::Value {
    json!({ "kind": "Service", "metadata": { "namespace": "apps", "name": name },
            "spec": { "ports": [{ "port": 80 }] } })
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> u16 {
    match result.unwrap_err() {
        Error::Api(status) => status.code,
        error => panic!("{error}"),
    }
}

#[test]
fn a_list_in_pages_is_one_snapshot() {
    let server = ApiServer::start();
    server.put_all((0..5).map(|n| service(&n.to_string())));
    block_on(async {
        let services: Api<Service> = Api::all(client(&server).await);
        let first = services
            .list(&ListParams::default().limit(3))
            .await
            .unwrap();
        server.delete("services", "apps", "4");
        let token = first.metadata.continue_.unwrap();
        let rest = services
            .list(&ListParams::default().limit(3).continue_token(&token))
            .await
            .unwrap();
        assert_eq!((first.items.len(), rest.items.len()), (3, 2));
        assert_eq!(
            rest.metadata.resource_version,
            first.metadata.resource_version
        );
        assert_eq!(
            services
                .list(&ListParams::default())
                .await
                .unwrap()
                .items
                .len(),
            4
        );
        let again = ListParams::default().limit(3).continue_token("unknown");
        assert_eq!(code(services.list(&again).await), 410);
    });
}

#[test]
fn metadata_alone_comes_when_it_is_asked_for() {
    let server = ApiServer::start();
    server.apply("kind: Namespace\nmetadata: { name: apps, labels: { team: a } }\nspec: { x: y }");
    block_on(async {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client(&server).await);
        let list = namespaces.list(&ListParams::default()).await.unwrap();
        let metadata = &list.items[0].metadata;
        assert_eq!(metadata.labels.as_ref().unwrap()["team"], "a");
        assert_eq!(
            list.items[0].types.as_ref().unwrap().kind,
            "PartialObjectMetadata"
        );
    });
}

#[test]
fn a_write_of_an_old_version_conflicts_and_each_half_ignores_the_other() {
    let server = ApiServer::start();
    server.put(service("a"));
    block_on(async {
        let services: Api<Service> = Api::namespaced(client(&server).await, "apps");
        let old = services.get("a").await.unwrap();
        let status = json!({ "spec": { "type": "NodePort" }, "status": { "loadBalancer": {} } });
        let patch = Patch::Merge(&status);
        let patched = services
            .patch_status("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
        assert_eq!(
            patched.spec.as_ref().unwrap().type_,
            None,
            "the spec is not the status's"
        );
        assert!(patched.status.is_some());
        assert_ne!(
            patched.metadata.resource_version,
            old.metadata.resource_version
        );
        assert_eq!(
            code(services.replace("a", &PostParams::default(), &old).await),
            409
        );
        let same = services
            .patch_status("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
        assert_eq!(
            same.metadata.resource_version,
            patched.metadata.resource_version
        );
    });
}

#[test]
fn leases_are_made_once_and_applied_with_a_manager() {
    let server = ApiServer::start();
    block_on(async {
        let leases: Api<Lease> = Api::namespaced(client(&server).await, "strait");
        let lease: Lease = serde_json::from_value(json!({
            "metadata": { "name": "strait-status" }, "spec": { "holderIdentity": "a" },
        }))
        .unwrap();
        leases.create(&PostParams::default(), &lease).await.unwrap();
        assert_eq!(
            code(leases.create(&PostParams::default(), &lease).await),
            409
        );
        let apply = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                            "spec": { "holderIdentity": "b" } });
        let applied = leases
            .patch(
                "strait-status",
                &PatchParams::apply("strait"),
                &Patch::Apply(&apply),
            )
            .await
            .unwrap();
        assert_eq!(applied.spec.unwrap().holder_identity.as_deref(), Some("b"));
        server.fail("leases", Fault::Forbidden);
        assert_eq!(code(leases.get("strait-status").await), 403);
    });
}

#[test]
fn what_is_not_installed_is_not_found() {
    let server = ApiServer::start();
    server.uninstall("tlsroutes");
    block_on(async {
        let client = client(&server).await;
        let of = |list: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList| {
            list.resources
                .into_iter()
                .map(|one| one.name)
                .collect::<Vec<_>>()
        };
        let group = "gateway.networking.k8s.io";
        let v1 = client
            .list_api_group_resources(&format!("{group}/v1"))
            .await
            .unwrap();
        assert_eq!(of(v1), ["gatewayclasses", "gateways", "referencegrants"]);
        let v1alpha2 = client
            .list_api_group_resources(&format!("{group}/v1alpha2"))
            .await;
        assert_eq!(code(v1alpha2), 404);
    });
}
