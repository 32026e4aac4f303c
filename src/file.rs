//! The reading of files that may misbehave: pipes without a writer, devices, mounts that hang.
//!
//! [`read`] opens only regular files, and does not wait. On a mount that hangs even stat(2) never
//! returns, so [`Patience`] reads on another thread and stops waiting at a deadline.

#[cfg(test)]
pub(crate) mod test_folder;

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

/// The identity and age of a file from stat(2), to detect a change: device, inode, size, seconds and
/// nanoseconds of the last modification.
pub type Stamp = (u64, u64, u64, i64, i64);

/// The stamp of the file that `path` leads to. It follows symlinks, so the swap of `..data` in a
/// mounted ConfigMap shows as another inode.
///
/// # Errors
/// Those of stat(2).
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    fs::metadata(path).map(|meta| stamp_of(&meta))
}

fn stamp_of(meta: &Metadata) -> Stamp {
    (
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
    )
}

/// Reads the first `most` bytes of a regular file. Returns them with its stamp from before the read.
/// Symlinks are followed.
///
/// # Errors
/// The file cannot be read, or is not a regular file. Pipes, devices and sockets are not even opened,
/// since opening or reading them may wait for ever.
pub fn read(path: &Path, most: usize) -> io::Result<(Vec<u8>, Stamp)> {
    let (file, meta) = open(path, FileType::is_file)?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok((bytes, stamp_of(&meta)))
}

/// As [`read`], but also accepts a pipe, such as the shell makes for `<(command)`. A pipe is read until
/// its writers have closed it, for at most `wait`.
///
/// # Errors
/// As [`read`], and a pipe that does not end in time.
pub fn read_or_receive(path: &Path, most: usize, wait: Duration) -> io::Result<Vec<u8>> {
    let allowed = |kind: &FileType| kind.is_file() || kind.is_fifo();
    let (file, _) = open(path, allowed)?;
    receive(file, most, wait)
}

/// Reads the first `most` bytes of standard input, which may be of any kind: a file, a pipe, a terminal.
///
/// # Errors
/// It cannot be read, or does not end within `wait`.
pub fn receive_standard_input(most: usize, wait: Duration) -> io::Result<Vec<u8>> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    receive(File::from(stdin), most, wait)
}

/// Reads a file that is open. One that is not regular is read until its end, for at most `wait`.
fn receive(mut file: File, most: usize, wait: Duration) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(most as u64).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let deadline = Instant::now() + wait;
    let mut piece = [0; 4096];
    while bytes.len() < most {
        // Before the first read, too: a pipe that no writer has opened yet reads like one that has
        // ended.
        if !readable(&file, deadline)? {
            let text = format!("this input has not ended within {}s", wait.as_secs());
            return Err(io::Error::new(ErrorKind::TimedOut, text));
        }
        let wanted = piece.len().min(most - bytes.len());
        match file.read(&mut piece[..wanted]) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Opens a file of an allowed kind without waiting.
fn open(path: &Path, allowed: impl Fn(&FileType) -> bool) -> io::Result<(File, Metadata)> {
    let check = |meta: Metadata| match meta.file_type() {
        kind if allowed(&kind) => Ok(meta),
        kind => Err(io::Error::new(ErrorKind::InvalidInput, refusal(kind))),
    };
    // Checked before opening, since opening a device may already have an effect.
    check(fs::metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // Checked again, since the path may lead to another file by now.
    let meta = check(file.metadata()?)?;
    Ok((file, meta))
}

fn refusal(kind: FileType) -> String {
    let what = match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "something else",
    };
    format!("this is {what}, not a regular file")
}

/// Waits for bytes to read or the end of the file. Returns false at the deadline.
fn readable(file: &File, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut asked = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut asked, Some(&left)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Runs file operations that may never return on another thread, such as those on a mount that hangs.
/// One operation runs at a time and the others wait for their turn, so that threads do not pile up.
#[derive(Debug, Clone)]
pub struct Patience {
    place: Arc<Semaphore>,
    wait: Duration,
}

impl Patience {
    /// Creates a limit: each operation takes at most `wait`, including the time until its turn.
    pub fn new(wait: Duration) -> Self {
        Self {
            place: Arc::new(Semaphore::new(1)),
            wait,
        }
    }

    /// Returns the result of `ask`. When the wait is over, `ask` continues and holds the only place
    /// until it ends.
    ///
    /// # Errors
    /// Errors of `ask`, no result in time, or an earlier operation that does not end.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let deadline = tokio::time::Instant::now() + self.wait;
        let turn = timeout_at(deadline, self.place.clone().acquire_owned());
        let Ok(Ok(place)) = turn.await else {
            let text = "an earlier attempt to read it has not ended yet";
            return Err(io::Error::new(ErrorKind::ResourceBusy, text));
        };
        let answer = spawn_blocking(move || {
            let answer = ask();
            drop(place);
            answer
        });
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ended)) => Err(io::Error::other(ended)),
            Err(_) => {
                let text = format!("it could not be read within {:?}", self.wait);
                Err(io::Error::new(ErrorKind::TimedOut, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::sync::mpsc::sync_channel;

    const SOON: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        for (path, what) in [
            ("/dev/ptmx", "a device"),
            ("/dev/zero", "a device"),
            ("/", "a directory"),
        ] {
            let error = read(Path::new(path), 10).unwrap_err().to_string();
            assert!(error.contains(what), "{path}: {error}");
            assert!(read_or_receive(Path::new(path), 10, LATE).is_err());
        }
    }

    #[test]
    fn no_more_is_read_than_asked_for() {
        let path = Path::new("/proc/self/status");
        assert_eq!(read(path, 10).unwrap().0.len(), 10);
        assert_eq!(read_or_receive(path, 10, LATE).unwrap().len(), 10);
    }

    #[test]
    fn a_pipe_is_read_to_its_end_by_who_may_and_not_waited_for_beyond_the_deadline() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let path = Path::new(&path);
        let error = read(path, 10).unwrap_err().to_string();
        assert!(error.contains("a pipe"), "{error}");
        writer.write_all(b"one").unwrap();
        let error = read_or_receive(path, 10, SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let late = std::thread::spawn(move || {
            writer.write_all(b"two").unwrap();
            std::thread::sleep(SOON);
            writer.write_all(b"three").unwrap();
        });
        assert_eq!(read_or_receive(path, 100, LATE).unwrap(), b"twothree");
        late.join().unwrap();
    }

    #[tokio::test]
    async fn questions_at_the_same_time_take_turns() {
        let patience = Patience::new(LATE);
        let ask = |number| patience.ask(move || Ok(number));
        let (first, second, third) = tokio::join!(ask(1), ask(2), ask(3));
        assert_eq!([first, second, third].map(Result::unwrap), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_question_without_an_answer_is_given_up_and_blocks_only_itself() {
        let patience = Patience::new(SOON);
        let (release, released) = sync_channel::<()>(0);
        let hangs = patience.ask(move || {
            let _ = released.recv();
            Ok(())
        });
        assert_eq!(hangs.await.unwrap_err().kind(), ErrorKind::TimedOut);
        let second = patience.ask(|| Ok(()));
        assert_eq!(second.await.unwrap_err().kind(), ErrorKind::ResourceBusy);
        drop(release);
        let deadline = Instant::now() + LATE;
        while patience.ask(|| Ok(())).await.is_err() {
            assert!(Instant::now() < deadline, "the place never came back");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
