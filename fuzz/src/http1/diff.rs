//! Agreement with httparse on heads and with hyper on where bodies end, minus a written list of differences.
//!
//! The law that matters is one-sided: what we accept, the reference must read the same way, or else a request
//! could be smuggled past one of us. Where we refuse and the reference accepts, the reason must be on the list.
//! Start at [`diff`] and [`INTENDED`].

use bytes::BytesMut;
use httparse::Status;
use portcullis_codec::{Decoder, WireError};
use portcullis_http::{Framing, KnownField, Method, RequestHead, Version};
use portcullis_http1::{BodyLimits, HeadError, HeadLimits, RequestDecoder, is_persistent};

use super::hyper_server::{self, Seen, Served};
use super::support::{Event, Messages, Role};

/// A refusal that a reference does not share.
#[derive(Debug)]
pub struct Difference {
    /// The label of our error.
    pub label: &'static str,
    /// Why we refuse.
    pub why: &'static str,
    /// The heading of a case that shows it, in `protocols/http1/tests/vectors/`.
    pub vector: &'static str,
}

const fn difference(label: &'static str, vector: &'static str, why: &'static str) -> Difference {
    Difference { label, why, vector }
}

/// Every reason for which we may refuse what httparse or hyper accepts.
pub const INTENDED: &[Difference] = &[
    // Heads: httparse, and hyper through it.
    difference(
        "bare_line_feed",
        "bare line feed behind the request line",
        "RFC 9112 section 2.2 lets a recipient take it for a line end; two recipients that differ are a hole",
    ),
    difference(
        "too_many_empty_lines",
        "five empty lines",
        "httparse skips any number: work without end",
    ),
    difference(
        "method_too_long",
        "method of 33 bytes",
        "no registered method is longer",
    ),
    difference(
        "invalid_target",
        "a path without a slash",
        "httparse does not look at the form; hyper takes forms that the method may not use",
    ),
    difference(
        "fragment_in_target",
        "h10 fragment",
        "fragments are never sent; hyper drops it, so that others would see another target",
    ),
    difference(
        "uri_too_long",
        "h11 target without end",
        "our limit is lower",
    ),
    difference(
        "head_too_large",
        "h11 value without end",
        "our limit is lower",
    ),
    // Framing: hyper.
    difference(
        "length_and_coding",
        "h1 length and chunked",
        "hyper lets the coding win; RFC 9112 section 6.1 allows to refuse",
    ),
    difference(
        "invalid_content_length",
        "h2 twice, the same",
        "hyper merges equal lengths, and reads lists of them",
    ),
    difference(
        "invalid_transfer_encoding",
        "h3 listed",
        "hyper passes codings before chunked to its user; nobody behind us decodes them",
    ),
    difference(
        "transfer_encoding_in_http10",
        "h3 in HTTP/1.0",
        "RFC 9112 section 6.1: faulty framing",
    ),
    difference(
        "missing_content_length",
        "h7 HTTP/1.0 POST without a length",
        "hyper takes it for an empty body, others would read until the close",
    ),
    difference(
        "unexpected_framing",
        "a body on CONNECT",
        "hyper hands the bytes to the tunnel",
    ),
    // Chunked coding: hyper.
    difference(
        "invalid_chunk_extension",
        "h4 white space behind",
        "hyper takes white space before the line end, and any byte in an extension",
    ),
    difference(
        "nul_byte",
        "h4 NUL in an extension",
        "hyper does not look at an extension's bytes",
    ),
    difference(
        "bare_carriage_return",
        "h4 bare carriage return in an extension",
        "hyper does not look at an extension's bytes",
    ),
    difference(
        "chunk_size_overflow",
        "h4 seventeen zeros",
        "hyper counts the value, we count digits too",
    ),
    difference(
        "chunk_extensions_too_long",
        "extension past the limit",
        "our limit is lower",
    ),
    difference(
        "trailers_too_large",
        "trailers without end",
        "our limit is lower",
    ),
    difference(
        "forbidden_trailer",
        "a length among the trailers",
        "hyper leaves it to its user",
    ),
    // Trailers are parsed by us as strictly as fields, by hyper only when it is done with the body.
    difference("obs_fold", "folded trailer", "strict in trailers too"),
    difference(
        "space_before_colon",
        "space before the colon of a trailer",
        "strict in trailers too",
    ),
];

fn is_intended(label: &str) -> bool {
    INTENDED.iter().any(|difference| difference.label == label)
}

/// One stream of requests, read by us, by httparse and by hyper.
pub fn diff(data: &[u8]) {
    head_like_httparse(data);
    bodies_like_hyper(data);
}

fn head_like_httparse(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    let mut decoder = RequestDecoder::new(HeadLimits::default());
    let ours = decoder.decode(&mut buffer);
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let theirs = request.parse(data);
    match (ours, theirs) {
        (Ok(Some(head)), Ok(Status::Complete(length))) => {
            assert_eq!(length, data.len() - buffer.len(), "the head ends elsewhere");
            assert_same_head(&head, &request);
        }
        (Ok(Some(head)), theirs) => panic!("we take {head:?}, httparse says {theirs:?}"),
        // We judge fields only when the head is complete.
        (Ok(None), Ok(Status::Partial) | Err(_)) => {}
        (Ok(None), Ok(Status::Complete(length))) => {
            panic!("httparse sees a head of {length} bytes where we wait")
        }
        (Err(error), Ok(Status::Complete(_))) => {
            assert!(is_intended(error.label()), "httparse takes: {error:?}");
        }
        (Err(error), Ok(Status::Partial)) => assert!(
            is_intended(error.label()) || judged_early(data, error),
            "httparse waits: {error:?}"
        ),
        (Err(_), Err(_)) => {}
    }
}

