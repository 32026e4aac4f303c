//! Descriptors that go from one process to another over a Unix socket (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The most descriptors of one message. The kernel allows 253 (SCM_MAX_FD).
pub const PASSED_AT_ONCE: usize = 64;

/// Sends `byte`, and with it `descriptors`, of which there are at most [`PASSED_AT_ONCE`].
///
/// # Errors
/// Errors of sendmsg(2); `WouldBlock` when the socket's buffer is full.
pub fn pass(socket: &impl AsFd, byte: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    if !descriptors.is_empty() && !control.push(rights) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let bytes = [byte];
    let flags = SendFlags::NOSIGNAL;
    match rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)? {
        1 => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives one byte with the descriptors that came with it. `None`: the other side has closed.
///
/// # Errors
/// Errors of recvmsg(2); `WouldBlock` when nothing has come. Descriptors that the limit of open files leaves
/// out are an error.
pub fn receive_passed(socket: &impl AsFd) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = {
        let mut parts = [IoSliceMut::new(&mut byte)];
        rustix::net::recvmsg(socket, &mut parts, &mut control, flags)?
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let text = "not every descriptor arrived: the limit of open files is too low";
        return Err(io::Error::other(text));
    }
    Ok((received.bytes > 0).then_some((byte[0], descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn each_byte_arrives_with_its_own_descriptors() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut inner, passed) = UnixStream::pair().unwrap();
        pass(&here, b'a', &[passed.as_fd(), passed.as_fd()]).unwrap();
        pass(&here, b'b', &[]).unwrap();
        drop((here, passed));
        let (byte, descriptors) = receive_passed(&there).unwrap().unwrap();
        assert_eq!((byte, descriptors.len()), (b'a', 2));
        let (byte, none) = receive_passed(&there).unwrap().unwrap();
        assert_eq!((byte, none.len()), (b'b', 0));
        assert!(receive_passed(&there).unwrap().is_none());
        let mut descriptors = descriptors.into_iter().map(UnixStream::from);
        let mut received = descriptors.next().unwrap();
        drop(descriptors);
        received.write_all(b"through").unwrap();
        drop(received);
        let mut text = String::new();
        inner.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
