//! Copies in memory of files that the client of the API reads again and again: its token, and the
//! certificates of the authority that vouches for the API.
//!
//! The library reads such a file about once a minute, on the thread that uses the client, and a mount
//! that hangs would stop that thread. A copy always answers. This module reads the file itself, on another
//! thread and within a time limit. Until the file can be read again, its last content stays in use.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use kube::Config;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::time::Instant;

use crate::file::{self, Patience};

/// The age at which a copy is renewed, when the client is used.
const AGE: Duration = Duration::from_secs(30);
/// The longest time that reading a file may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The most bytes of a file.
const MAX_FILE: usize = 1 << 20;
/// The time limit of all clients together: threads must not pile up behind a mount that hangs.
static PATIENCE: LazyLock<Patience> = LazyLock::new(|| Patience::new(ANSWER));

/// The copies that one client uses. They must live as long as it does.
#[derive(Debug)]
pub(super) struct Copies {
    copies: Vec<Copy>,
    looked: Mutex<Instant>,
}

/// A file and its copy.
#[derive(Debug)]
struct Copy {
    file: PathBuf,
    memory: File,
}

impl Copies {
    /// Reads the files that `config` names, and makes it name their copies. The caller's thread waits for the
    /// files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn of(config: &mut Config) -> io::Result<Arc<Self>> {
        let mut copies = Vec::new();
        if let Some(path) = &mut config.auth_info.token_file {
            let copy = Copy::of(Path::new(&*path))?;
            *path = copy.path();
            copies.push(copy);
        }
        if let Some(path) = &mut config.root_cert_file {
            let copy = Copy::of(path)?;
            *path = copy.path().into();
            copies.push(copy);
        }
        Ok(Arc::new(Self {
            copies,
            looked: Mutex::new(Instant::now()),
        }))
    }

    /// Begins to read the files again if that is due. Never waits.
    pub(super) fn look(self: &Arc<Self>) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.copies.is_empty() || looked.elapsed() < AGE {
            return;
        }
        *looked = Instant::now();
        let copies = self.clone();
        tokio::spawn(async move { copies.renew().await });
    }

    async fn renew(&self) {
        for copy in &self.copies {
            let path = copy.file.clone();
            let read = PATIENCE.ask(move || file::read(&path, MAX_FILE)).await;
            if let Err(error) = read.and_then(|(bytes, _)| copy.set(&bytes)) {
                let path = copy.file.display();
                tracing::warn!(
                    %path, %error,
                    "strait cannot read a file that it needs for the Kubernetes API, and uses its previous content"
                );
            }
        }
    }
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
        copied().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", file.display()))
        })
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

    struct Folder(PathBuf);

    impl Folder {
        fn create() -> Self {
            let name = format!("strait-copies-{:016x}", fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn config(token: &Path, authority: &Path) -> Config {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info.token_file = Some(token.display().to_string());
        config.root_cert_file = Some(authority.to_owned());
        config
    }

    /// The token and the certificates that the library reads.
    fn seen(config: &Config) -> [String; 2] {
        let token = config.auth_info.token_file.as_ref().unwrap();
        let authority = config.root_cert_file.as_ref().unwrap();
        [Path::new(token), authority].map(|path| fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn copies_follow_their_files_and_keep_what_can_be_read_no_more() {
        let folder = Folder::create();
        let token = folder.write("token", "a long token");
        let authority = folder.write("ca.crt", "one");
        let mut config = config(&token, &authority);
        let copies = Copies::of(&mut config).unwrap();
        assert_eq!(seen(&config), ["a long token", "one"]);

        folder.write("token", "short");
        folder.write("ca.crt", "another");
        copies.renew().await;
        assert_eq!(seen(&config), ["short", "another"]);

        // A read of the pipe would wait for a writer.
        fs::remove_file(&token).unwrap();
        let made = Command::new("mkfifo").arg(&token).status().unwrap();
        assert!(made.success());
        folder.write("ca.crt", "");
        copies.renew().await;
        assert_eq!(seen(&config), ["short", "another"]);
        fs::remove_file(&token).unwrap();
        folder.write("token", "back");
        copies.renew().await;
        assert_eq!(seen(&config), ["back", "another"]);
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_when_the_client_is_used_and_not_too_often() {
        let folder = Folder::create();
        let token = folder.write("token", "one");
        let authority = folder.write("ca.crt", "ca");
        let mut config = config(&token, &authority);
        let copies = Copies::of(&mut config).unwrap();
        folder.write("token", "two");
        copies.look();
        tokio::time::sleep(AGE / 2).await;
        copies.look();
        assert_eq!(seen(&config)[0], "one");
        tokio::time::sleep(AGE).await;
        copies.look();
        assert_eq!(seen(&config)[0], "one", "the one who uses it does not wait");
        let start = std::time::Instant::now();
        while seen(&config)[0] != "two" {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "never read again"
            );
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_at_first_is_named() {
        let folder = Folder::create();
        let there = folder.write("there", "x");
        let missing = folder.0.join("missing");
        for (token, authority) in [(&missing, &there), (&there, &missing)] {
            let error = Copies::of(&mut config(token, authority)).unwrap_err();
            assert!(error.to_string().contains("/missing: "), "{error}");
        }
    }
}
