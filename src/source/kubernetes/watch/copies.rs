//! Files that the client of the API reads again and again: its token, and the certificates of the
//! authority that vouches for the API.
//!
//! The library would read such a file on the thread that uses the client, where a mount that hangs would
//! stop everything, and it would send a token for up to a minute after another one has replaced it. This
//! module reads the files on another thread and within a time limit. The token is kept here, and each
//! request gets it; for the certificates the library reads a copy in memory. Until a file can be read
//! again, its last content stays in use.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;
use k8s_openapi::ByteString;
use kube::Config;
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::file::{self, Patience};

/// The age at which a copy is renewed, when the client is used.
const AGE: Duration = Duration::from_secs(30);
/// The time between two looks for another token after the API has refused the present one, and the
/// number of looks. Further refusals begin further looks.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: usize = 30;
/// The longest time that reading a file may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The most bytes of a file.
const MAX_FILE: usize = 1 << 20;
/// The longest name of a pod with its UID.
const MAX_POD: usize = 300;
/// The time limit of all clients together: threads must not pile up behind a mount that hangs.
static PATIENCE: LazyLock<Patience> = LazyLock::new(|| Patience::new(ANSWER));

/// The files that one client uses. They must live as long as it does.
#[derive(Debug)]
pub(super) struct Copies {
    token: Option<Token>,
    authority: Option<Copy>,
    looked: Mutex<Instant>,
    /// True while another token is looked for.
    refused: AtomicBool,
    /// Changes when the token does.
    renewed: watch::Sender<()>,
}

/// The token of a file.
#[derive(Debug)]
struct Token {
    file: PathBuf,
    header: Mutex<HeaderValue>,
}

/// A file and its copy.
#[derive(Debug)]
struct Copy {
    file: PathBuf,
    memory: File,
}

impl Copies {
    /// Reads the files that `config` names. Then `config` names no file of a token any more, and for the
    /// authority a copy. The caller's thread waits for the files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn of(config: &mut Config) -> io::Result<Arc<Self>> {
        let auth = &mut config.auth_info;
        // The library prefers each of these to a file.
        let is_used =
            auth.auth_provider.is_none() && auth.username.is_none() && auth.token.is_none();
        let token = auth.token_file.take_if(|_| is_used);
        let token = token.map(|path| Token::of(Path::new(&path))).transpose()?;
        let mut authority = None;
        if let Some(path) = &mut config.root_cert_file {
            let copy = Copy::of(path)?;
            *path = copy.path().into();
            authority = Some(copy);
        }
        Ok(Arc::new(Self {
            token,
            authority,
            looked: Mutex::new(Instant::now()),
            refused: AtomicBool::new(false),
            renewed: watch::Sender::new(()),
        }))
    }

    /// The value of the header `Authorization`, if the token is in a file.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let header = self.token.as_ref()?.header.lock();
        Some(header.unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The pod that the token belongs to, by name and UID, if it says so: tokens that the kubelet brings
    /// do. No other pod has them, and a container that restarts keeps them.
    pub(super) fn pod(&self) -> Option<String> {
        let header = self.authorization()?;
        pod_of(header.to_str().ok()?.strip_prefix("Bearer ")?)
    }

    /// A receiver that sees each change of the token.
    pub(super) fn renewals(&self) -> watch::Receiver<()> {
        self.renewed.subscribe()
    }

    /// Begins to read the files again if that is due. Never waits.
    pub(super) fn look(self: &Arc<Self>) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let none = self.token.is_none() && self.authority.is_none();
        if none || looked.elapsed() < AGE {
            return;
        }
        *looked = Instant::now();
        let copies = self.clone();
        tokio::spawn(async move { copies.renew().await });
    }

    /// Begins to look for another token: the API has refused the present one. Never waits.
    pub(super) fn refused(self: &Arc<Self>) {
        if self.token.is_none() || self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        let copies = self.clone();
        tokio::spawn(async move {
            for _ in 0..LOOKS {
                if copies.renew_token().await {
                    break;
                }
                sleep(LOOK).await;
            }
            copies.refused.store(false, Ordering::Relaxed);
        });
    }

    async fn renew(&self) {
        self.renew_token().await;
        if let Some(copy) = &self.authority {
            renew(&copy.file, |bytes| copy.set(bytes)).await;
        }
    }

    /// Reads the token again. Returns whether it is another one.
    async fn renew_token(&self) -> bool {
        let Some(token) = &self.token else {
            return false;
        };
        let mut changed = false;
        renew(&token.file, |bytes| {
            changed = token.set(bytes)?;
            Ok(())
        })
        .await;
        if changed {
            self.renewed.send_replace(());
        }
        changed
    }
}

