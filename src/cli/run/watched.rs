//! The watched config file. Reading it never blocks the caller for ever.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;

use crate::config::{self, MAX_FILE};
use crate::file::{self, Patience, Stamp};

/// The time between two looks at the file. A change counts once two looks in a row agree, so that
/// strait does not read a half-written file.
const LOOK: Duration = Duration::from_millis(500);
/// The longest time for a read of the file or a look at it. A mount that hangs never answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// The config file. It has changed when stat(2) reports a change.
pub(super) struct WatchedFile {
    path: Arc<Path>,
    patience: Patience,
    taken: Option<Stamp>,
    last_seen: Option<Stamp>,
    /// Set if the last look got an answer.
    answers: bool,
}

impl WatchedFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            patience: Patience::new(PATIENCE),
            taken: None,
            last_seen: None,
            answers: true,
        }
    }

    /// Reads the file at once, and again after each change or each notification of `asked`. Sends every
    /// result to `give` until the channel is closed.
    ///
    /// Standard input is read once.
    pub(super) async fn follow(mut self, asked: Arc<Notify>, give: Sender<io::Result<Vec<u8>>>) {
        if config::is_standard_input(&self.path) {
            return receive_once(&asked, &give).await;
        }
        let mut looks = tokio::time::interval(LOOK);
        while give.send(self.read().await).await.is_ok() {
            loop {
                tokio::select! {
                    () = asked.notified() => break,
                    _ = looks.tick() => {
                        if self.changed().await {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// The file's bytes. From now on a change is compared with this read.
    ///
    /// # Errors
    /// The file cannot be read, is not a regular file, or does not answer.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let path = self.path.clone();
        let read = self
            .patience
            .ask(move || file::read(&path, MAX_FILE + 1))
            .await;
        let (bytes, stamp) = read?;
        self.taken = Some(stamp);
        self.last_seen = self.taken;
        Ok(bytes)
    }

    /// Whether the file has changed since it was read and has then stayed the same for two looks. A
    /// missing file (as while it is being replaced) has not changed, nor has a file that cannot be
    /// looked at.
    async fn changed(&mut self) -> bool {
        let path = self.path.clone();
        let now = match self.patience.ask(move || file::stamp(&path)).await {
            Ok(stamp) => Some(stamp),
            Err(error) => {
                self.note(Some(&error));
                None
            }
        };
        if now.is_some() {
            self.note(None);
        }
        let settled = std::mem::replace(&mut self.last_seen, now) == now;
        let changed = settled && now.is_some() && now != self.taken;
        if changed {
            self.taken = now;
        }
        changed
    }

    /// Logs once that the file does not answer, and once that it answers again.
    fn note(&mut self, error: Option<&io::Error>) {
        let silent = |error: &&io::Error| {
            let kind = error.kind();
            kind == io::ErrorKind::TimedOut || kind == io::ErrorKind::ResourceBusy
        };
        let silent = error.filter(silent);
        if self.answers == silent.is_none() {
            return;
        }
        self.answers = silent.is_none();
        let config = self.path.display();
        match silent {
            Some(error) => tracing::error!(
                %config, %error,
                "the config file does not answer, strait does not see changes of it: check its mount"
            ),
            None => tracing::info!(%config, "the config file answers again"),
        }
    }
}

/// Sends what standard input holds. It cannot be read again, so each later request is only logged.
async fn receive_once(asked: &Notify, give: &Sender<io::Result<Vec<u8>>>) {
    let receive = || file::receive_standard_input(MAX_FILE + 1, config::PIPE);
    let received = spawn_blocking(receive).await;
    let bytes = received.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    if give.send(bytes).await.is_err() {
        return;
    }
    loop {
        asked.notified().await;
        tracing::warn!(
            "the config came from standard input, which cannot be read again: strait goes on with it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::test_folder::TestFolder;
    use std::fs;

    #[tokio::test]
    async fn a_change_counts_once_it_has_settled_and_a_swapped_symlink_is_one() {
        let folder = TestFolder::create();
        let (old, new) = (folder.write("old", "a"), folder.write("new", "a"));
        let link = folder.path().join("link");
        let swap = |target: &Path| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
        };
        swap(&old);
        let mut file = WatchedFile::new(&link);
        assert_eq!(file.read().await.unwrap(), b"a");
        assert!(!file.changed().await);
        swap(&new);
        assert!(!file.changed().await, "may still be changing");
        assert!(file.changed().await);
        assert!(!file.changed().await, "reported once");
        fs::write(&new, "ab").unwrap();
        assert!(!file.changed().await);
        fs::write(&new, "abc").unwrap();
        assert!(!file.changed().await, "changed again since the last look");
        assert!(file.changed().await);
        fs::remove_file(&link).unwrap();
        assert!(!file.changed().await);
        assert!(!file.changed().await, "a file that is away has not changed");
    }
}