/// httparse waits for the end of what is already wrong.
fn judged_early(data: &[u8], error: HeadError) -> bool {
    match error {
        // `GET /\r\n`: it takes the line end for part of what follows.
        HeadError::Http09 | HeadError::RequestLine => !data.is_empty(),
        HeadError::Version | HeadError::Http2Preface => true,
        _ => false,
    }
}

fn assert_same_head(head: &RequestHead, theirs: &httparse::Request<'_, '_>) {
    assert_eq!(Some(head.method.as_str()), theirs.method);
    let path = theirs.path.unwrap_or_default().as_bytes();
    let target = match (&head.target.authority, head.target.scheme) {
        (Some(authority), None) => authority.to_vec(),
        (Some(_), Some(_)) => path.to_vec(),
        (None, _) => head.target.path_and_query.to_vec(),
    };
    assert_eq!(target, path);
    assert_eq!(
        theirs.version,
        Some(u8::from(head.version == Version::Http11))
    );
    assert_eq!(head.fields.len(), theirs.headers.len());
    for (field, theirs) in head.fields.iter().zip(theirs.headers.iter()) {
        assert_eq!(field.name, theirs.name.as_bytes());
        assert_eq!(field.value, theirs.value);
    }
}

/// A request as we see it, whole.
#[derive(Debug)]
struct Ours {
    head: RequestHead,
    body: Vec<u8>,
}

fn bodies_like_hyper(data: &[u8]) {
    let (ours, error) = our_requests(data);
    let theirs = hyper_server::serve(data);
    let wholes = theirs.requests.iter().filter(|seen| seen.whole).count();
    for (ours, seen) in ours.iter().zip(&theirs.requests) {
        assert_same_request(ours, seen);
        if ends_connection(&ours.head) {
            return;
        }
    }
    if wholes > ours.len() {
        let label = error.map_or("none", |error| error);
        assert!(is_intended(label), "hyper takes what we refuse: {label}");
    } else if ours.len() > theirs.requests.len() {
        assert_refusal_is_known(&ours[theirs.requests.len()], &theirs);
    }
}

fn our_requests(data: &[u8]) -> (Vec<Ours>, Option<&'static str>) {
    let mut buffer = BytesMut::from(data);
    let role = Role::requests(HeadLimits::default());
    let mut messages = Messages::new(role, BodyLimits::default());
    let mut whole = Vec::new();
    let mut current: Option<Ours> = None;
    loop {
        match messages.decode_eof(&mut buffer) {
            Ok(Some(Event::Request(head))) => {
                let body = Vec::new();
                current = Some(Ours { head: *head, body });
            }
            Ok(Some(Event::Data(data))) => {
                if let Some(current) = &mut current {
                    current.body.extend(data);
                }
            }
            Ok(Some(Event::End)) => whole.extend(current.take()),
            Ok(Some(_)) => {}
            Ok(None) => return (whole, None),
            Err(error) => return (whole, Some(error.label())),
        }
    }
}

fn assert_same_request(ours: &Ours, seen: &Seen) {
    assert_eq!(ours.head.method.as_str(), seen.method);
    // hyper parses the target into parts and may spell an absolute one in another way.
    if ours.head.target.scheme.is_none() && ours.head.target.authority.is_none() {
        let target = String::from_utf8_lossy(&ours.head.target.path_and_query);
        assert_eq!(target, seen.target);
    }
    assert!(seen.whole, "hyper waits for more of {ours:?}");
    assert_eq!(
        ours.body.escape_ascii().to_string(),
        seen.body.escape_ascii().to_string(),
        "another body"
    );
}

/// Whether hyper stops behind this request by right: what follows is no request to it.
fn ends_connection(head: &RequestHead) -> bool {
    !is_persistent(head.version, &head.fields)
        || head.method == Method::Connect
        || head.fields.contains(KnownField::Upgrade)
        || head.fields.contains(KnownField::Expect)
        || Framing::of_request(head).is_err()
}

/// What we take and hyper refuses. Nobody is smuggled past a refusal, but each kind is known.
fn assert_refusal_is_known(ours: &Ours, theirs: &Served) {
    let target = &ours.head.target;
    // The type of URIs that hyper uses is stricter about some characters than the wire.
    let odd_target = target.scheme.is_some()
        || target.authority.is_some()
        || hyper::Uri::try_from(&target.path_and_query[..]).is_err();
    assert!(
        odd_target && theirs.refused,
        "hyper refuses {ours:?}: {theirs:?}"
    );
}

#[cfg(test)]
mod tests {
    use super::INTENDED;

    #[test]
    fn every_difference_has_its_vector() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../protocols/http1/tests/vectors"
        );
        let text: String = ["requests.md", "bodies.md"]
            .iter()
            .map(|file| std::fs::read_to_string(format!("{folder}/{file}")).unwrap())
            .collect();
        for difference in INTENDED {
            let shown = text
                .split("\n### ")
                .find(|case| case.lines().next() == Some(difference.vector))
                .unwrap_or_else(|| panic!("no case {:?}", difference.vector));
            assert!(
                shown.contains(&format!("error: {} ", difference.label)),
                "{:?} does not show {}",
                difference.vector,
                difference.label
            );
        }
    }
}
