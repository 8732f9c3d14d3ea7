//! Runs the readable cases of `vectors/`, each whole and in pieces.
//!
//! `requests.md` and `responses.md` hold streams of whole messages, `bodies.md` bodies alone. How a case is
//! written: see `portcullis_testkit::vectors`. The options are the limits, by their field names.

mod support;

use std::fmt::Write as _;

use portcullis_http::{Fields, Framing, Method, RequestHead, ResponseHead};
use portcullis_http1::{BodyLimits, HeadLimits};
use portcullis_testkit::Random;
use portcullis_testkit::laws::{self, Transcript};
use portcullis_testkit::vectors::{self, Vector};
use support::{Event, Messages, Role, merged};

#[test]
fn requests() {
    run("requests.md", |vector| {
        Messages::new(Role::requests(head_limits(vector)), body_limits(vector))
    });
}

#[test]
fn responses() {
    run("responses.md", |vector| {
        let method = vector.option("method").unwrap_or("GET");
        let method = Method::known(method.as_bytes()).unwrap();
        Messages::new(
            Role::responses(head_limits(vector), method),
            body_limits(vector),
        )
    });
}

#[test]
fn bodies() {
    run("bodies.md", |vector| {
        let framing = match vector.option("length") {
            Some(length) => Framing::Length(length.parse().unwrap()),
            None if vector.has("until_close") => Framing::UntilClose,
            None => Framing::Chunked,
        };
        Messages::body(framing, body_limits(vector))
    });
}

fn run(file: &str, make: impl Fn(&Vector) -> Messages) {
    let path = format!("{}/tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    vectors::check_file(path, |vector| {
        let input = &vector.input;
        // All splits of a long input would take minutes: a bomb is cut at random instead.
        let seen = if input.len() > 1000 {
            let pieces = Random::from_seed(input.len() as u64).pieces(input, 2000);
            laws::split_agrees(|| make(vector), pieces, merged)
        } else {
            laws::every_split_agrees(|| make(vector), input, merged)
        };
        said(&seen)
    });
}

fn head_limits(vector: &Vector) -> HeadLimits {
    let default = HeadLimits::default();
    HeadLimits {
        head_bytes: vector.number("head_bytes", default.head_bytes),
        target_bytes: vector.number("target_bytes", default.target_bytes),
        fields: vector.number("fields", default.fields),
    }
}

fn body_limits(vector: &Vector) -> BodyLimits {
    let default = BodyLimits::default();
    let wide = |name, default| vector.number(name, default as usize) as u64;
    BodyLimits {
        total_bytes: wide("total_bytes", default.total_bytes),
        chunk_extension_bytes: vector
            .number("chunk_extension_bytes", default.chunk_extension_bytes),
        all_extension_bytes: wide("all_extension_bytes", default.all_extension_bytes),
        trailer_bytes: vector.number("trailer_bytes", default.trailer_bytes),
        trailer_fields: vector.number("trailer_fields", default.trailer_fields),
    }
}

/// The transcript in the words of the vectors.
fn said(seen: &Transcript<Event>) -> String {
    let mut text = String::new();
    let mut status = None;
    for event in &seen.items {
        match event {
            Event::Request(head) => request(&mut text, head),
            Event::Response(head) => response(&mut text, head),
            Event::Framing(framing) => line(&mut text, "framing", framing_words(*framing)),
            Event::Data(data) => line(&mut text, "data", shown(data)),
            Event::Trailers(trailers) => fields(&mut text, "trailer", trailers),
            Event::End => text.push_str("end\n"),
            Event::Refused(code) => status = Some(code.code()),
        }
    }
    if let (Some(label), Some(status)) = (seen.error, status) {
        line(&mut text, "error:", format!("{label} {status}"));
    }
    if !seen.left.is_empty() {
        line(&mut text, "left", shown(&seen.left));
    }
    text
}

fn request(text: &mut String, head: &RequestHead) {
    line(
        text,
        "request",
        format!("{} {}", head.method.as_str(), head.version.as_str()),
    );
    let form = format!("{:?}", head.target.form).to_lowercase();
    line(
        text,
        "target",
        format!("{form} {}", shown(&head.target.path_and_query)),
    );
    if let Some(authority) = &head.target.authority {
        let scheme = head.target.scheme.map_or("", |scheme| scheme.as_str());
        line(text, "authority", format!("{scheme} {}", shown(authority)));
    }
    fields(text, "field", &head.fields);
}

fn response(text: &mut String, head: &ResponseHead) {
    let (version, status) = (head.version.as_str(), head.status.code());
    line(
        text,
        "response",
        format!("{version} {status} {}", shown(&head.reason)),
    );
    fields(text, "field", &head.fields);
}

fn fields(text: &mut String, word: &str, fields: &Fields) {
    for field in fields.iter() {
        line(
            text,
            word,
            format!("{}: {}", shown(field.name), shown(field.value)),
        );
    }
}

fn framing_words(framing: Framing) -> String {
    match framing {
        Framing::None => "none".into(),
        Framing::Length(length) => format!("length {length}"),
        Framing::Chunked => "chunked".into(),
        Framing::UntilClose => "until_close".into(),
    }
}

fn line(text: &mut String, word: &str, rest: impl AsRef<str>) {
    let _ = writeln!(text, "{}", format!("{word} {}", rest.as_ref()).trim_end());
}

/// Escaped, and cut where it would bore.
fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.escape_ascii().map(char::from).collect();
    if text.len() > 80 {
        format!("{}... {} bytes", &text[..40], bytes.len())
    } else {
        text
    }
}
