//! `config/kubernetes/` and `config/monitoring/`: what the folders render to, and whether that is as it must be.

pub mod access;
pub mod neighbours;
pub mod pod;
pub mod schemas;
pub mod traffic;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use strait::config::{Config, Loaded, Machine};

use crate::support::process::Folder;

/// The folder into which `tests/run` brings kubectl and the schemas.
static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(path) = std::env::var_os("STRAIT_KUBERNETES") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    // The version that tests/run installs.
    cache.join("strait-tools/kubernetes-1.37.1-2")
});

/// The path of a program that `tests/run` brings.
pub fn tool(name: &str) -> PathBuf {
    TOOLS.join(name)
}

/// Starts a program; one that is not there fails the test and says what brings it.
fn start(command: &mut Command) -> std::process::Child {
    match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!(
            "{command:?}: {error}; start this test with tests/run, which installs what it needs"
        ),
    }
}

/// Everything that a person applies.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Of every file its path in `config/kubernetes/`, or from `monitoring/` on, and its text.
    files: BTreeMap<String, String>,
}

impl Tree {
    /// As it is in the repository.
    pub fn shipped() -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let kubernetes = fs::read_dir(config.join("kubernetes")).unwrap();
        let folders = kubernetes.map(|folder| folder.unwrap().path());
        let mut files = BTreeMap::new();
        for folder in folders.chain([config.join("monitoring")]) {
            if !folder.is_dir() {
                continue;
            }
            for file in fs::read_dir(&folder).unwrap() {
                let path = file.unwrap().path();
                let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                files.insert(format!("{}/{}", name(&folder), name(&path)), text);
            }
        }
        Self { files }
    }

    /// With `new` instead of every `old` of a file, which must have one.
    pub fn with(mut self, path: &str, old: &str, new: &str) -> Self {
        let text = self.files.get_mut(path).unwrap();
        assert!(text.contains(old), "{path} has no {old:?}");
        *text = text.replace(old, new);
        self
    }

    /// With one file more.
    pub fn and(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// The folders that are applied. One that others build on is among them.
    pub fn folders(&self) -> Vec<String> {
        let paths = self.files.keys();
        let folders = paths.filter_map(|path| path.strip_suffix("/kustomization.yaml"));
        let mut folders: Vec<_> = folders.map(str::to_owned).collect();
        folders.sort();
        folders
    }

    fn is_component(&self, folder: &str) -> bool {
        self.files[&format!("{folder}/kustomization.yaml")].contains("\nkind: Component\n")
    }

    /// The objects that `kubectl apply -k` of a folder would send. A component is rendered together
    /// with the base.
    ///
    /// # Errors
    /// kubectl's complaint.
    pub fn render(&self, folder: &str) -> Result<Rendered, String> {
        let work = Folder::create();
        for (path, text) in &self.files {
            work.file(path, text);
        }
        let applied = if self.is_component(folder) {
            let kustomization = format!("resources: [../base]\ncomponents: [../{folder}]\n");
            work.file("applied/kustomization.yaml", &kustomization);
            work.path("applied")
        } else {
            work.path(folder)
        };
        let mut command = Command::new(TOOLS.join("kubectl"));
        command.arg("kustomize").arg(applied);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let output = start(&mut command).wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        // A warning (such as one of a deprecated field) is a fault, too.
        if !output.status.success() || !errors.is_empty() {
            return Err(format!("{folder}: kubectl: {errors}"));
        }
        let text = String::from_utf8(output.stdout).unwrap();
        Ok(Rendered {
            folder: folder.to_owned(),
            objects: serde_saphyr::from_multiple(&text).unwrap(),
        })
    }

    /// Everything in a folder that does not agree, or is not as it must be.
    pub fn problems(&self, folder: &str) -> Vec<String> {
        match self.render(folder) {
            Ok(rendered) => rendered.problems(),
            Err(error) => vec![error],
        }
    }
}

/// The objects that are sent to the API.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub folder: String,
    pub objects: Vec<Value>,
}

impl Rendered {
    /// Everything that does not agree, or is not as it must be; what the schemas say is not in it.
    pub fn problems(&self) -> Vec<String> {
        let mut check = Check {
            rendered: self,
            problems: Vec::new(),
        };
        check.names();
        if self.all("Deployment").next().is_some() {
            // Read off the Deployment and its config, which everything is compared with.
            match Gateway::of(self) {
                Ok(gateway) => {
                    pod::check(&mut check, &gateway);
                    traffic::check(&mut check, &gateway);
                    access::check(&mut check, &gateway);
                }
                Err(error) => check.problem(error),
            }
        }
        neighbours::check(&mut check);
        check.problems
    }

