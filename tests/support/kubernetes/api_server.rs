//! A stand-in for the Kubernetes API server: list, watch, write and discover, over real HTTP.
//!
//! It follows what the real one does (kubernetes.io, "API concepts"): one counter of versions for all
//! objects; pages with a continue token of one snapshot; a watch that begins after a version, is cut by
//! the client's timeout, and ends with a 410 event when its version is forgotten; bookmarks; metadata
//! alone when asked for by `Accept`; conflicts by resourceVersion; `status` as a subresource of its
//! own. It validates nothing, and a server-side apply is a merge whose lists are atomic.
//!
//! Faults are switched on by a test: [`ApiServer::fail`], [`ApiServer::cut`], [`ApiServer::down`] and
//! others.

mod http;
mod resources;
mod serve;
mod store;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;

use store::Store;

/// A fault of requests for a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// 403, as without RBAC.
    Forbidden,
    /// 429 with `Retry-After: 1`.
    TooManyRequests,
    /// 500.
    InternalError,
    /// A watch from a version that is forgotten is refused by status 410, not by an event.
    GoneByStatus,
    /// The answer begins only after this.
    Slow(Duration),
    /// Requests are taken and not answered, and open watches tell nothing and do not end.
    Silent,
}

/// A way in which open watches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// As by the server's timeout: the last chunk is sent.
    Clean,
    /// In the middle of the stream of chunks.
    Abrupt,
    /// After the first half of a line.
    InLine,
}

/// A running API server; stops when dropped.
pub struct ApiServer {
    /// The address that it listens on, in plain HTTP.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    folder: PathBuf,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    store: Store,
    /// By plural; every request of the resource meets all of its faults.
    faults: Vec<(String, Fault)>,
    /// By plural and name: what every write of the object is refused with.
    refusals: Vec<(String, String, u16, &'static str)>,
    /// Plurals of custom resources whose definition is not installed.
    uninstalled: Vec<String>,
    /// The token that requests need, if they need one.
    token: Option<String>,
    /// Number of requests of each verb for each plural: `list pods`.
    requests: BTreeMap<String, usize>,
    /// Counts up with each cut of all watches.
    cuts: u64,
    cut: Option<Cut>,
    bookmarks: u64,
    down: bool,
    stopped: bool,
    /// Open connections, to be shut down.
    connections: Vec<TcpStream>,
    watches: usize,
    /// The page that a list has at the most, whatever the client asks for.
    page: Option<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

impl ApiServer {
    /// An API server without objects and with every custom resource of [`resources`].
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || serve::accept(&listener, &accepting));
        let folder = std::env::temp_dir().join(format!(
            "strait-api-{}-{}",
            std::process::id(),
            address.port()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            address,
            shared,
            folder,
        }
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.join("kubeconfig");
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: test
contexts: [{{ name: test, context: {{ cluster: test, user: test, namespace: strait }} }}]
clusters: [{{ name: test, cluster: {{ server: 'http://{}' }} }}]
users: [{{ name: test, user: {{ token: none }} }}]
",
            self.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A kubeconfig that leads here and takes the token from a file.
    pub fn kubeconfig_with_token(&self, file: &Path) -> PathBuf {
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let user = format!("{{ tokenFile: '{}' }}", file.display());
        let path = self.folder.join("kubeconfig-with-token");
        std::fs::write(&path, text.replace("{ token: none }", &user)).unwrap();
        path
    }

    /// From now on requests need this token; others get 401.
    pub fn demand_token(&self, token: &str) {
        self.shared
            .change(|state| state.token = Some(token.to_owned()));
    }

    /// A folder for a test's files. It is gone with the server.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates or replaces the objects of a YAML text with `---` between them. What the text leaves out
    /// of `metadata` (uid, creationTimestamp, generation) is filled in; `status` is taken too.
    pub fn apply(&self, yaml: &str) {
        for document in yaml.split("\n---\n") {
            let object: Option<Value> = serde_saphyr::from_str(document).expect("YAML of a test");
            if let Some(object) = object {
                self.put(object);
            }
        }
    }

    /// Creates or replaces an object; returns its resourceVersion.
    pub fn put(&self, object: Value) -> String {
        self.shared.change(|state| state.store.put(object))
    }

    /// Creates or replaces many objects at once.
    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) {
        self.shared.change(|state| {
            for object in objects {
                state.store.put(object);
            }
        });
    }

    /// Removes an object; `false` when it is not there. `plural` is the resource, such as `pods`.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) -> bool {
        self.shared
            .change(|state| state.store.delete(plural, namespace, name).is_some())
    }

