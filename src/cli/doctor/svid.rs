//! The SVIDs that `--svid` and `--workload-api` name.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use crate::doctor::{CallerSvid, DoctorCallers, Federation, SvidPem};
use crate::file;

#[cfg(not(feature = "workload-api"))]
use self::refuse as fetch_svid;
#[cfg(feature = "workload-api")]
use crate::doctor::fetch_svid;

/// The largest file of an SVID, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The places of the SVIDs.
#[derive(Debug, Clone, Default)]
pub(super) struct SvidSources {
    files: Vec<[PathBuf; 3]>,
    /// The socket of the Workload API.
    socket: Option<PathBuf>,
}

impl SvidSources {
    /// Takes the paths of certificate, key and bundle, once for each SVID, and a socket.
    pub(super) fn of(paths: &[PathBuf], socket: Option<&PathBuf>) -> Self {
        let (each, _) = paths.as_chunks::<3>();
        Self {
            files: each.to_vec(),
            socket: socket.cloned(),
        }
    }

    /// Reads all.
    ///
    /// # Errors
    /// The file or the socket that cannot be used, with the reason.
    pub(super) async fn read(&self, federation: &Federation) -> Result<DoctorCallers, String> {
        self.read_by(fetch_svid, federation).await
    }

    /// Reads all, that of the socket by `fetch`.
    async fn read_by(
        &self,
        fetch: impl AsyncFnOnce(&Path) -> Result<CallerSvid, String>,
        federation: &Federation,
    ) -> Result<DoctorCallers, String> {
        let files = self.files.clone();
        let svids = spawn_blocking(move || files.iter().map(svid).collect()).await;
        let svids: Result<Vec<CallerSvid>, String> =
            svids.map_err(|error| format!("--svid: {error}"))?;
        let mut svids = svids?;
        let mut flag = "--svid".to_owned();
        if let Some(socket) = &self.socket {
            flag = format!("--workload-api {}", socket.display());
            let fetched = fetch(socket).await;
            svids.push(fetched.map_err(|error| format!("{flag}: {error}"))?);
        }
        DoctorCallers::of(federation, svids).map_err(|error| format!("{flag}: {error}"))
    }
}

/// The refusal of a build without a client. The tests of every build have it.
#[cfg(any(test, not(feature = "workload-api")))]
fn refuse(_socket: &Path) -> std::future::Ready<Result<CallerSvid, String>> {
    std::future::ready(Err(
        "this build has no client of the Workload API: give --svid the files of `spire-agent api fetch x509 -write DIR`, or build strait with --features workload-api"
            .to_owned(),
    ))
}

/// The path of the socket in an address of the Workload API.
///
/// # Errors
/// The reason why it is none.
pub(super) fn socket_path(address: &str) -> Result<PathBuf, String> {
    let path = match address.strip_prefix("unix:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None if address.starts_with("tcp:") => {
            return Err(
                "an SVID's key travels over a Unix socket only: write unix:///PATH".to_owned(),
            );
        }
        None => address,
    };
    match path {
        "" => Err(
            "it is empty: write unix:///PATH, which pods have in SPIFFE_ENDPOINT_SOCKET".to_owned(),
        ),
        path if path.starts_with('/') || path == address => Ok(path.into()),
        _ => Err("write unix:///PATH with the whole path".to_owned()),
    }
}

fn svid([chain, key, bundle]: &[PathBuf; 3]) -> Result<CallerSvid, String> {
    let read = |path: &Path| match file::read(path, MAX_FILE + 1) {
        Ok((bytes, _)) if bytes.len() > MAX_FILE => {
            let (path, most) = (path.display(), MAX_FILE >> 20);
            Err(format!("--svid: {path}: it is larger than {most} MiB"))
        }
        Ok((bytes, _)) => Ok(bytes),
        Err(error) => Err(format!("--svid: {}: {error}", path.display())),
    };
    let (chain_pem, key_pem, bundle_pem) = (read(chain)?, read(key)?, read(bundle)?);
    let pem = SvidPem {
        chain: &chain_pem,
        key: &key_pem,
        bundle: &bundle_pem,
    };
    CallerSvid::parse(pem).map_err(|error| {
        let paths = [chain, key, bundle].map(|path| path.display().to_string());
        format!("--svid {}: {error}", paths.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::test_folder::TestFolder;

    #[test]
    fn a_file_that_is_too_large_is_named_and_not_cut() {
        let folder = TestFolder::create();
        let path = folder.write("svid.pem", vec![b'\n'; MAX_FILE + 1]);
        let why = svid(&[(); 3].map(|()| path.clone())).unwrap_err();
        assert!(why.ends_with("it is larger than 1 MiB"), "{why}");
    }

    #[test]
    fn an_address_of_the_workload_api_is_a_unix_socket() {
        for (address, path) in [
            (
                "unix:///run/spire/agent.sock",
                Some("/run/spire/agent.sock"),
            ),
            ("unix:/run/agent.sock", Some("/run/agent.sock")),
            ("/run/agent.sock", Some("/run/agent.sock")),
            ("agent.sock", Some("agent.sock")),
            ("unix:agent.sock", None),
            ("unix://host/agent.sock", None),
            ("unix://", None),
            ("", None),
            ("tcp://127.0.0.1:8081", None),
        ] {
            let read = socket_path(address).ok();
            assert_eq!(read.as_deref(), path.map(Path::new), "{address}");
        }
    }

    #[tokio::test]
    async fn a_build_without_a_client_names_the_files() {
        let file = b"sides: [{ trust_domain: a.com, gateway: '127.0.0.1:1' }, { trust_domain: b.com, gateway: '127.0.0.1:1' }]";
        let federation = Federation::parse(file, "a test").unwrap();
        let sources = SvidSources::of(&[], Some(&"/agent.sock".into()));
        let error = sources.read_by(refuse, &federation).await.unwrap_err();
        assert!(error.starts_with("--workload-api /agent.sock: this build has no client"));
        assert!(error.contains("--svid"), "{error}");
    }
}
