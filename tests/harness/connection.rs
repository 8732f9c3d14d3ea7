//! One blocking connection with a read buffer, for either side of the gateway.
//!
//! Every method returns `io::Result`: an upstream script may see its peer leave. [`crate::Client`] wraps
//! this with panics for the downstream side, where a surprise is a failed test.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::CEILING;
use crate::http::{BodyEnd, Fields, RawHead, RawRequest, RawResponse, field};

/// How a peer ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// An orderly end of its direction (FIN).
    Closed,
    /// A reset (RST).
    Reset,
}

/// A connected stream socket, maybe with TLS on it, and the bytes read from it that nobody has asked for yet.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    tls: Option<Box<rustls::Connection>>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to a TCP address.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::open(Domain::for_address(address), None, &address.into())
    }

    /// Connects from a chosen local address: every `127.x.y.z` is another client.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect_from(local: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let local = SocketAddr::new(local, 0).into();
        Self::open(Domain::for_address(address), Some(&local), &address.into())
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        Self::open(Domain::UNIX, None, &SockAddr::unix(path)?)
    }

    pub(crate) fn accepted(stream: TcpStream) -> io::Result<Self> {
        Self::prepare(stream.into())
    }

    fn open(domain: Domain, local: Option<&SockAddr>, address: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if let Some(local) = local {
            socket.bind(local)?;
        }
        socket.connect_timeout(address, CEILING)?;
        Self::prepare(socket)
    }

    fn prepare(socket: Socket) -> io::Result<Self> {
        socket.set_read_timeout(Some(CEILING))?;
        socket.set_write_timeout(Some(CEILING))?;
        // A unix socket has no such option.
        let _ = socket.set_tcp_nodelay(true);
        Ok(Self {
            socket,
            tls: None,
            buffer: Vec::new(),
        })
    }

    /// Begins TLS, as the client or server that `session` is, and completes the handshake.
    ///
    /// # Errors
    /// `InvalidData` with rustls's error inside, or what the socket says.
    pub fn start_tls(&mut self, session: impl Into<rustls::Connection>) -> io::Result<()> {
        let tls = self.tls.insert(Box::new(session.into()));
        tls.set_buffer_limit(None);
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut self.socket)?;
        }
        Ok(())
    }

    /// TLS, once it was started.
    #[must_use]
    pub fn tls(&self) -> Option<&rustls::Connection> {
        self.tls.as_deref()
    }

    /// The socket, for options that a test wants to set.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Waits for bytes on the socket and leaves them there. `Ok(0)` is the end of the peer's direction.
    pub(crate) fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.socket, bytes, rustix::net::RecvFlags::PEEK)?.0)
    }

    /// Tells the peer of a TLS connection that it ends in order, as far as that can be done at once.
    pub(crate) fn close_notify(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.socket.set_nonblocking(true);
            let _ = flush(tls, &mut self.socket);
        }
    }

    /// The address of this end, when it is a TCP one.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// The address of the other end, when it is a TCP one.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.socket.peer_addr().ok()?.as_socket()
    }

    /// Writes everything.
    ///
    /// # Errors
    /// The peer is gone, or takes nothing for [`CEILING`].
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_all(bytes.as_ref());
        };
        tls.writer().write_all(bytes.as_ref())?;
        flush(tls, &mut self.socket)
    }

    /// Ends this direction (FIN); the other stays open. TLS is told first.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn half_close(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            flush(tls, &mut self.socket)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Resets the connection now, whoever else holds the socket (Linux: connecting to nowhere sends RST).
    pub fn reset(&self) {
        let _ = self.socket.set_linger(Some(std::time::Duration::ZERO));
        let _ = rustix::net::connect_unspec(&self.socket);
    }

    /// Bytes that were read and not yet asked for.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads once into the buffer. `Ok(0)` is the end of the peer's direction.
    ///
    /// # Errors
    /// A reset, or nothing for [`CEILING`].
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.tls {
            Some(tls) => read_tls(tls, &mut self.socket, &mut piece),
            None => self.socket.read(&mut piece),
        };
        let count = match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(self.silence()),
            other => other?,
        };
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count)
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    /// As [`Connection::fill`]; also when the peer ends before that.
    pub fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill_more()?;
        }
        Ok(self.take(count))
    }

    /// Reads up to and with `delimiter`.
    ///
    /// # Errors
    /// As [`Connection::read_exact`].
    pub fn read_until(&mut self, delimiter: &[u8]) -> io::Result<Vec<u8>> {
        let mut seen = 0;
        loop {
            let windows = self.buffer[seen..].windows(delimiter.len());
            if let Some(at) = windows.into_iter().position(|window| window == delimiter) {
                return Ok(self.take(seen + at + delimiter.len()));
            }
            seen = (self.buffer.len() + 1).saturating_sub(delimiter.len());
            self.fill_more()?;
        }
    }

    /// Reads whatever comes until the peer ends its direction, and says how it did.
    ///
    /// # Errors
    /// Nothing for [`CEILING`].
    pub fn read_to_end(&mut self) -> io::Result<(Vec<u8>, Ending)> {
        let ending = loop {
            match self.fill() {
                Ok(0) => break Ending::Closed,
                Ok(_) => {}
                Err(error) if is_reset(&error) => break Ending::Reset,
                Err(error) => return Err(error),
            }
        };
        Ok((mem::take(&mut self.buffer), ending))
    }

    /// Reads a head with its blank line; `None` when the peer ended before its first byte.
    ///
    /// # Errors
    /// As [`Connection::read_exact`].
    pub fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        self.read_until(b"\r\n\r\n").map(Some)
    }

    /// Reads one request; `None` when the peer ended between requests. Answers `Expect: 100-continue`.
    ///
    /// # Errors
    /// As [`Connection::read_exact`].
    pub fn read_request(&mut self) -> io::Result<Option<RawRequest>> {
        let Some(bytes) = self.read_head()? else {
            return Ok(None);
        };
        let head = RawHead::parse(bytes);
        let end = head.body_end(BodyEnd::Length(0));
        let mut request = RawRequest::from_head(head);
        if request.header("expect").is_some() {
            self.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        (request.body, request.trailers) = self.read_body(end)?;
        Ok(Some(request))
    }

    /// Reads one response. `bodiless` says that the request was a HEAD, so that no body follows.
    ///
    /// An interim response counts as one response without a body.
    ///
    /// # Errors
    /// As [`Connection::read_exact`].
    pub fn read_response(&mut self, bodiless: bool) -> io::Result<RawResponse> {
        let bytes = self.read_until(b"\r\n\r\n")?;
        let head = RawHead::parse(bytes);
        let end = head.body_end(BodyEnd::Close);
        let mut response = RawResponse::from_head(head);
        let end = match response.status {
            100..=199 | 204 | 304 => BodyEnd::Length(0),
            _ if bodiless => BodyEnd::Length(0),
            _ => end,
        };
        (response.body, response.trailers) = self.read_body(end)?;
        Ok(response)
    }

    fn read_body(&mut self, end: BodyEnd) -> io::Result<(Vec<u8>, Fields)> {
        match end {
            BodyEnd::Length(length) => Ok((self.read_exact(length)?, Vec::new())),
            BodyEnd::Close => Ok((self.read_to_end()?.0, Vec::new())),
            BodyEnd::Chunked => self.read_chunks(),
        }
    }

    fn read_chunks(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| {
                io::Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}"))
            })?;
            if size == 0 {
                break;
            }
            body.extend(self.read_exact(size)?);
            self.read_exact(2)?;
        }
        let mut trailers = Vec::new();
        while let Some(trailer) = field(&self.read_line()?) {
            trailers.push(trailer);
        }
        Ok((body, trailers))
    }

    fn read_line(&mut self) -> io::Result<String> {
        let line = self.read_until(b"\r\n")?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn fill_more(&mut self) -> io::Result<()> {
        if self.fill()? > 0 {
            return Ok(());
        }
        let text = format!("the peer closed; received so far: {}", self.received());
        Err(io::Error::new(ErrorKind::UnexpectedEof, text))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(count);
        mem::replace(&mut self.buffer, rest)
    }

    fn silence(&self) -> io::Error {
        let text = format!(
            "nothing for {CEILING:?}; received so far: {}",
            self.received()
        );
        io::Error::new(ErrorKind::TimedOut, text)
    }

    fn received(&self) -> String {
        let shown = &self.buffer[..self.buffer.len().min(2048)];
        format!("{:?}", String::from_utf8_lossy(shown))
    }
}

/// Reads decrypted bytes; `Ok(0)` is the end that TLS announced, and an end without it is `UnexpectedEof`.
fn read_tls(
    tls: &mut rustls::Connection,
    socket: &mut Socket,
    piece: &mut [u8],
) -> io::Result<usize> {
    loop {
        match tls.reader().read(piece) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other,
        }
        tls.read_tls(socket)?;
        let state = tls.process_new_packets();
        // Alerts and answers go out whatever came.
        let _ = flush(tls, socket);
        state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    }
}

fn flush(tls: &mut rustls::Connection, socket: &mut Socket) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

/// Whether an error means that the peer reset the connection.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}
