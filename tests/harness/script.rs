//! What a scripted upstream does, as a list of steps.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::connection::Connection;
use crate::watched::Watched;

/// One thing that a scripted upstream does on a connection.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads exactly these bytes; anything else fails the test when the upstream is dropped.
    Expect(Vec<u8>),
    /// Reads up to and with this delimiter.
    ReadUntil(Vec<u8>),
    /// Reads until the gateway ends its direction.
    ReadToEnd,
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Ends the upstream's direction (FIN) and goes on reading.
    HalfClose,
    /// Closes the connection.
    Close,
    /// Resets the connection (RST).
    Reset,
}

impl Step {
    /// [`Step::Expect`] from text or bytes.
    pub fn expect(bytes: impl AsRef<[u8]>) -> Self {
        Self::Expect(bytes.as_ref().to_vec())
    }

    /// [`Step::Send`] from text or bytes.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(bytes.as_ref().to_vec())
    }

    /// [`Step::ReadUntil`] from text or bytes.
    pub fn read_until(bytes: impl AsRef<[u8]>) -> Self {
        Self::ReadUntil(bytes.as_ref().to_vec())
    }

    /// Does this step. `Ok(false)` when the connection is over.
    pub(crate) fn play(&self, connection: &mut Connection) -> io::Result<bool> {
        match self {
            Self::Expect(wanted) => expect(connection, wanted)?,
            Self::ReadUntil(delimiter) => drop(connection.read_until(delimiter)?),
            Self::ReadToEnd => drop(connection.read_to_end()?),
            Self::Send(bytes) => connection.send(bytes)?,
            Self::Wait(gate) => gate.wait(),
            Self::HalfClose => connection.half_close()?,
            Self::Close => return Ok(false),
            Self::Reset => {
                connection.reset();
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn expect(connection: &mut Connection, wanted: &[u8]) -> io::Result<()> {
    let received = connection.read_exact(wanted.len())?;
    if received == wanted {
        return Ok(());
    }
    let [received, wanted] = [&received[..], wanted].map(String::from_utf8_lossy);
    let text = format!("expected {wanted:?}, received {received:?}");
    Err(io::Error::new(ErrorKind::InvalidData, text))
}

/// A door that a scripted upstream waits at until the test opens it.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    open: Arc<Watched<bool>>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.open.update(|open| *open = true);
    }

    /// Waits until the gate is open.
    pub fn wait(&self) {
        let opened = self.open.wait_for(|open| open.then_some(()));
        opened.expect("a test opens its gates");
    }
}

/// What an HTTP upstream does about one request.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(crate) steps: Vec<Step>,
}

impl Reply {
    /// `200 OK` with a length and this body.
    pub fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::status(200, body)
    }

    /// A response of that status with a length and this body.
    pub fn status(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self::bytes([head.as_bytes(), body].concat())
    }

    /// These bytes and nothing else, whatever they mean.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::steps([Step::send(bytes)])
    }

    /// Any list of steps.
    pub fn steps(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
        }
    }

    /// Then closes the connection.
    #[must_use]
    pub fn close(self) -> Self {
        self.then(Step::Close)
    }

    /// Then resets the connection.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Then does one more step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl From<&str> for Reply {
    fn from(bytes: &str) -> Self {
        Self::bytes(bytes)
    }
}

impl From<String> for Reply {
    fn from(bytes: String) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}
