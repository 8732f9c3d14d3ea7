//! A real Redis server for one test, and a raw RESP2 client: both plain, blocking, and without the gateway's own codec.
//!
//! The server has its own port and directory and saves nothing. Start at [`Redis::start`], then [`Redis::client`].

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;

use crate::origin::ClosedPort;
use crate::scratch::Scratch;
use crate::tools::tool;
use crate::watched::Watched;
use crate::{CEILING, eventually};

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Sentinel,
}

/// A running server.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    scratch: Scratch,
    address: SocketAddr,
}

impl Redis {
    /// Starts a server. `None` is to skip the test, as [`tool`] says.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// Starts a server with settings as its configuration file has them, such as `cluster-enabled yes`.
    #[must_use]
    pub fn with(settings: &[&str]) -> Option<Self> {
        let program = tool("redis-server")?;
        // Another process may take the port first: then on the next.
        let free = || ClosedPort::new().address();
        let mut tries = (0..10).filter_map(|_| Self::run(&program, free(), settings, Kind::Server));
        Some(tries.next().expect("a Redis server that starts"))
    }

    /// Starts a server that has what another has, and follows it, with more settings. It has it all when this is over.
    #[must_use]
    pub fn replica(of: SocketAddr, settings: &[&str]) -> Option<Self> {
        let follows = format!("replicaof {} {}", of.ip(), of.port());
        let mut all = vec![&*follows, "repl-diskless-sync-delay 0"];
        all.extend_from_slice(settings);
        let replica = Self::with(&all)?;
        eventually("the replica has what its primary has", || {
            let info = replica.client().call(&["INFO", "replication"]).text();
            info.contains("master_link_status:up")
        });
        Some(replica)
    }

    /// Starts a sentinel.
    #[must_use]
    pub fn sentinel(settings: &[&str]) -> Option<Self> {
        let program = tool("redis-server")?;
        let free = || ClosedPort::new().address();
        let mut tries =
            (0..10).filter_map(|_| Self::run(&program, free(), settings, Kind::Sentinel));
        Some(tries.next().expect("a sentinel that starts"))
    }

    /// Starts a server at an address of the caller's choice.
    #[must_use]
    pub fn at(address: SocketAddr) -> Option<Self> {
        let program = tool("redis-server")?;
        Some(Self::run(&program, address, &[], Kind::Server).expect("a Redis server that starts"))
    }

    fn run(program: &Path, address: SocketAddr, settings: &[&str], kind: Kind) -> Option<Self> {
        let scratch = Scratch::new();
        let mut file = String::new();
        writeln!(file, "protected-mode no").unwrap();
        if kind == Kind::Server {
            writeln!(file, "save \"\"\nappendonly no").unwrap();
        }
        writeln!(file, "bind {}\nport {}", address.ip(), address.port()).unwrap();
        writeln!(file, "dir {}", scratch.path().display()).unwrap();
        for setting in settings {
            writeln!(file, "{setting}").unwrap();
        }
        let (option, ready) = match kind {
            Kind::Server => (None, "eady to accept connections"),
            Kind::Sentinel => (Some("--sentinel"), "Sentinel ID is"),
        };
        let mut child = Command::new(program)
            .arg(scratch.write("redis.conf", file))
            .args(option)
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if is_ready(child.stdout.take().unwrap(), ready) {
            return Some(Self {
                child,
                scratch,
                address,
            });
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// A new connection to it.
    #[must_use]
    pub fn client(&self) -> RedisClient {
        RedisClient::connect(self.address)
    }

    /// The process, for signals.
    #[must_use]
    pub fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a server says that it is ready. False if it ends before. What it says later is read and dropped, so that it
/// never waits for a reader.
fn is_ready(output: ChildStdout, phrase: &'static str) -> bool {
    let heard = Arc::new(Watched::<Option<bool>>::default());
    let writer = Arc::clone(&heard);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if String::from_utf8_lossy(&line).contains(phrase) {
                writer.update(|ready| *ready = Some(true));
            }
        }
        writer.update(|ready| *ready = ready.or(Some(false)));
    });
    heard.wait_for(|ready| *ready).unwrap_or(false)
}

/// An address of loopback that no other test process uses, for servers whose port must be a certain one.
#[must_use]
pub fn own_loopback() -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 77, high, low.max(1)))
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisReply {
    /// `+OK`.
    Simple(String),
    /// `-ERR …`, without the `-`. Bytes that are no UTF-8 are replaced.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `$3`.
    Bulk(Vec<u8>),
    /// `$-1` and `*-1`.
    Nil,
    /// `*2`.
    Array(Vec<Self>),
}

impl RedisReply {
    /// The elements of an array. Fails for anything else.
    #[track_caller]
    #[must_use]
    pub fn array(self) -> Vec<Self> {
        match self {
            Self::Array(elements) => elements,
            other => panic!("no array: {other:?}"),
        }
    }

    /// The text of a string or an error. Fails for anything else.
    #[track_caller]
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) => text,
            Self::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The bytes of a bulk string. Fails for anything else.
    #[track_caller]
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("no bulk string: {other:?}"),
        }
    }

    /// The number. Fails for anything else.
    #[track_caller]
    #[must_use]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("no integer: {other:?}"),
        }
    }
}

/// A connection that speaks RESP2.
#[derive(Debug)]
pub struct RedisClient {
    stream: BufReader<TcpStream>,
}

impl RedisClient {
    /// Connects.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The same connection, for who sends while another reads.
    #[must_use]
    #[track_caller]
    pub fn sender(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    /// Sends a command and reads the reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> RedisReply {
        self.send(args);
        self.read()
    }

    /// Sends a command.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut wire = Vec::new();
        Self::write(args, &mut wire);
        self.send_raw(&wire);
    }

    /// Appends a command to bytes that are sent later.
    pub fn write<A: AsRef<[u8]>>(args: &[A], wire: &mut Vec<u8>) {
        write!(wire, "*{}\r\n", args.len()).unwrap();
        for arg in args {
            let arg = arg.as_ref();
            write!(wire, "${}\r\n", arg.len()).unwrap();
            wire.extend_from_slice(arg);
            wire.extend_from_slice(b"\r\n");
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, wire: &[u8]) {
        self.stream.get_mut().write_all(wire).unwrap();
    }

    /// Fails unless the gateway closes without another word.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let ended = self.stream.read_to_end(&mut rest);
        let is_reset =
            matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(ended.is_ok() || is_reset, "{ended:?}");
        assert_eq!(rest, b"", "{}", String::from_utf8_lossy(&rest));
    }

    /// Reads one reply.
    #[track_caller]
    pub fn read(&mut self) -> RedisReply {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let line = line.strip_suffix(b"\r\n").expect("a whole reply");
        let (kind, rest) = line.split_first().expect("a reply");
        let text = String::from_utf8_lossy(rest).into_owned();
        let number = || text.parse::<i64>().unwrap();
        match kind {
            b'+' => RedisReply::Simple(text),
            b'-' => RedisReply::Error(text),
            b':' => RedisReply::Integer(number()),
            b'$' | b'*' if number() < 0 => RedisReply::Nil,
            b'$' => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                RedisReply::Bulk(bytes)
            }
            b'*' => RedisReply::Array((0..number()).map(|_| self.read()).collect()),
            _ => panic!("no RESP2: {}", line.escape_ascii()),
        }
    }
}
