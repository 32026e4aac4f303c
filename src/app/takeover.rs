//! The takeover: a new process gets the listening sockets of its predecessor, which then drains.
//!
//! ```text
//!  predecessor                               successor
//!      | <---------- connects to `takeover.path` -- |   both compare the other's user with their own
//!      | -- the listening sockets ----------------> |   starts, and accepts nothing yet
//!      |    (goes on accepting)                     |
//!      | <-------------------------------- READY -- |   as /healthz/ready has it
//!      | -- YOURS --------------------------------> |   accepts; its own socket replaces `takeover.path`
//!      v                                            v
//!   drains
//! ```
//!
//! Both have the same sockets, so a connection in the kernel's queue is lost at no moment. Until READY, the
//! end of the successor changes nothing for the predecessor. One successor is served at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

use super::control::Control;
use super::passable::{NO_MORE, PATIENCE, READY, SOCKETS, YOURS, hear, say, within};
use crate::socket::Inherited;

/// The time between two looks whether this process is ready.
const LOOK: Duration = Duration::from_millis(20);
/// Successors that may wait for their turn.
const BACKLOG: i32 = 8;
/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// The mode of the Unix socket: only the user of this process may connect.
const MODE: u32 = 0o600;

/// Checks that the process at the other end runs as the same user.
fn check_user(stream: &UnixStream) -> io::Result<()> {
    let (other, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
    if other == own.as_raw() {
        return Ok(());
    }
    let text = format!("the process at the other end runs as user {other}, not as {own:?}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn unknown(byte: u8) -> io::Error {
    let text = format!("the process at the other end says {byte}: another version of strait?");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The process whose sockets this one takes over.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// Asks the process that serves the Unix socket `path`, if there is one, for its listening sockets.
    ///
    /// # Errors
    /// It is another user's process, it does not answer, or a socket of it cannot be used.
    pub(super) async fn find(path: &Path, inherited: &Inherited) -> io::Result<Option<Self>> {
        let stream = match within(PATIENCE, UnixStream::connect(path)).await {
            Ok(stream) => stream,
            Err(error) => {
                let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
                return if nobody.contains(&error.kind()) {
                    Ok(None)
                } else {
                    Err(error)
                };
            }
        };
        check_user(&stream)?;
        let mut count = 0;
        loop {
            match within(PATIENCE, hear(&stream)).await? {
                Some((SOCKETS, sockets)) => {
                    count += sockets.len();
                    inherited.add(sockets)?;
                }
                Some((NO_MORE, _)) => break,
                Some((byte, _)) => return Err(unknown(byte)),
                None => {
                    let text = "the process that serves now has closed the connection";
                    return Err(io::Error::other(text));
                }
            }
        }
        tracing::info!(
            sockets = count,
            path = %path.display(),
            "strait has the listening sockets of the process that serves now, and takes over once it is ready"
        );
        Ok(Some(Self(stream)))
    }

    /// Tells it that this process is ready, and waits until it accepts no more. If it does not answer, it
    /// has ended, or it hangs: this process then goes on with the sockets that it has.
    async fn relieve(self) {
        let relieved = async {
            say(&self.0, READY, &[]).await?;
            match within(PATIENCE, hear(&self.0)).await? {
                Some((YOURS, _)) => Ok(()),
                Some((byte, _)) => Err(unknown(byte)),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        match relieved.await {
            Ok(()) => tracing::info!("strait has taken over, the previous process drains"),
            Err(error) => tracing::warn!(
                %error,
                "the previous process has not answered that it drains; strait serves with its sockets"
            ),
        }
    }
}

/// Waits until this process is ready, and takes over. Returns early when the process ends.
pub(super) async fn take_over(
    control: &Control,
    inherited: &Inherited,
    predecessor: Option<Predecessor>,
) {
    if let Some(predecessor) = predecessor {
        let mut watcher = control.watcher.clone();
        let ready = async {
            while control.readiness.check().is_err() {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = watcher.stopped() => return,
            () = ready => {}
        }
        close_rest(inherited);
        predecessor.relieve().await;
        control.shared.accept_gate.release();
    } else {
        close_rest(inherited);
    }
}

/// Closes what neither a listener nor a server has taken.
fn close_rest(inherited: &Inherited) {
    let addresses = inherited.close();
    if !addresses.is_empty() {
        tracing::warn!(
            ?addresses,
            "no listener or server of the config has these addresses, on which another process listens for strait; strait closes its part"
        );
    }
}

/// The Unix socket on which a successor asks for the listening sockets.
#[derive(Debug)]
pub(super) struct TakeoverSocket {
    socket: UnixListener,
    /// The place where it is bound until it is published.
    draft: Option<PathBuf>,
    pub(super) path: PathBuf,
}

impl TakeoverSocket {
    /// Binds the socket beside `path`: a predecessor serves `path` until [`TakeoverSocket::publish`].
    ///
    /// # Errors
    /// Errors of bind(2) and chmod(2), or `path` is a file that is no socket.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(found) = path.symlink_metadata()
            && !found.file_type().is_socket()
        {
            return Err(io::Error::other("it is a file, and not a Unix socket"));
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{:08x}", fastrand::u32(..)));
        let draft = PathBuf::from(draft);
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(&draft)?)?;
        let opened = std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(MODE))
            .and_then(|()| socket.listen(BACKLOG))
            .and_then(|()| UnixListener::from_std(OwnedFd::from(socket).into()));
        match opened {
            Ok(socket) => Ok(Self {
                socket,
                draft: Some(draft),
                path: path.to_owned(),
            }),
            Err(error) => {
                let _ = std::fs::remove_file(draft);
                Err(error)
            }
        }
    }

    /// Puts the socket at its path, in place of a predecessor's.
    ///
    /// # Errors
    /// Errors of rename(2).
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if let Some(draft) = &self.draft {
            std::fs::rename(draft, &self.path)?;
            self.draft = None;
        }
        Ok(())
    }

    /// Serves one successor after the other, until one has taken over.
    pub(super) async fn serve(&self, control: &Arc<Control>) -> io::Result<()> {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "strait could not accept a successor");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            match serve_one(&stream, control).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(
                    %error,
                    "a process that asked for the listening sockets has not taken over; strait goes on serving"
                ),
            }
        }
    }
}

impl Drop for TakeoverSocket {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            let _ = std::fs::remove_file(draft);
        }
    }
}

/// Gives the sockets to a successor, and drains once it is ready.
async fn serve_one(stream: &UnixStream, control: &Arc<Control>) -> io::Result<()> {
    check_user(stream)?;
    let sockets = control.passable.send(stream).await?;
    let process = stream.peer_cred()?.pid();
    tracing::info!(
        sockets,
        process,
        "another process of strait has the listening sockets, and takes over once it is ready"
    );
    // A process that takes long to be ready may need minutes, and one that hangs is an operator's to end.
    match hear(stream).await? {
        Some((READY, _)) => {}
        Some((byte, _)) => return Err(unknown(byte)),
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    say(stream, YOURS, &[]).await?;
    tracing::info!(process, "another process of strait has taken over");
    control.passable.passed.send_replace(true);
    control.clone().begin_drain_at_once();
    Ok(())
}
