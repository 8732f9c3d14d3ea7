//! Agreement with redis-protocol on replies, minus two written lists of differences.
//!
//! What both take, both must read the same way. What only one takes must be on a list: it reads for a client that trusts its
//! server and keeps whole trees, we pass replies on that others will read. It is never shown what nests deep, since it
//! overflows the stack. Start at [`diff`], [`REFUSED`] and [`ACCEPTED`].

mod meaning;

use bytes::Bytes;
use portcullis_codec::WireError;
use portcullis_redis::limits::ReplyLimits;
use portcullis_redis::message::{self, Value};
use portcullis_redis::reply::{ReplyFrame, ReplyScanner};
use redis_protocol::{resp2, resp3};

/// A reply that only one of the two takes.
#[derive(Debug)]
pub struct Difference {
    /// The label of our error, or what we take more of.
    pub label: &'static str,
    /// The file in `protocols/redis/tests/vectors/` and the heading of a case in it that shows it.
    pub vector: (&'static str, &'static str),
    /// Why.
    pub why: &'static str,
}

const fn difference(
    label: &'static str,
    vector: (&'static str, &'static str),
    why: &'static str,
) -> Difference {
    Difference { label, vector, why }
}

/// Every reason for which we may refuse what redis-protocol accepts.
pub const REFUSED: &[Difference] = &[
    difference(
        "reply_length",
        ("replies", "a leading zero"),
        "it takes whatever Rust reads as a number; servers write one form",
    ),
    difference(
        "reply_line_end",
        ("replies", "bare carriage return"),
        "it looks for the pair; a client may end the line at either",
    ),
    difference(
        "reply_line_end",
        ("replies", "a string that goes on"),
        "it passes over two bytes without looking",
    ),
    difference(
        "reply_type",
        ("resp3", "r3: a push inside of a reply"),
        "it has no rule for where a push may be; who pairs replies needs one",
    ),
    difference(
        "reply_type",
        ("resp3", "a chunk of nothing"),
        "its user puts streams together",
    ),
    difference(
        "reply_value",
        ("resp3", "a nil with something"),
        "it does not look into nil and big numbers, and takes whatever Rust reads as a double",
    ),
    difference(
        "reply_depth",
        ("replies", "r3: too deep"),
        "it has no limits but the stack",
    ),
    difference(
        "reply_line_too_long",
        ("replies", "a line that is too long"),
        "it has no limits",
    ),
];

/// Everything that we accept and redis-protocol refuses.
pub const ACCEPTED: &[Difference] = &[
    difference(
        "null_of_resp2",
        ("replies", "nil"),
        "in RESP3 it takes these for streamed types; Redis itself still sends them to scripts' callers",
    ),
    difference(
        "resp3",
        ("resp3", "nil"),
        "its decoder of RESP2 knows RESP2 alone; ours does not ask which was agreed on",
    ),
    difference(
        "streamed",
        ("resp3", "an array"),
        "its decoder of whole replies has none",
    ),
    difference(
        "attributes",
        ("resp3", "several"),
        "it has one set of them, and none of nil",
    ),
    difference(
        "map_key",
        ("resp3", "a map of maps"),
        "its maps and sets are hash tables, ours are lists",
    ),
    difference(
        "not_utf8",
        ("replies", "an error that is no text"),
        "its errors are strings of Rust",
    ),
    difference(
        "verbatim_format",
        ("resp3", "verbatim strings of any format"),
        "it knows two formats",
    ),
];

