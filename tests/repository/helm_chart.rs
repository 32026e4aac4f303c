//! `config/helm/strait`: its templates come from the manifests, helm renders from them what kustomize renders from
//! those, and every value is documented and does something.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::docs::{assert_section, cell, code, table};
use crate::manifests::{Gateway, Rendered, Tree, schemas, tool};

fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The output of a command, both streams together.
///
/// # Errors
/// The same, if the command fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; start this test with tests/run, which installs what it needs")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

/// The objects of a release, as `folder` of the manifests renders them.
///
/// # Errors
/// helm's complaint.
fn release(folder: &str, name: &str, namespace: &str, values: &[&str]) -> Result<Rendered, String> {
    let mut helm = Command::new(tool("helm"));
    helm.args(["template", name])
        .arg(path("config/helm/strait"));
    helm.args(["--namespace", namespace, "--kube-version", "1.30.0"]);
    for value in values {
        helm.args(["--set-json", value]);
    }
    let text = run(&mut helm)?;
    Ok(Rendered {
        folder: folder.to_owned(),
        objects: serde_saphyr::from_multiple(&text).map_err(|error| format!("{error}\n{text}"))?,
    })
}

fn usual(folder: &str, values: &[&str]) -> Rendered {
    release(folder, "strait", "strait", values).unwrap()
}

/// By kind and name. The namespace is not part of a chart: helm wants it before.
fn by_name(rendered: &Rendered) -> BTreeMap<String, &Value> {
    let named = rendered.objects.iter().map(|object| {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        (name, object)
    });
    named
        .filter(|(_, object)| object["kind"] != "Namespace")
        .collect()
}

#[test]
fn the_templates_are_what_the_manifests_give() {
    let mut check = Command::new(path("config/helm/generate"));
    run(check.arg("--check")).unwrap();
}

#[test]
fn helm_renders_what_kustomize_renders() {
    for (values, folder) in [
        (&[][..], "base"),
        (&[r#"network="network1""#], "istio"),
        (&[r#"clusters.secret="strait-clusters""#], "clusters"),
        (&["podMonitor.enabled=true"], "pod-monitor"),
        (&["serviceMonitor.enabled=true"], "service-monitor"),
        (
            &["prometheusRule.enabled=true", "dashboard.enabled=true"],
            "monitoring",
        ),
    ] {
        let (chart, kustomized) = (
            usual(folder, values),
            Tree::shipped().render(folder).unwrap(),
        );
        let (chart, kustomized) = (by_name(&chart), by_name(&kustomized));
        let names = |of: &BTreeMap<String, &Value>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&chart), names(&kustomized), "{folder}");
        for (name, object) in chart {
            assert_eq!(object, kustomized[&name], "{folder}: {name}");
        }
    }
}

/// Names and selectors follow the release, so that several can be in one cluster.
#[test]
fn a_release_of_another_name_agrees_with_itself() {
    let all = [
        "podMonitor.enabled=true",
        "serviceMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "dashboard.enabled=true",
        r#"clusters.secret="edge-clusters""#,
    ];
    let rendered = release("base", "edge", "gateways", &all).unwrap();
    let problems = rendered.problems();
    assert!(problems.is_empty(), "{problems:#?}");
    for object in &rendered.objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("edge"), "{} {name}", object["kind"]);
    }
}

