//! The judgement of public schemas: whether an API would accept the objects.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Rendered, TOOLS, start};
use crate::support::process::Folder;

/// The oldest and the newest Kubernetes that the README promises.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

/// Fields of CRD kinds that are used. Those schemas let unknown fields pass, which the API drops.
const CRD_FIELDS: &[(&str, &[&str])] = &[
    ("GatewayClass", &["/spec/controllerName"]),
    (
        "Gateway",
        &[
            "/spec/gatewayClassName",
            "/spec/listeners/allowedRoutes/kinds/kind",
            "/spec/listeners/allowedRoutes/namespaces/from",
            "/spec/listeners/allowedRoutes/namespaces/selector/matchLabels/",
            "/spec/listeners/hostname",
            "/spec/listeners/name",
            "/spec/listeners/port",
            "/spec/listeners/protocol",
            "/spec/listeners/tls/mode",
        ],
    ),
    (
        "TLSRoute",
        &[
            "/spec/hostnames",
            "/spec/parentRefs/name",
            "/spec/parentRefs/namespace",
            "/spec/parentRefs/sectionName",
            "/spec/rules/backendRefs/name",
            "/spec/rules/backendRefs/port",
            "/spec/rules/backendRefs/weight",
        ],
    ),
    (
        "PodMonitor",
        &[
            "/spec/podMetricsEndpoints/interval",
            "/spec/podMetricsEndpoints/path",
            "/spec/podMetricsEndpoints/port",
            "/spec/selector/matchLabels/",
        ],
    ),
    (
        "PrometheusRule",
        &[
            "/spec/groups/name",
            "/spec/groups/rules/alert",
            "/spec/groups/rules/annotations/",
            "/spec/groups/rules/expr",
            "/spec/groups/rules/for",
            "/spec/groups/rules/labels/",
            "/spec/groups/rules/record",
        ],
    ),
    (
        "ServiceMonitor",
        &[
            "/spec/endpoints/interval",
            "/spec/endpoints/path",
            "/spec/endpoints/port",
            "/spec/selector/matchLabels/",
        ],
    ),
];

/// Every object that a schema refuses, and every one that none knows.
pub fn problems(rendered: &Rendered) -> Vec<String> {
    let is_crd = |object: &&Value| CRD_FIELDS.iter().any(|(kind, _)| object["kind"] == *kind);
    let (crds, builtin): (Vec<_>, Vec<_>) = rendered.objects.iter().partition(is_crd);
    let mut problems = Vec::new();
    for version in VERSIONS {
        problems.extend(builtin_problems(&builtin, version));
    }
    problems.extend(crd_problems(&crds));
    for object in crds {
        let mut fields = Vec::new();
        fields_of(&object["spec"], "/spec", &mut fields);
        let kind = CRD_FIELDS.iter().find(|(kind, _)| object["kind"] == *kind);
        let known = kind.map_or(&[][..], |(_, fields)| fields);
        let is_known = |field: &String| {
            // A map of the writer's own keys is listed with a slash at its end.
            let in_map = |known: &&str| known.ends_with('/') && field.starts_with(*known);
            known.iter().any(|known| field == known || in_map(known))
        };
        let unknown = fields.into_iter().filter(|field| !is_known(field));
        problems.extend(unknown.map(|field| format!("{}: unknown: {field}", object["kind"])));
    }
    problems
}

/// The paths of all leaves, list positions left out.
fn fields_of(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                fields_of(value, &format!("{path}/{key}"), into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields_of(item, path, into)),
        _ => into.push(path.to_owned()),
    }
}

/// Of Kubernetes' own kinds, in that version; unknown fields are refused.
fn builtin_problems(objects: &[&Value], version: &str) -> Vec<String> {
    let folder = Folder::create();
    let texts: Vec<_> = objects.iter().map(ToString::to_string).collect();
    // JSON is YAML.
    let file = folder.file("objects.yaml", &texts.join("\n---\n"));
    let mut command = Command::new(TOOLS.join("bin/kubernetes-validate"));
    command.args(["--strict", "--kubernetes-version", version]);
    let output = run(command.arg(&file), "");
    let passed = output.lines().filter(|line| line.contains(" passed for "));
    let mut problems: Vec<_> = output
        .lines()
        .filter(|line| !line.contains(" passed for "))
        .map(|line| format!("Kubernetes {version}: {line}"))
        .collect();
    // One that it never spoke of was not judged.
    if passed.count() + problems.len() < objects.len() {
        problems.push(format!("Kubernetes {version}: not all judged: {output}"));
    }
    problems
}

fn crd_problems(objects: &[&Value]) -> Vec<String> {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/repository/manifests/crd_schemas.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(&*TOOLS);
    let objects_json = serde_json::to_string(objects).unwrap();
    let output = run(&mut command, &objects_json);
    let judged: Vec<Option<String>> =
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    assert_eq!(judged.len(), objects.len());
    let refused = objects.iter().zip(judged);
    refused
        .filter_map(|(object, problem)| Some(format!("{}: {}", object["kind"], problem?)))
        .collect()
}

/// Everything that a program writes, both streams together.
fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = start(command.stderr(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors
}