/// What one of the two says about the front of a stream.
#[derive(Debug)]
enum Verdict<T> {
    Wait,
    Refuse(&'static str),
    /// So many bytes, and what they mean.
    Accept(usize, T),
}

/// More aggregates than this may nest too deep for redis-protocol.
const MOST_AGGREGATES: usize = 300;

/// A stream of a server's replies, read by us and by both decoders of redis-protocol.
pub fn diff(data: &[u8]) {
    let aggregates = data.iter().filter(|&byte| b"*%~>|".contains(byte)).count();
    if aggregates > MOST_AGGREGATES {
        return;
    }
    let limits = ReplyLimits {
        whole: usize::MAX,
        ..ReplyLimits::default()
    };
    let mut scanner = ReplyScanner::new(limits);
    let mut rest = Bytes::copy_from_slice(data);
    loop {
        let ours = ours(&mut scanner, &rest);
        let wider = match &ours {
            Verdict::Accept(len, value) => wider(&rest[..*len], value),
            _ => Vec::new(),
        };
        compare(&ours, &resp3_verdict(&rest), &wider, meaning::of_resp3);
        let is_resp3 = matches!(&ours, Verdict::Accept(_, value) if !meaning::is_resp2(value));
        let wider = [&wider[..], if is_resp3 { &["resp3"] } else { &[] }].concat();
        compare(&ours, &resp2_verdict(&rest), &wider, meaning::of_resp2);
        match ours {
            Verdict::Accept(len, _) => rest = rest.slice(len..),
            Verdict::Wait | Verdict::Refuse(_) => return,
        }
    }
}

fn compare<T: std::fmt::Debug>(
    ours: &Verdict<Value>,
    theirs: &Verdict<T>,
    wider: &[&str],
    meaning: impl Fn(&T) -> Option<String>,
) {
    match (ours, theirs) {
        (Verdict::Accept(len, value), Verdict::Accept(their_len, frame)) => {
            assert_eq!(len, their_len, "the reply ends elsewhere");
            if let (Some(ours), Some(theirs)) = (meaning::of(value), meaning(frame)) {
                assert_eq!(ours, theirs);
            }
        }
        (Verdict::Accept(_, value), Verdict::Refuse(_)) => {
            let is_listed = wider.iter().any(|label| is_listed(ACCEPTED, label));
            assert!(is_listed, "only we take {value:?}");
        }
        (Verdict::Refuse(label), Verdict::Accept(_, frame)) => {
            assert!(is_listed(REFUSED, label), "{label} for {frame:?}");
        }
        // Which of us needs fewer bytes to refuse, and to refuse what, is not compared.
        (Verdict::Refuse(_), Verdict::Refuse(_) | Verdict::Wait)
        | (Verdict::Wait, Verdict::Wait | Verdict::Refuse(_)) => {}
        (ours, theirs) => panic!("we say {ours:?}, redis-protocol {theirs:?}"),
    }
}

fn is_listed(list: &[Difference], label: &str) -> bool {
    list.iter().any(|difference| difference.label == label)
}

fn ours(scanner: &mut ReplyScanner, rest: &Bytes) -> Verdict<Value> {
    match scanner.next(rest) {
        Ok(Some(ReplyFrame::Whole { len, .. })) => {
            let value = message::parse(rest.slice(..len)).expect("what was scanned can be opened");
            Verdict::Accept(len, value)
        }
        Ok(Some(frame)) => panic!("{frame:?} was not asked for"),
        Ok(None) => Verdict::Wait,
        Err(error) => Verdict::Refuse(error.label()),
    }
}

fn resp3_verdict(rest: &Bytes) -> Verdict<resp3::types::BytesFrame> {
    match resp3::decode::complete::decode_bytes(rest) {
        Ok(Some((frame, len))) => Verdict::Accept(len, frame),
        Ok(None) => Verdict::Wait,
        Err(_) => Verdict::Refuse("redis-protocol"),
    }
}

fn resp2_verdict(rest: &Bytes) -> Verdict<resp2::types::BytesFrame> {
    match resp2::decode::decode_bytes(rest) {
        Ok(Some((frame, len))) => Verdict::Accept(len, frame),
        Ok(None) => Verdict::Wait,
        Err(_) => Verdict::Refuse("redis-protocol"),
    }
}

/// In which ways a reply is one that the other may refuse.
fn wider(bytes: &[u8], value: &Value) -> Vec<&'static str> {
    let mut labels = Vec::new();
    meaning::wider(value, &mut labels);
    if bytes.windows(3).any(|window| window == b"?\r\n") {
        labels.push("streamed");
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::{ACCEPTED, REFUSED};

    #[test]
    fn every_difference_has_its_vector() {
        let case = |(file, heading): (&str, &str)| {
            let folder = env!("CARGO_MANIFEST_DIR");
            let path = format!("{folder}/../protocols/redis/tests/vectors/{file}.md");
            let text = std::fs::read_to_string(path).unwrap();
            text.split("\n### ")
                .find(|case| case.lines().next() == Some(heading))
                .unwrap_or_else(|| panic!("no case {heading:?}"))
                .to_owned()
        };
        for difference in REFUSED {
            let shown = case(difference.vector);
            let label = format!("error: {}\n", difference.label);
            assert!(shown.contains(&label), "{difference:?} is not shown");
        }
        for difference in ACCEPTED {
            let shown = case(difference.vector);
            assert!(!shown.contains("error:"), "{difference:?} is not shown");
        }
    }
}
