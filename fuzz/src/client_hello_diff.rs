//! Agreement with rustls about ClientHellos, minus a written list of differences.
//!
//! What both take must mean the same: the endpoint behind would otherwise see another name than the one that was
//! routed by. What rustls takes and we refuse is on the list; what we take and rustls refuses must be about things
//! that are the endpoint's alone. Start at [`diff`] and [`INTENDED`].

use portcullis_tls::{ClientHello, ClientHelloDecoder, ClientHelloError};
use rustls::server::{Accepted, Acceptor};
use rustls::{Error, InvalidMessage};

use crate::client_hello::around_extensions;

/// A refusal that rustls does not share.
#[derive(Debug)]
pub struct Difference {
    /// The label of our error.
    pub label: &'static str,
    /// Why we refuse.
    pub why: &'static str,
    /// The heading of a case that shows it, in `crates/tls/tests/vectors/`.
    pub vector: &'static str,
}

const fn difference(label: &'static str, vector: &'static str, why: &'static str) -> Difference {
    Difference { label, why, vector }
}

/// Every reason for which we may refuse what rustls accepts.
pub const INTENDED: &[Difference] = &[
    difference(
        "client_hello_too_long",
        "a message past the limit",
        "our limit is lower",
    ),
    difference(
        "client_hello_too_many_records",
        "s1 more records than the limit",
        "rustls counts bytes only",
    ),
    difference(
        "client_hello_too_many_extensions",
        "more than the limit",
        "rustls has no limit",
    ),
    difference(
        "client_hello_bad_record",
        "a record of more than 2^14 bytes",
        "rustls allows the length of an encrypted record",
    ),
    difference(
        "client_hello_bad_server_name",
        "an unknown type behind the name",
        "where it ends nobody knows; rustls ignores the rest of the list",
    ),
];

/// One connection's bytes, read by us and by rustls.
pub fn diff(data: &[u8]) {
    compare(data);
    compare(&around_extensions(data));
}

fn compare(wire: &[u8]) {
    let ours = ClientHelloDecoder::default().look(wire);
    match (ours, accept(wire)) {
        (Ok(Some(hello)), Ok(Some(accepted))) => assert_same(&hello, &accepted),
        (Ok(Some(hello)), Ok(None)) => panic!("rustls waits for more of {hello:?}"),
        (Ok(Some(hello)), Err(error)) => assert!(
            is_for_the_endpoint(&error) || is_of_encrypted(&hello, &error),
            "rustls refuses {hello:?}: {error:?}"
        ),
        (Ok(None), Ok(Some(_))) => panic!("rustls takes what we wait for"),
        (Err(error), Ok(Some(_))) => {
            assert!(is_intended(error), "rustls takes what we refuse: {error:?}")
        }
        // Both wait or refuse; who says so first does not matter.
        (Ok(None) | Err(_), Ok(None) | Err(_)) => {}
    }
}

fn is_intended(error: ClientHelloError) -> bool {
    let label = error.label();
    INTENDED.iter().any(|difference| difference.label == label)
}

fn accept(mut wire: &[u8]) -> Result<Option<Accepted>, Error> {
    let mut acceptor = Acceptor::default();
    while !wire.is_empty() {
        // An error here is that its buffer is full.
        if !matches!(acceptor.read_tls(&mut wire), Ok(1..)) {
            return Err(Error::General("no more is read".into()));
        }
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
            return Ok(Some(accepted));
        }
    }
    Ok(None)
}

fn assert_same(ours: &ClientHello, accepted: &Accepted) {
    let theirs = accepted.client_hello();
    assert_eq!(ours.server_name(), theirs.server_name(), "another name");
    let alpn: Vec<&[u8]> = theirs.alpn().into_iter().flatten().collect();
    assert!(
        ours.alpn().eq(alpn.iter().copied()),
        "{ours:?} and {alpn:?}"
    );
    assert_eq!(ours.cipher_suites(), theirs.cipher_suites().len());
}

/// Whether rustls refuses what we pass over: other extensions, or what the two sides have in common.
fn is_for_the_endpoint(error: &Error) -> bool {
    match error {
        Error::InvalidMessage(message) => match message {
            InvalidMessage::IllegalEmptyList(list) => !READ_HERE.contains(list),
            InvalidMessage::DuplicateExtension(_)
            | InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::InvalidContentType
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::InvalidServerName
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::UnknownProtocolVersion => false,
            _ => true,
        },
        Error::PeerIncompatible(_) => true,
        _ => false,
    }
}

/// Whether rustls does not know the kind of an encrypted ClientHello, for which it has the word that it has for kinds of
/// records. What is in it is for whoever can decrypt it.
fn is_of_encrypted(hello: &ClientHello, error: &Error) -> bool {
    let kind = Error::InvalidMessage(InvalidMessage::InvalidContentType);
    hello.is_encrypted() && *error == kind
}

/// The lists that we read too, by the names that rustls gives them.
const READ_HERE: &[&str] = &[
    "CipherSuites",
    "Compressions",
    "ProtocolNames",
    "ProtocolVersions",
    "ServerNames",
];

#[cfg(test)]
mod tests {
    use super::INTENDED;

    #[test]
    fn every_difference_has_its_vector() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../crates/tls/tests/vectors/client_hello.md"
        );
        let text = std::fs::read_to_string(file).unwrap();
        for difference in INTENDED {
            let shown = text
                .split("\n### ")
                .find(|case| case.lines().next() == Some(difference.vector))
                .unwrap_or_else(|| panic!("no case {:?}", difference.vector));
            assert!(
                shown.contains(&format!("error {}\n", difference.label)),
                "{:?} does not show {}",
                difference.vector,
                difference.label
            );
        }
    }
}
