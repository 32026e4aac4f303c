//! The client of the API, and the ways to set it up.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{
    InClusterError, KubeConfigOptions, Kubeconfig as KubeconfigFile, KubeconfigError,
};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower::{BoxError, ServiceBuilder};

use super::copies::Copies;
use super::error::in_words;
use crate::config::Kubeconfig;
use crate::file::{self, Patience};

/// The time limit for connecting to the API.
const CONNECT: Duration = Duration::from_secs(5);
/// The keepalive settings: after this time without data the connection is probed, this many times, this
/// far apart. After half a minute without an acknowledgement the peer counts as gone.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// The time limit for an acknowledgement of sent data.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// The time after which an unused connection is not used again.
const IDLE: Duration = Duration::from_secs(20);
/// The time limit for reading files that name the API, and for programs that a kubeconfig runs to get a
/// token.
const ACCESS: Duration = Duration::from_secs(30);
/// The largest kubeconfig, in bytes.
const MAX_KUBECONFIG: usize = 1 << 20;
/// Shared by all sources: a reload that waits for a file in vain leads to another reload.
static PATIENCE: LazyLock<Patience> = LazyLock::new(|| Patience::new(ACCESS));

/// The reason why access to the API cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// This is not a pod, or its service account is not mounted.
    #[error(
        "no access to the Kubernetes API: {0}; outside a pod, name a file by `kubernetes.kubeconfig`"
    )]
    InCluster(#[from] InClusterError),
    /// The kubeconfig cannot be read, or lacks something that is needed.
    #[error("no access to the Kubernetes API by its kubeconfig: {0}")]
    Kubeconfig(String),
    /// Files cannot be read, or reading them takes too long.
    #[error("no access to the Kubernetes API: {0}")]
    Files(#[from] io::Error),
    /// The kubeconfig of another cluster says something that only the operator's own may say.
    #[error(
        "no access to the Kubernetes API by its kubeconfig: it has the key {0}, which strait does not take from it"
    )]
    Refused(&'static str),
    /// A certificate, token or address cannot be used.
    #[error("no access to the Kubernetes API: {0}")]
    Client(String),
}

impl From<KubeconfigError> for KubernetesError {
    fn from(error: KubeconfigError) -> Self {
        Self::Kubeconfig(in_words(&error))
    }
}

impl From<kube::Error> for KubernetesError {
    fn from(error: kube::Error) -> Self {
        Self::Client(in_words(&error))
    }
}

/// The client of the API, and what its files say.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) client: Client,
    /// The address of the server, without anything secret.
    pub(super) server: Arc<str>,
    /// The pod that the service account's token is bound to, by name and UID.
    pub(super) pod: Option<Arc<str>>,
    /// Changes when another token has replaced the one that the client sends.
    pub(super) renewals: watch::Receiver<()>,
}

/// Creates a client without sending anything. Its files are read on another thread, since reading may
/// never end.
pub(super) async fn connect(kubeconfig: Option<&Kubeconfig>) -> Result<Access, KubernetesError> {
    let (kubeconfig, runtime) = (kubeconfig.cloned(), Handle::current());
    let read = move || Ok(runtime.block_on(connect_here(kubeconfig.as_ref())));
    PATIENCE.ask(read).await?
}

async fn connect_here(kubeconfig: Option<&Kubeconfig>) -> Result<Access, KubernetesError> {
    let config = match kubeconfig {
        // By address: the name of the API may not resolve while the cluster starts.
        None => Config::incluster_env()?,
        Some(Kubeconfig { path, context }) => {
            // The library would wait for a pipe.
            file::read(path, MAX_KUBECONFIG)?;
            let file = KubeconfigFile::read_from(path)?;
            let options = KubeConfigOptions {
                context: context.clone(),
                ..KubeConfigOptions::default()
            };
            Config::from_custom_kubeconfig(file, &options).await?
        }
    };
    access(config)
}

/// As [`connect`], by the content of a kubeconfig that others may write. What reads files of this machine, runs
/// programs or trusts everybody is refused in it, as istiod does. The caller's thread waits.
pub(super) async fn connect_by(kubeconfig: &[u8]) -> Result<Access, KubernetesError> {
    let text = String::from_utf8_lossy(kubeconfig);
    let file = KubeconfigFile::from_yaml(&text)?;
    if let Some(key) = refused_key(&file) {
        return Err(KubernetesError::Refused(key));
    }
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    access(config)
}

/// The first key that a kubeconfig of another cluster may not have.
fn refused_key(file: &KubeconfigFile) -> Option<&'static str> {
    let of_cluster = file.clusters.iter().filter_map(|one| one.cluster.as_ref());
    let of_cluster = of_cluster.flat_map(|it| {
        [
            (it.certificate_authority.is_some(), "certificate-authority"),
            (
                it.insecure_skip_tls_verify == Some(true),
                "insecure-skip-tls-verify",
            ),
        ]
    });
    let of_user = file
        .auth_infos
        .iter()
        .filter_map(|one| one.auth_info.as_ref());
    let of_user = of_user.flat_map(|it| {
        [
            (it.exec.is_some(), "exec"),
            (it.auth_provider.is_some(), "auth-provider"),
            (it.token_file.is_some(), "tokenFile"),
            (it.client_certificate.is_some(), "client-certificate"),
            (it.client_key.is_some(), "client-key"),
        ]
    });
    let mut all = of_cluster.chain(of_user);
    all.find_map(|(has, key)| has.then_some(key))
}

fn access(mut config: Config) -> Result<Access, KubernetesError> {
    config.connect_timeout = Some(CONNECT);
    // Waits are decided in one place, which also counts them.
    config.default_retry = false;
    let copies = Copies::of(&mut config)?;
    Ok(Access {
        pod: copies.pod().map(Arc::from),
        renewals: copies.renewals(),
        server: address(&config.cluster_url).into(),
        client: client(config, copies)?,
    })
}

