//! The downstream side of a test: a connection on which every surprise is a panic with what was received.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::{io, iter};

use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;

use crate::connection::{Connection, Ending};
use crate::http::RawResponse;

/// A raw client of the gateway. Reads fail after [`crate::CEILING`].
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to a TCP address.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        expect(Connection::connect(address), "connect")
    }

    /// Connects from a chosen local address: every `127.x.y.z` is another client.
    #[track_caller]
    #[must_use]
    pub fn connect_from(local: IpAddr, address: SocketAddr) -> Self {
        expect(Connection::connect_from(local, address), "connect")
    }

    /// Connects to a unix socket.
    #[track_caller]
    #[must_use]
    pub fn connect_unix(path: &Path) -> Self {
        expect(Connection::connect_unix(path), "connect")
    }

    /// Connects to a TCP address and begins TLS with the server of this name.
    ///
    /// # Errors
    /// The handshake fails: `InvalidData` with rustls's error inside, or what the socket says.
    #[track_caller]
    pub fn connect_tls(
        address: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let mut client = Self::connect(address);
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let session = rustls::ClientConnection::new(Arc::clone(config), name);
        let session = session.map_err(io::Error::other)?;
        client.connection.start_tls(session)?;
        Ok(client)
    }

    /// Connects to a TCP listener of the gateway from a chosen address, encrypted where the matrix says so.
    #[track_caller]
    pub(crate) fn connect_here(local: IpAddr, listener: SocketAddr) -> Self {
        let mut client = Self::connect_from(local, listener);
        crate::matrix::encrypt_blocking(&mut client.connection).expect("a TLS handshake");
        client
    }

    /// The connection below, whose methods return errors instead of panicking.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The address of this end.
    #[track_caller]
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.connection.local_address().expect("a TCP client")
    }

    /// Writes everything.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.connection.send(bytes).expect("send");
        self
    }

    /// Writes everything, `size` bytes at a time.
    #[track_caller]
    pub fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, size: usize) -> &mut Self {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece);
        }
        self
    }

    /// Writes to a peer that may have closed already. Whether it took everything.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.connection.send(bytes).is_ok()
    }

    /// Sends a GET without a body and reads its response, interim responses skipped.
    #[track_caller]
    pub fn get(&mut self, target: &str, host: &str) -> RawResponse {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        let mut responses = iter::repeat_with(|| self.read_response());
        responses.find(|response| response.status >= 200).unwrap()
    }

    /// Reads one response; an interim one counts.
    #[track_caller]
    pub fn read_response(&mut self) -> RawResponse {
        self.connection
            .read_response(false)
            .expect("read a response")
    }

    /// Reads the response to a HEAD request: no body follows, whatever its fields say.
    #[track_caller]
    pub fn read_head_response(&mut self) -> RawResponse {
        self.connection
            .read_response(true)
            .expect("read a response")
    }

    /// Reads exactly `count` bytes.
    #[track_caller]
    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        self.connection.read_exact(count).expect("read")
    }

    /// Reads up to and with `delimiter`.
    #[track_caller]
    pub fn read_until(&mut self, delimiter: impl AsRef<[u8]>) -> Vec<u8> {
        self.connection
            .read_until(delimiter.as_ref())
            .expect("read")
    }

    /// Reads whatever comes until the peer ends, in either way.
    #[track_caller]
    pub fn read_to_close(&mut self) -> Vec<u8> {
        self.read_to_end().0
    }

    /// Reads whatever comes until the peer ends, and says how it did.
    #[track_caller]
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        self.connection.read_to_end().expect("read to the end")
    }

    /// Asserts that nothing more comes and that the peer closes in order.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        self.expect_ending(&[Ending::Closed]);
    }

    /// Asserts that nothing more comes and that the peer resets.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        self.expect_ending(&[Ending::Reset]);
    }

    /// Asserts that nothing more comes and that the peer ends in either way.
    ///
    /// For peers that close with bytes of ours unread: the kernel may turn that into a reset.
    #[track_caller]
    pub fn expect_gone(&mut self) {
        self.expect_ending(&[Ending::Closed, Ending::Reset]);
    }

    /// Asserts that the connection is open at this moment and that no byte waits to be read.
    #[track_caller]
    pub fn expect_quiet(&mut self) {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let waiting = recv(self.connection.socket(), &mut [0; 64][..], flags);
        let quiet = matches!(waiting, Err(error) if error == rustix::io::Errno::WOULDBLOCK);
        let unread = self.connection.buffered();
        assert!(
            quiet && unread.is_empty(),
            "not quiet: {waiting:?}, unread {unread:?}"
        );
    }

    /// Ends this direction; responses can still be read.
    #[track_caller]
    pub fn half_close(&mut self) -> &mut Self {
        self.connection.half_close().expect("half close");
        self
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.connection.reset();
    }

    #[track_caller]
    fn expect_ending(&mut self, allowed: &[Ending]) {
        let (bytes, ending) = self.read_to_end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(bytes.is_empty(), "more bytes before the end: {text:?}");
        assert!(allowed.contains(&ending), "{ending:?}, not {allowed:?}");
    }
}

#[track_caller]
fn expect(connection: io::Result<Connection>, what: &str) -> Client {
    let connection = connection.expect(what);
    Client { connection }
}