async fn renew(file: &Path, set: impl FnOnce(&[u8]) -> io::Result<()>) {
    let path = file.to_owned();
    let read = PATIENCE.ask(move || file::read(&path, MAX_FILE)).await;
    if let Err(error) = read.and_then(|(bytes, _)| set(&bytes)) {
        let path = file.display();
        tracing::warn!(
            %path, %error,
            "strait cannot read a file that it needs for the Kubernetes API, and uses its previous content"
        );
    }
}

impl Token {
    fn of(file: &Path) -> io::Result<Self> {
        let read = file::read(file, MAX_FILE).and_then(|(bytes, _)| bearer(&bytes));
        Ok(Self {
            file: file.to_owned(),
            header: Mutex::new(read.map_err(naming(file))?),
        })
    }

    /// Replaces the token. Returns whether it is another one.
    fn set(&self, bytes: &[u8]) -> io::Result<bool> {
        let new = bearer(bytes)?;
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *header != new;
        *header = new;
        Ok(changed)
    }
}

/// The header for the token in a file.
fn bearer(file: &[u8]) -> io::Result<HeaderValue> {
    let invalid = |text: &'static str| io::Error::new(ErrorKind::InvalidData, text);
    let token = file.trim_ascii();
    if token.is_empty() {
        return Err(invalid("the file is empty"));
    }
    let mut value = HeaderValue::from_bytes(&[&b"Bearer "[..], token].concat())
        .map_err(|_| invalid("the file holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The pod that a token of a service account is bound to. The token is our own, so nothing is verified.
fn pod_of(token: &str) -> Option<String> {
    let mut payload = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    payload.extend(std::iter::repeat_n(
        '=',
        payload.len().next_multiple_of(4) - payload.len(),
    ));
    let ByteString(claims) = serde_json::from_value(Value::String(payload)).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let pod = claims.get("kubernetes.io")?.get("pod")?;
    let pod = format!(
        "{}_{}",
        pod.get("name")?.as_str()?,
        pod.get("uid")?.as_str()?
    );
    (pod.len() <= MAX_POD).then_some(pod)
}

fn naming(file: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

impl Copy {
    fn of(file: &Path) -> io::Result<Self> {
        let copied = || {
            let copy = Self {
                memory: memory()?,
                file: file.to_owned(),
            };
            let (bytes, _) = file::read(file, MAX_FILE)?;
            copy.set(&bytes)?;
            Ok(copy)
        };
        copied().map_err(naming(file))
    }

    /// The path of the copy in this process.
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.memory.as_raw_fd())
    }

    /// Replaces the content of the copy. The client reads it on this same thread, so it never sees half of a
    /// write.
    fn set(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Err(io::Error::new(ErrorKind::InvalidData, "the file is empty"));
        }
        self.memory.write_all_at(bytes, 0)?;
        self.memory.set_len(bytes.len() as u64)
    }
}

/// A file in memory, without a name.
fn memory() -> io::Result<File> {
    // Some hosts demand the second flag (`vm.memfd_noexec`), which Linux before 6.3 does not know.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
    let made = memfd_create("strait-access", flags);
    let made = made.or_else(|_| memfd_create("strait-access", MemfdFlags::CLOEXEC));
    Ok(made?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::process::Command;

    use crate::file::test_folder::TestFolder;

    fn config(token: &Path, authority: &Path) -> Config {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info.token_file = Some(token.display().to_string());
        config.root_cert_file = Some(authority.to_owned());
        config
    }

    /// The token that requests get, and the certificates that the library reads.
    fn seen(copies: &Copies, config: &Config) -> [String; 2] {
        let token = copies.authorization().unwrap();
        let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let authority = config.root_cert_file.as_ref().unwrap();
        [token.to_owned(), fs::read_to_string(authority).unwrap()]
    }

    #[tokio::test]
    async fn copies_follow_their_files_and_keep_what_can_be_read_no_more() {
        let folder = TestFolder::create();
        let token = folder.write("token", "a long token");
        let authority = folder.write("ca.crt", "one");
        let mut config = config(&token, &authority);
        let copies = Copies::of(&mut config).unwrap();
        assert_eq!(seen(&copies, &config), ["a long token", "one"]);

        folder.write("token", "short");
        folder.write("ca.crt", "another");
        copies.renew().await;
        assert_eq!(seen(&copies, &config), ["short", "another"]);

        // A read of the pipe would wait for a writer.
        fs::remove_file(&token).unwrap();
        let made = Command::new("mkfifo").arg(&token).status().unwrap();
        assert!(made.success());
        folder.write("ca.crt", "");
        copies.renew().await;
        assert_eq!(seen(&copies, &config), ["short", "another"]);
        fs::remove_file(&token).unwrap();
        folder.write("token", "back");
        copies.renew().await;
        assert_eq!(seen(&copies, &config), ["back", "another"]);
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_when_the_client_is_used_and_not_too_often() {
        let folder = TestFolder::create();
        let token = folder.write("token", "one");
        let authority = folder.write("ca.crt", "ca");
        let mut config = config(&token, &authority);
        let copies = Copies::of(&mut config).unwrap();
        folder.write("token", "two");
        copies.look();
        sleep(AGE / 2).await;
        copies.look();
        assert_eq!(seen(&copies, &config)[0], "one");
        sleep(AGE).await;
        copies.look();
        assert_eq!(
            seen(&copies, &config)[0],
            "one",
            "the one who uses it does not wait"
        );
        let start = std::time::Instant::now();
        while seen(&copies, &config)[0] != "two" {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "never read again"
            );
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_looked_for_until_the_file_has_another_one() {
        let folder = TestFolder::create();
        let token = folder.write("token", "one\n");
        let authority = folder.write("ca.crt", "ca");
        let mut config = config(&token, &authority);
        let copies = Copies::of(&mut config).unwrap();
        assert_eq!(seen(&copies, &config)[0], "one");
        assert!(
            config.auth_info.token_file.is_none(),
            "the library sends none"
        );
        let mut renewals = copies.renewals();
        copies.refused();
        copies.refused();
        sleep(LOOK / 2).await;
        assert!(!renewals.has_changed().unwrap(), "it is the same one");
        folder.write("token", "two");
        let renewed = tokio::time::timeout(Duration::from_secs(20), renewals.changed());
        renewed.await.unwrap().unwrap();
        assert_eq!(seen(&copies, &config)[0], "two");
        folder.write("token", "\u{7f}");
        assert!(!copies.renew_token().await, "no token");
        assert_eq!(seen(&copies, &config)[0], "two");
    }

    #[test]
    fn a_token_names_the_pod_that_it_is_bound_to() {
        // The payloads of tokens, as the API writes them: base64 for URLs, without padding.
        let bound = r#"{"aud":["https://kubernetes.default.svc"],"kubernetes.io":{"namespace":"strait","pod":{"name":"strait-6d7-x2b","uid":"0a1b-2c"},"serviceaccount":{"name":"strait","uid":"u"}}}"#;
        let unbound = r#"{"kubernetes.io":{"namespace":"strait"}}"#;
        let token = |payload: &str| {
            let text =
                base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
            format!("e30.{text}.c2ln")
        };
        assert_eq!(
            pod_of(&token(bound)).as_deref(),
            Some("strait-6d7-x2b_0a1b-2c")
        );
        // Characters that differ between the two alphabets.
        let odd = r#"{"a":"???>>>~~~","kubernetes.io":{"pod":{"name":"p","uid":"u"}}}"#;
        assert_eq!(pod_of(&token(odd)).as_deref(), Some("p_u"));
        let long = bound.replace("0a1b", &"a".repeat(MAX_POD));
        for token in [
            token(unbound),
            token("[]"),
            token(&long),
            "x".into(),
            "a.b.c".into(),
            String::new(),
        ] {
            assert_eq!(pod_of(&token), None, "{token}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_at_first_is_named() {
        let folder = TestFolder::create();
        let there = folder.write("there", "x");
        let missing = folder.path().join("missing");
        for (token, authority) in [(&missing, &there), (&there, &missing)] {
            let error = Copies::of(&mut config(token, authority)).unwrap_err();
            assert!(error.to_string().contains("/missing: "), "{error}");
        }
    }
}