/// The scheme, host and port of a URL: its other parts may hold a password.
fn address(url: &hyper::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("https");
    let host = url.host().unwrap_or_default();
    let port = url.port_u16();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}")
}

/// Looks at each answer: with another token a request that was refused may succeed.
fn judge<B>(copies: Arc<Copies>) -> impl Fn(Response<B>) -> Response<B> + Clone {
    move |response| {
        if response.status() == StatusCode::UNAUTHORIZED {
            copies.refused();
        }
        response
    }
}

/// The library's client for a config, over connections whose death is noticed. It sends the token of
/// `copies`.
fn client(config: Config, copies: Arc<Copies>) -> Result<Client, kube::Error> {
    let judged = copies.clone();
    let copied = MapRequestLayer::new(move |mut request: Request<Body>| {
        copies.look();
        if let Some(token) = copies.authorization() {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        request
    });
    if config.proxy_url.is_some() {
        let judged = MapResponseLayer::new(judge(judged));
        let builder = ClientBuilder::try_from(config)?.with_layer(&judged);
        return Ok(builder.with_layer(&copied).build());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(copied)
        .layer(MapResponseLayer::new(judge(judged)))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::test_folder::TestFolder;

    #[test]
    fn an_address_has_no_password() {
        for (url, shown) in [
            (
                "https://user:secret@a.example:6443/path?b",
                "https://a.example:6443",
            ),
            ("https://[::1]:6443", "https://[::1]:6443"),
            ("http://10.0.0.1", "http://10.0.0.1"),
        ] {
            assert_eq!(address(&url.parse().unwrap()), shown);
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_of_another_cluster_names_no_files_and_runs_nothing() {
        let text = |cluster: &str, user: &str| {
            format!(
                "current-context: c
contexts: [{{ name: c, context: {{ cluster: c, user: c }} }}]
clusters: [{{ name: c, cluster: {{ server: 'https://192.0.2.1', {cluster} }} }}]
users: [{{ name: c, user: {{ {user} }} }}]
"
            )
        };
        for (cluster, user, refused) in [
            ("", "token: t", None),
            ("insecure-skip-tls-verify: false", "token: t", None),
            (
                "insecure-skip-tls-verify: true",
                "token: t",
                Some("insecure-skip-tls-verify"),
            ),
            (
                "certificate-authority: /ca",
                "token: t",
                Some("certificate-authority"),
            ),
            ("", "tokenFile: /token", Some("tokenFile")),
            ("", "token: t, tokenFile: /token", Some("tokenFile")),
            ("", "client-certificate: /c", Some("client-certificate")),
            ("", "client-key: /k", Some("client-key")),
            ("", "exec: { command: id }", Some("exec")),
            (
                "",
                "auth-provider: { name: gcp, config: {} }",
                Some("auth-provider"),
            ),
        ] {
            let connected = connect_by(text(cluster, user).as_bytes()).await;
            let error = connected.err().map(|error| error.to_string());
            let case = format!("{cluster} {user}: {error:?}");
            match refused {
                None => assert!(error.is_none(), "{case}"),
                Some(key) => assert!(
                    error.unwrap().contains(&format!("the key {key},")),
                    "{case}"
                ),
            }
        }
        assert!(connect_by(b"").await.is_err());
        assert!(connect_by(b"a: [").await.is_err());
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_no_file_is_refused_at_once() {
        for (path, what) in [("/dev/ptmx", "a device"), ("/", "a directory")] {
            let kubeconfig = Kubeconfig {
                path: path.into(),
                context: None,
            };
            let connected = connect(Some(&kubeconfig)).await.map(|_| ());
            let error = connected.unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
    #[tokio::test]
    async fn nothing_secret_of_a_kubeconfig_is_in_an_error() {
        let folder = TestFolder::create();
        let text = |user: &str, end: &str| {
            format!(
                "current-context: c
contexts: [{{ name: c, context: {{ cluster: c, user: c }} }}]
clusters:
  - name: c
    cluster: {{ server: 'https://192.0.2.1' }}
users:
  - name: c
    user:
      {user}
{end}"
            )
        };
        let program = "apiVersion: client.authentication.k8s.io/v1\n        interactiveMode: Never";
        let cases = [
            (text("token: T0PSECRET", "  - name: [\n"), "line "),
            (text("exec: T0PSECRET", ""), "line "),
            (
                text(
                    &format!(
                        "exec:\n        {program}\n        command: sh\n        args: ['-c', 'echo $A; exit 7']\n        env: [{{ name: A, value: T0PSECRET }}]"
                    ),
                    "",
                ),
                "ends with exit status: 7",
            ),
            (
                text(
                    &format!(
                        "exec:\n        {program}\n        command: echo\n        args: ['status: [T0PSECRET']"
                    ),
                    "",
                ),
                "prints no ExecCredential",
            ),
        ];
        for (at, (text, said)) in cases.iter().enumerate() {
            let path = folder.write(&at.to_string(), text);
            let by_path = Kubeconfig {
                path,
                context: None,
            };
            let errors = [
                connect(Some(&by_path)).await.err(),
                connect_by(text.as_bytes()).await.err(),
            ];
            for error in &errors {
                let shown = error.as_ref().map(|error| format!("{error} {error:?}"));
                let shown = shown.unwrap_or_else(|| panic!("no error of case {at}"));
                assert!(!shown.contains("T0PSECRET"), "{shown}");
            }
            let error = errors[0].as_ref().unwrap().to_string();
            assert!(error.contains(said), "case {at}: {error}");
        }
    }
}