/// Each value with what it must change: an object that is there or not, or a place in one.
#[test]
fn every_value_does_what_it_says_and_an_api_takes_the_result() {
    const GONE: &str = "gone";
    let digest = format!("sha256:{}", "a1".repeat(32));
    let by_digest = format!(r#"image={{"repository":"r/s","tag":"7","digest":"{digest}"}}"#);
    let image = format!(r#""r/s@{digest}""#);
    let deployment = |place: &str| format!("Deployment /spec{place}");
    let pod = |place: &str| format!("Deployment /spec/template/spec{place}");
    let mut objects: Vec<Value> = Vec::new();
    for (value, place, expected) in [
        (&*by_digest, pod("/containers/0/image"), &*image),
        (
            r#"image={"tag":"7"}"#,
            pod("/containers/0/image"),
            r#""strait:7""#,
        ),
        (
            r#"image.pullPolicy="Always""#,
            pod("/containers/0/imagePullPolicy"),
            r#""Always""#,
        ),
        (
            r#"imagePullSecrets=[{"name":"s"}]"#,
            pod("/imagePullSecrets/0/name"),
            r#""s""#,
        ),
        (
            r#"nameOverride="edge""#,
            "Service /metadata/name".into(),
            r#""edge""#,
        ),
        (
            r#"config="workers: 3""#,
            "ConfigMap /data/strait.yaml".into(),
            r#""workers: 3\n""#,
        ),
        (
            "autoscaling.enabled=false",
            "HorizontalPodAutoscaler ".into(),
            GONE,
        ),
        ("autoscaling.enabled=false", deployment("/replicas"), "2"),
        (
            r#"autoscaling={"enabled":false} replicas=5"#,
            deployment("/replicas"),
            "5",
        ),
        (
            "autoscaling.minReplicas=3",
            "HorizontalPodAutoscaler /spec/minReplicas".into(),
            "3",
        ),
        (
            "autoscaling.maxReplicas=30",
            "HorizontalPodAutoscaler /spec/maxReplicas".into(),
            "30",
        ),
        (
            "autoscaling.connections=10",
            "HorizontalPodAutoscaler /spec/metrics/0/pods/target/averageValue".into(),
            r#""10""#,
        ),
        (
            r#"resources={"limits":{"cpu":"2"}}"#,
            pod("/containers/0/resources/limits/cpu"),
            r#""2""#,
        ),
        (
            "terminationGracePeriodSeconds=90",
            pod("/terminationGracePeriodSeconds"),
            "90",
        ),
        (
            r#"stateSize="1Gi""#,
            pod("/volumes/1/emptyDir/sizeLimit"),
            r#""1Gi""#,
        ),
        ("priorityClass.create=false", "PriorityClass ".into(), GONE),
        (
            "priorityClass.create=false",
            pod("/priorityClassName"),
            GONE,
        ),
        (
            r#"priorityClass.name="high""#,
            pod("/priorityClassName"),
            r#""high""#,
        ),
        (
            r#"podAnnotations={"a":"1"}"#,
            deployment("/template/metadata/annotations/a"),
            r#""1""#,
        ),
        (
            r#"podLabels={"l":"1"}"#,
            deployment("/template/metadata/labels/l"),
            r#""1""#,
        ),
        (
            r#"nodeSelector={"l":"1"}"#,
            pod("/nodeSelector/l"),
            r#""1""#,
        ),
        (
            r#"tolerations=[{"operator":"Exists"}]"#,
            pod("/tolerations/0/operator"),
            r#""Exists""#,
        ),
        (
            r#"affinity={"podAffinity":{}}"#,
            pod("/affinity/podAffinity"),
            "{}",
        ),
        (
            r#"service.type="ClusterIP""#,
            "Service /spec/externalTrafficPolicy".into(),
            GONE,
        ),
        (
            r#"service.annotations={"a":"1"}"#,
            "Service /metadata/annotations/a".into(),
            r#""1""#,
        ),
        (
            r#"service.loadBalancerClass="x.y/z""#,
            "Service /spec/loadBalancerClass".into(),
            r#""x.y/z""#,
        ),
        (
            r#"service.loadBalancerSourceRanges=["10.0.0.0/8"]"#,
            "Service /spec/loadBalancerSourceRanges/0".into(),
            r#""10.0.0.0/8""#,
        ),
        ("rbac.create=false", "ClusterRole ".into(), GONE),
        ("rbac.create=false", "RoleBinding ".into(), GONE),
        (
            r#"rbac.meshConfigMap="istio-canary""#,
            "ClusterRole /rules/5/resourceNames/0".into(),
            r#""istio-canary""#,
        ),
        ("networkPolicy.enabled=false", "NetworkPolicy ".into(), GONE),
        (
            r#"networkPolicy.egress=[{"to":[{"ipBlock":{"cidr":"10.2.0.0/16"}}]}]"#,
            "NetworkPolicy /spec/egress/3/to/0/ipBlock/cidr".into(),
            r#""10.2.0.0/16""#,
        ),
        (
            r#"clusters.secret="s""#,
            pod("/volumes/2/secret/secretName"),
            r#""s""#,
        ),
        (
            r#"clusters.secret="s""#,
            pod("/containers/0/volumeMounts/2/mountPath"),
            r#""/var/run/strait/clusters""#,
        ),
        (
            "podDisruptionBudget.enabled=false",
            "PodDisruptionBudget ".into(),
            GONE,
        ),
        (
            r#"podMonitor={"enabled":true,"labels":{"l":"1"}}"#,
            "PodMonitor /metadata/labels/l".into(),
            r#""1""#,
        ),
        (
            r#"serviceMonitor={"enabled":true,"labels":{"l":"1"}}"#,
            "ServiceMonitor /metadata/labels/l".into(),
            r#""1""#,
        ),
        (
            r#"prometheusRule={"enabled":true,"labels":{"l":"1"}}"#,
            "PrometheusRule /metadata/labels/l".into(),
            r#""1""#,
        ),
        (
            r#"dashboard={"enabled":true,"labels":{"l":"1"}}"#,
            "ConfigMap /metadata/labels/l".into(),
            r#""1""#,
        ),
    ] {
        let values: Vec<_> = value.split(' ').collect();
        let values = if value.starts_with("config") {
            vec![value]
        } else {
            values
        };
        let rendered = usual("base", &values);
        let (kind, pointer) = place.split_once(' ').unwrap();
        let mut of_kind = rendered
            .objects
            .iter()
            .filter(|object| object["kind"] == kind);
        let found = of_kind.find_map(|object| object.pointer(pointer));
        let found = found.map_or(GONE.to_owned(), Value::to_string);
        assert_eq!(found, expected, "{value}: {place}");
        let unknown = |object: &Value| !objects.contains(object);
        let new: Vec<_> = rendered.objects.into_iter().filter(unknown).collect();
        objects.extend(new);
    }
    let folder = "base".to_owned();
    let problems = schemas::problems(&Rendered { folder, objects });
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_value_that_is_unknown_or_of_another_form_is_refused() {
    for (value, complaint) in [
        (r#"imag={"tag":"7"}"#, "'imag' not allowed"),
        (r#"image.digest="sha256:7""#, "/image/digest"),
        ("image.tag=7", "/image/tag"),
        ("autoscaling.minReplicas=1", "/autoscaling/minReplicas"),
        (r#"service.type="ExternalName""#, "/service/type"),
        (r#"podMonitor.interval="1s""#, "'interval' not allowed"),
    ] {
        let refused = release("base", "strait", "strait", &[value]).unwrap_err();
        assert!(refused.contains(complaint), "{value}: {refused}");
    }
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let mut lint = Command::new(tool("helm"));
    let said = run(lint
        .args(["lint", "--strict"])
        .arg(path("config/helm/strait")))
    .unwrap();
    assert!(!said.contains("WARNING"), "{said}");
}

/// The account for the strait of another cluster has the rights of `config/kubernetes/other-cluster`.
#[test]
fn the_reader_of_a_release_may_do_what_that_of_the_manifests_may() {
    let kustomized = Tree::shipped().render("other-cluster").unwrap();
    let (all, with) = (usual("base", &[]), usual("base", &["clusters.reader=true"]));
    let added = |object: &&Value| !all.objects.contains(object);
    let added: Vec<&Value> = with.objects.iter().filter(added).collect();
    assert_eq!(added.len(), 3);
    for object in added {
        let same = |other: &&Value| other["kind"] == object["kind"];
        let same = kustomized.objects.iter().find(same).unwrap();
        for part in [
            "rules",
            "roleRef",
            "subjects",
            "automountServiceAccountToken",
        ] {
            assert_eq!(object[part], same[part], "{} {part}", object["kind"]);
        }
        assert_eq!(object["metadata"]["name"], same["metadata"]["name"]);
    }
}

/// The config of a chart is taken by strait itself.
#[test]
fn the_configs_of_the_chart_are_accepted() {
    for values in [&[][..], &[r#"network="n""#]] {
        let folder = if values.is_empty() { "base" } else { "istio" };
        Gateway::of(&usual(folder, values)).unwrap();
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = std::fs::read_to_string(path("config/helm/strait/Chart.yaml")).unwrap();
    for key in ["version", "appVersion"] {
        let line = format!("\n{key}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{key}");
    }
}

fn json(file: &str) -> Value {
    let text = std::fs::read_to_string(path("config/helm/strait").join(file)).unwrap();
    // JSON is YAML.
    serde_saphyr::from_str(&text).unwrap()
}

/// Every value, by its path, with its default and its description.
fn values(schema: &Value, defaults: &Value, prefix: &str, into: &mut Vec<[String; 3]>) {
    for (key, schema) in schema["properties"].as_object().unwrap() {
        let path = format!("{prefix}{key}");
        if path == "global" {
            continue;
        }
        let default = &defaults[key];
        assert!(!default.is_null(), "values.yaml has no {path}");
        if schema["properties"].is_object() {
            let known = schema["properties"].as_object().unwrap();
            let all_known = default
                .as_object()
                .unwrap()
                .keys()
                .all(|key| known.contains_key(key));
            assert!(all_known, "values.schema.json lacks a key of {path}");
            values(schema, default, &format!("{path}."), into);
        } else {
            let description = schema["description"].as_str();
            let description = description.unwrap_or_else(|| panic!("{path} has no description"));
            into.push([code(&path), code(&default.to_string()), cell(description)]);
        }
    }
}

#[test]
fn the_page_lists_every_value() {
    let (schema, defaults) = (json("values.schema.json"), json("values.yaml"));
    let mut rows = Vec::new();
    values(&schema, &defaults, "", &mut rows);
    for key in defaults.as_object().unwrap().keys() {
        assert!(
            !schema["properties"][key].is_null(),
            "values.schema.json has no {key}"
        );
    }
    let table = table(["Value", "Default", "Meaning"], rows.into_iter());
    assert_section("docs/src/operate/helm.md", "values", &table);
}
