//! A Redis server that answers when the test says so, and what it says.
//!
//! Start at [`Scripted::start`], then [`Scripted::asked`].

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use harness::CEILING;

/// A server that answers nothing by itself.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
}

/// A command that came.
pub(crate) struct Asked {
    pub(crate) words: String,
    connection: TcpStream,
}

impl Asked {
    /// Answers it. Bars are line ends.
    pub(crate) fn answer(mut self, reply: &str) {
        let wire = reply.replace('|', "\r\n") + "\r\n";
        self.connection.write_all(wire.as_bytes()).unwrap();
    }
}

impl Scripted {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || listen(&connection, &sender));
            }
        });
        Self { address, asked }
    }

    /// The next command, which must be this one.
    #[track_caller]
    pub(crate) fn asked(&self, words: &str) -> Asked {
        let asked = self.asked.recv_timeout(CEILING);
        let asked = asked.unwrap_or_else(|_| panic!("nobody asks for {words}"));
        assert_eq!(asked.words, words);
        asked
    }

    /// Nothing came that was not asked for.
    #[track_caller]
    pub(crate) fn is_asked_nothing(&self) {
        if let Ok(asked) = self.asked.try_recv() {
            panic!("{} was asked", asked.words);
        }
    }
}

/// Hands over the commands of a connection, until its end or the test's.
fn listen(connection: &TcpStream, to: &Sender<Asked>) -> Option<()> {
    let mut input = BufReader::new(connection.try_clone().ok()?);
    loop {
        let count = number(&mut input)?;
        let words: Option<Vec<String>> = (0..count).map(|_| argument(&mut input)).collect();
        let words = words?.join(" ");
        let connection = connection.try_clone().ok()?;
        to.send(Asked { words, connection }).ok()?;
    }
}

fn argument(input: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = vec![0; number(input)? + 2];
    input.read_exact(&mut bytes).ok()?;
    bytes.truncate(bytes.len() - 2);
    String::from_utf8(bytes).ok()
}

/// The number in a line, behind its type.
fn number(input: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.get(1..)?.trim_end().parse().ok()
}
