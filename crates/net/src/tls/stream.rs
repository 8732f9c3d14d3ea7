//! An encrypted stream over a socket, for either side.
//!
//! rustls turns bytes into bytes, this moves them: a whole read of the socket at a time through the worker's
//! buffers, so that a connection that waits holds little, and all records of a write in one system call. It sets no
//! deadlines and trusts nobody by itself: that is in the configuration that the connection was made with. Start at
//! [`TlsStream::handshake`].

mod detached;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, BufRead as _, IoSlice, Write};
use std::mem;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::net::RecvFlags;
use rustls::Connection;
use tokio::io::{Interest, ReadBuf};

use crate::Stream;
use crate::stream::{Idle, SCRATCH, SCRATCH_BYTES, deliver, polled};

pub(crate) use detached::DetachedTls;

/// The least that is read from the socket at once, however little is asked for: most of what is read in vain would
/// otherwise be record headers and tags.
const LEAST_READ: usize = 4 * 1024;

/// The most that a handshake reads at once. What follows it waits for the session to ask.
const HANDSHAKE_READ: usize = 16 * 1024;

/// How often [`TlsStream::is_alive`] reads: more than the tickets that a server sends, in as many pieces.
const ALIVE_READS: usize = 8;

thread_local! {
    /// What was just decrypted; empty between two reads.
    static PLAIN: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// An encrypted stream.
pub struct TlsStream {
    /// Never TLS itself.
    socket: Stream,
    connection: Connection,
    /// Decrypted and not yet asked for: at most one read and one record.
    plain: BytesMut,
    /// Why nothing can be read behind `plain`.
    fault: Option<rustls::Error>,
    /// The peer has said that it sends no more.
    ended: bool,
    /// The last byte of what was encrypted is not yet reported as written.
    owes: bool,
    /// The end of our direction is encrypted already.
    closing: bool,
    /// The socket is to be cut, so the peer must not be told of an orderly end.
    aborted: Cell<bool>,
}

/// Why there is no encrypted stream.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's bytes or certificate, or what it says about ours.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The socket. `UnexpectedEof` is a peer that has ended it in the middle.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TlsStream {
    /// TLS over a plain socket, to be used after [`handshake`](Self::handshake). `connection` is of either side;
    /// `received` was read from the socket before and belongs to the handshake.
    ///
    /// # Errors
    /// `received` is no TLS.
    pub fn new(
        socket: Stream,
        connection: impl Into<Connection>,
        received: &[u8],
    ) -> Result<Self, HandshakeError> {
        let mut stream = Self {
            socket,
            connection: connection.into(),
            plain: BytesMut::new(),
            fault: None,
            ended: false,
            owes: false,
            closing: false,
            aborted: Cell::new(false),
        };
        let mut plain = BytesMut::new();
        stream.decrypt(received, &mut plain);
        stream.plain = plain;
        match stream.fault.clone() {
            Some(fault) => Err(stream.refuse(fault)),
            None => Ok(stream),
        }
    }

    /// Completes the handshake, without a deadline. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`HandshakeError`]. The peer is told why, as far as it listens.
    pub async fn handshake(&mut self) -> Result<(), HandshakeError> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    /// As [`handshake`](Self::handshake).
    ///
    /// # Errors
    /// As [`handshake`](Self::handshake).
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            if let Some(fault) = self.fault.clone() {
                return Poll::Ready(Err(self.refuse(fault)));
            }
            ready!(self.poll_flush(cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
            // What comes along with the last message of the handshake is kept for the session.
            let mut plain = mem::take(&mut self.plain);
            let read = self.fetch(Some(cx), &mut plain, HANDSHAKE_READ);
            self.plain = plain;
            ready!(polled(read))?;
        }
    }

    /// What was agreed: versions, names, certificates.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The plain socket.
    pub(crate) const fn socket(&self) -> &Stream {
        &self.socket
    }

    /// Appends to `dst` what the peer has sent, at most `limit` bytes; 0 is its end. Without a task nobody is woken.
    pub(crate) fn receive(
        &mut self,
        task: Option<&mut Context<'_>>,
        dst: &mut BytesMut,
        limit: usize,
    ) -> io::Result<usize> {
        let limit = limit.clamp(1, SCRATCH_BYTES);
        if !self.plain.is_empty() {
            let piece = self.take_plain(limit);
            let count = piece.len();
            append(piece, dst);
            return Ok(count);
        }
        PLAIN.with_borrow_mut(|plain| {
            // Once, and not record by record; a reader that took the buffer along may have given it back.
            plain.reserve(SCRATCH_BYTES);
            let count = self.fetch(task, plain, limit)?.min(limit);
            self.keep_rest(plain, limit);
            deliver(plain, dst);
            Ok(count)
        })
    }

    /// As [`receive`](Self::receive), into a buffer of the caller's.
    pub(crate) fn receive_into(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<()> {
        let limit = buffer.remaining();
        if limit == 0 {
            return Ok(());
        }
        if !self.plain.is_empty() {
            buffer.put_slice(&self.take_plain(limit));
            return Ok(());
        }
        PLAIN.with_borrow_mut(|plain| {
            self.fetch(Some(cx), plain, limit)?;
            self.keep_rest(plain, limit);
            buffer.put_slice(plain);
            plain.clear();
            Ok(())
        })
    }

    /// Encrypts as much as fits into what may wait, and writes it. Its last byte is counted when all is with the
    /// kernel: so whoever writes comes back while something waits here, and a failure is never taken for "nothing was
    /// sent".
    pub(crate) fn send(
        &mut self,
        mut task: Option<&mut Context<'_>>,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.flush(task.as_deref_mut())?;
        if slices.iter().all(|slice| slice.is_empty()) {
            return Ok(0);
        }
        if mem::take(&mut self.owes) {
            return Ok(1);
        }
        let count = self.connection.writer().write_vectored(slices)?;
        match self.flush(task) {
            Ok(()) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.owes = true;
                if count > 1 { Ok(count - 1) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Ready when everything encrypted is with the kernel.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        polled(self.flush(Some(cx)))
    }

    /// Tells the peer of the end (RFC 8446 section 6.1), then ends the socket's direction.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue_close();
        ready!(self.poll_flush(cx))?;
        self.socket.poll_shutdown(cx)
    }

    /// See [`Stream::reset_on_close`].
    pub(crate) fn reset_on_close(&self) {
        self.aborted.set(true);
        self.socket.reset_on_close();
    }

    /// Ready when a read would not wait.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_quiet() {
            self.socket.poll_read_ready(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// See [`Stream::is_alive`]. Reads past the runtime, which may not have heard yet.
    pub(crate) fn is_alive(&mut self) -> bool {
        let receive = |socket: &Stream, cipher: &mut [u8]| receive_now(socket, cipher);
        self.look(receive) == Idle::Quiet
    }

    /// See [`Stream::idle_state`].
    pub(crate) fn idle_state(&mut self) -> Idle {
        self.look(|socket, cipher| {
            socket.try_io(Interest::READABLE, || receive_now(socket, cipher))
        })
    }

    /// What a reader would get, as far as `receive` has something to decrypt.
    fn look(&mut self, receive: impl Fn(&Stream, &mut [u8]) -> io::Result<usize>) -> Idle {
        for _ in 0..ALIVE_READS {
            if !self.plain.is_empty() {
                return Idle::Bytes;
            }
            if !self.is_quiet() {
                return Idle::Ended;
            }
            let mut cipher = [0_u8; LEAST_READ];
            let count = match receive(&self.socket, &mut cipher) {
                Ok(0) => return Idle::Ended,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Idle::Quiet,
                Err(_) => return Idle::Ended,
            };
            let mut plain = mem::take(&mut self.plain);
            self.decrypt(cipher.get(..count).unwrap_or_default(), &mut plain);
            self.plain = plain;
        }
        Idle::Bytes
    }

    /// Whether nothing has come that a reader would see.
    fn is_quiet(&self) -> bool {
        self.plain.is_empty() && !self.ended && self.fault.is_none()
    }

    /// Reads the socket until something is decrypted into `plain`, which must be empty. 0 is the peer's orderly end; a
    /// socket that ends without one is an error, since an attacker can end a socket.
    fn fetch(
        &mut self,
        mut task: Option<&mut Context<'_>>,
        plain: &mut BytesMut,
        limit: usize,
    ) -> io::Result<usize> {
        let was_handshaking = self.connection.is_handshaking();
        loop {
            self.answer(task.as_deref_mut());
            if self.ended {
                return Ok(0);
            }
            if let Some(fault) = &self.fault {
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault.clone()));
            }
            SCRATCH.with_borrow_mut(|cipher| {
                let limit = limit.max(LEAST_READ);
                if self.socket.fill(task.as_deref_mut(), cipher, limit)? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
                self.decrypt(cipher, plain);
                cipher.clear();
                Ok(())
            })?;
            if !plain.is_empty() || was_handshaking {
                self.answer(task);
                return Ok(plain.len());
            }
        }
    }

    /// Gives rustls what was read. What fails shows in `fault`: data before it is still good.
    fn decrypt(&mut self, mut cipher: &[u8], plain: &mut BytesMut) {
        while !cipher.is_empty() && self.fault.is_none() && !self.ended {
            if let Err(error) = self.decrypt_some(&mut cipher, plain) {
                self.fault = Some(error);
            }
        }
    }

    /// rustls takes a few kilobytes at a time.
    fn decrypt_some(
        &mut self,
        cipher: &mut &[u8],
        plain: &mut BytesMut,
    ) -> Result<(), rustls::Error> {
        let connection = &mut self.connection;
        connection
            .read_tls(cipher)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let state = connection.process_new_packets()?;
        self.ended = state.peer_has_closed();
        let mut left = state.plaintext_bytes_to_read();
        let mut reader = connection.reader();
        while left > 0 {
            let chunk = reader.fill_buf().unwrap_or_default();
            let count = chunk.len();
            if count == 0 {
                break;
            }
            plain.extend_from_slice(chunk);
            reader.consume(count);
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// Writes what rustls has to say by itself: alerts, answers to key updates. A socket that does not take it now is
    /// asked again at the next read or write.
    fn answer(&mut self, task: Option<&mut Context<'_>>) {
        if self.connection.wants_write() {
            // A socket that broke says so to whoever reads or writes.
            let _ = self.flush(task);
        }
    }

    /// Tells the peer why, as far as the socket takes it now.
    fn refuse(&mut self, fault: rustls::Error) -> HandshakeError {
        self.answer(None);
        fault.into()
    }

    fn flush(&mut self, task: Option<&mut Context<'_>>) -> io::Result<()> {
        let mut sink = Sink {
            socket: &mut self.socket,
            task,
        };
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut sink)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    fn queue_close(&mut self) {
        if !mem::replace(&mut self.closing, true) {
            self.connection.send_close_notify();
        }
    }

    fn take_plain(&mut self, limit: usize) -> BytesMut {
        if self.plain.len() <= limit {
            return mem::take(&mut self.plain);
        }
        self.plain.split_to(limit)
    }

    /// Keeps what is behind `limit` for the next reader.
    fn keep_rest(&mut self, plain: &mut BytesMut, limit: usize) {
        if let Some(rest @ [_, ..]) = plain.get(limit..) {
            self.plain = BytesMut::from(rest);
            plain.truncate(limit);
        }
    }
}

/// Reads what the kernel has.
fn receive_now(socket: &Stream, cipher: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket.as_fd(), cipher, RecvFlags::DONTWAIT)?;
    Ok(count)
}

fn append(piece: BytesMut, dst: &mut BytesMut) {
    if dst.is_empty() {
        *dst = piece;
    } else {
        dst.extend_from_slice(&piece);
    }
}

impl Drop for TlsStream {
    /// An orderly end of the socket is one of TLS too. Best effort: nobody is left who could wait.
    fn drop(&mut self) {
        if !self.aborted.get() && !self.connection.is_handshaking() {
            self.queue_close();
            let _ = self.flush(None);
        }
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// The socket as rustls writes to it.
struct Sink<'a, 'b, 'c> {
    socket: &'a mut Stream,
    task: Option<&'b mut Context<'c>>,
}

impl Write for Sink<'_, '_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.drain(self.task.as_deref_mut(), slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