    /// Every object of a kind.
    pub fn all(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |object| object["kind"] == kind)
    }

    /// The one object of a kind, else null, in which nothing is as it must be.
    pub fn only(&self, kind: &'static str) -> &Value {
        let mut all = self.all(kind);
        match (all.next(), all.next()) {
            (Some(only), None) => only,
            _ => &Value::Null,
        }
    }

    /// The object of that kind and name, else null.
    pub fn named(&self, kind: &'static str, name: &Value) -> &Value {
        let mut all = self.all(kind);
        all.find(|object| object["metadata"]["name"] == *name)
            .unwrap_or(&Value::Null)
    }
}

/// The pod and the config that it runs on.
pub struct Gateway {
    pub deployment: Value,
    pub container: Value,
    pub labels: Value,
    pub config: Config,
}

impl Gateway {
    /// The gateway that these objects deploy.
    ///
    /// # Errors
    /// They deploy no gateway, because there is no config that strait accepts.
    pub fn of(rendered: &Rendered) -> Result<Self, String> {
        let deployment = rendered.only("Deployment").clone();
        let template = &deployment["spec"]["template"];
        let mounted = &template["spec"]["volumes"][0]["configMap"]["name"];
        let map = rendered.named("ConfigMap", mounted);
        let text = map["data"]["strait.yaml"]
            .as_str()
            .ok_or("the pod's ConfigMap has no strait.yaml")?;
        // As in the pod, but for what the file must say by itself.
        let machine = Machine {
            cpus: NonZeroUsize::MIN,
            ..Machine::current()
        };
        let loaded = Loaded::parse(text.as_bytes(), "strait.yaml", &machine);
        let loaded = loaded.map_err(|error| error.to_string())?;
        if !loaded.warnings.is_empty() {
            return Err(format!("strait.yaml: {:?}", loaded.warnings));
        }
        Ok(Self {
            container: template["spec"]["containers"][0].clone(),
            labels: template["metadata"]["labels"].clone(),
            config: Arc::unwrap_or_clone(loaded.config),
            deployment,
        })
    }

    /// The pod's spec.
    pub fn pod(&self) -> &Value {
        &self.deployment["spec"]["template"]["spec"]
    }

    /// The port of the container that a targetPort, a probe's port or the like leads to.
    pub fn port(&self, target: &Value) -> Option<u64> {
        let mut ports = items(&self.container["ports"]);
        let found = ports.find(|port| port["name"] == *target || port["containerPort"] == *target);
        found.and_then(|port| port["containerPort"].as_u64())
    }

    /// The ports that Gateways may have beside those of the config's listeners.
    pub fn gateway_ports(&self) -> Vec<u16> {
        let kubernetes = self.config.kubernetes.as_ref();
        let gateway_api = kubernetes.and_then(|kubernetes| kubernetes.gateway_api.as_ref());
        let ranges = gateway_api.into_iter().flat_map(|api| &api.ports);
        let listeners = &self.config.listeners;
        let is_own = |port: &u16| listeners.iter().any(|one| one.bind.port() == *port);
        let ports = ranges.flat_map(|range| range.first..=range.last);
        ports.filter(|port| !is_own(port)).collect()
    }

    /// Whether a selector (a plain map) chooses its pods; an empty one chooses all of a namespace.
    pub fn is_selected_by(&self, selector: &Value) -> bool {
        selects(selector, &self.labels)
    }
}

/// Whether a selector, which must not be empty, chooses what has these labels.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let Some(pairs) = selector.as_object() else {
        return false;
    };
    !pairs.is_empty() && pairs.iter().all(|(key, value)| labels[key] == *value)
}

/// Collects what is wrong with one folder.
pub struct Check<'a> {
    pub rendered: &'a Rendered,
    problems: Vec<String>,
}

impl Check<'_> {
    fn problem(&mut self, what: impl fmt::Display) {
        let folder = &self.rendered.folder;
        self.problems.push(format!("{folder}: {what}"));
    }

    fn holds(&mut self, what: &str, holds: bool) {
        if !holds {
            self.problem(what);
        }
    }

    fn same<L, R>(&mut self, what: &str, found: L, expected: R)
    where
        L: fmt::Debug + PartialEq<R>,
        R: fmt::Debug,
    {
        let both = (found, expected);
        if both.0 != both.1 {
            self.problem(format_args!("{what}: {:?}, not {:?}", both.0, both.1));
        }
    }

    /// No object is there twice, and each that belongs into a namespace says which.
    fn names(&mut self) {
        const CLUSTER: [&str; 5] = [
            "Namespace",
            "ClusterRole",
            "ClusterRoleBinding",
            "PriorityClass",
            "GatewayClass",
        ];
        let mut seen = Vec::new();
        for object in &self.rendered.objects {
            let (kind, metadata) = (&object["kind"], &object["metadata"]);
            let identity = (kind, &metadata["namespace"], &metadata["name"]);
            if seen.contains(&identity) {
                self.problem(format_args!("twice: {identity:?}"));
            }
            seen.push(identity);
            let in_cluster = CLUSTER.iter().any(|cluster| kind == cluster);
            if metadata["namespace"].is_null() != in_cluster {
                self.problem(format_args!("the namespace of {kind} {}", metadata["name"]));
            }
        }
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