    /// An object as it is now.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared
            .lock()
            .store
            .get(plural, namespace, name)
            .cloned()
    }

    /// Every object of a resource.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        self.shared.lock().store.all(plural, "").cloned().collect()
    }

    /// From now on requests for `plural` meet this fault.
    pub fn fail(&self, plural: &str, fault: Fault) {
        self.shared
            .change(|state| state.faults.push((plural.to_owned(), fault)));
    }

    /// From now on requests for `plural` meet no fault.
    pub fn mend(&self, plural: &str) {
        self.shared
            .change(|state| state.faults.retain(|(of, _)| of != plural));
    }

    /// From now on writes of this object are refused with this status code and message, as by an
    /// admission policy; reads are not.
    pub fn refuse_writes(&self, plural: &str, name: &str, code: u16, message: &'static str) {
        let refusal = (plural.to_owned(), name.to_owned(), code, message);
        self.shared.change(|state| state.refusals.push(refusal));
    }

    /// From now on writes of this object are taken.
    pub fn take_writes(&self, plural: &str, name: &str) {
        self.shared.change(|state| {
            state
                .refusals
                .retain(|(of, named, ..)| (&**of, &**named) != (plural, name));
        });
    }

    /// Takes the definition of a custom resource away, with its objects.
    pub fn uninstall(&self, plural: &str) {
        self.shared.change(|state| {
            state.uninstalled.push(plural.to_owned());
            state.store.delete_all(plural);
        });
    }

    /// Installs it (again).
    pub fn install(&self, plural: &str) {
        self.shared
            .change(|state| state.uninstalled.retain(|of| of != plural));
    }

    /// Forgets the history: a watch from an earlier version than now gets 410.
    pub fn forget(&self) {
        self.shared.change(|state| state.store.forget());
    }

    /// Ends every watch that is open.
    pub fn cut(&self, how: Cut) {
        self.shared.change(|state| {
            state.cuts += 1;
            state.cut = Some(how);
        });
    }

    /// Sends a bookmark to every watch that takes them.
    pub fn bookmark(&self) {
        self.shared.change(|state| state.bookmarks += 1);
    }

    /// Gone: connections are cut, and new ones closed at once.
    pub fn down(&self) {
        self.shared.change(|state| {
            state.down = true;
            for connection in state.connections.drain(..) {
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        });
    }

    /// Back again.
    pub fn up(&self) {
        self.shared.change(|state| state.down = false);
    }

    /// Lists have pages of this size at the most.
    pub fn page(&self, size: usize) {
        self.shared.change(|state| state.page = Some(size));
    }

    /// Number of requests of a verb (`list`, `watch`, `get`, `create`, `update`, `patch`) for a
    /// resource, or of `discover` for `GROUP/VERSION`.
    pub fn requests(&self, verb: &str, plural: &str) -> usize {
        let asked = format!("{verb} {plural}");
        self.shared
            .lock()
            .requests
            .get(&asked)
            .copied()
            .unwrap_or(0)
    }

    /// Watches that are open.
    pub fn watches(&self) -> usize {
        self.shared.lock().watches
    }

    /// The newest version that there is.
    pub fn version(&self) -> u64 {
        self.shared.lock().store.version()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.down();
        // Before the port, which names it: the next server may get that port.
        let _ = std::fs::remove_dir_all(&self.folder);
        self.shared.change(|state| state.stopped = true);
        // Wakes accept(2).
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.write_all(b"\n");
        }
    }
}
