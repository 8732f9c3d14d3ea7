//! Agreement with `h2` on which frames are none, and on how far the damage goes, minus a written list of differences.
//!
//! `h2` also judges what a frame does to its streams, which the codec does not: so each frame is shown to it alone, on a
//! connection with one open request, where what it may object to is known ([`may_refuse`]). What we refuse it must refuse,
//! wherever it comes. Start at [`diff`] and [`INTENDED`].

use bytes::BytesMut;
use portcullis_codec::{Decoder, Encoder, Severity, WireError};
use portcullis_http2::frame::{HEADER_BYTES, Headers, LEAST_MAX_FRAME_SIZE, Ping, StreamId};
use portcullis_http2::{ErrorCode, Frame, FrameDecoder, FrameEncoder, FrameError};

use super::h2_server::{ALIVE, Served, serve};

/// Something that `h2` does otherwise.
#[derive(Debug)]
pub struct Difference {
    /// What we say to it: a label of [`FrameError`], or what the frame is.
    pub what: &'static str,
    /// What `h2` does, and why we do not.
    pub why: &'static str,
    /// The heading of a case that shows it, in `protocols/http2/tests/vectors/`.
    pub vector: &'static str,
}

/// Everything about a frame that `h2` may judge otherwise.
pub const INTENDED: &[Difference] = &[
    Difference {
        what: "h2_zero_increment",
        why: "h2 ends the connection; RFC 9113 section 6.9 makes it an error of the stream",
        vector: "of nothing",
    },
    Difference {
        what: "h2_invalid_priority_length",
        why: "h2 ends the connection; RFC 9113 section 6.3 makes it an error of the stream",
        vector: "too long",
    },
    Difference {
        what: "depends on itself",
        why: "h2 resets the stream as RFC 7540 had it; RFC 9113 dropped priorities, and we never look at them",
        vector: "depends on itself",
    },
    Difference {
        what: "h2_expected_continuation",
        why: "h2 forgets a block that it resets the stream of before the block ends; RFC 9113 section 4.3 has no such end",
        vector: "DATA inside a block",
    },
    Difference {
        what: "h2_invalid_promise",
        why: "h2 looks at what is promised when the header block is complete, and never where it resets the stream for what \
              the block says",
        vector: "promise of nothing",
    },
    Difference {
        what: "depends on itself inside its padding",
        why: "h2 takes padding for a priority if that is what lies there, and resets the stream before it looks at lengths",
        vector: "padding that leaves no room for priority",
    },
    Difference {
        what: "codes",
        why: "h2 says PROTOCOL_ERROR for lengths and values where RFC 9113 names FRAME_SIZE_ERROR and \
              FLOW_CONTROL_ERROR",
        vector: "ping too short",
    },
];

/// Frames of one input that are shown alone.
const ALONE: usize = 8;

/// The open stream.
const STREAM: StreamId = StreamId::new(1);

/// The input as a whole, then its frames one by one.
pub fn diff(data: &[u8]) {
    whole(data);
    let mut rest = data;
    for _ in 0..ALONE {
        let Some((frame, behind)) = split_frame(rest) else {
            break;
        };
        alone(frame);
        rest = behind;
    }
}

/// Whatever comes before: what ends the connection for us ends it for `h2`.
fn whole(data: &[u8]) {
    let (error, end) = first_error(data);
    // What is behind the error could undo what `h2` was about to answer.
    let seen = data.get(..end).unwrap_or(data);
    let served = serve(seen);
    if let Some(error) = error {
        assert!(
            served.ended
                || served.refused.is_some()
                || only_resets(error, &served)
                || error == FrameError::PromisedStream && is_intended(error.label()),
            "h2 goes on after {error:?}"
        );
    }
    if served.refused == Some(ErrorCode::FRAME_SIZE_ERROR) {
        assert!(error.is_some(), "h2 finds a frame too large that we take");
    }
}

/// The first error that ends the connection, and where it or the last whole frame ends. Errors of single streams are
/// stepped over.
fn first_error(data: &[u8]) -> (Option<FrameError>, usize) {
    let mut decoder = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
    let mut rest = data;
    while let Some((frame, behind)) = split_frame(rest) {
        rest = behind;
        match decoder.decode(&mut BytesMut::from(frame)) {
            Err(error) if error.severity() == Severity::Connection => {
                return (Some(error), data.len() - rest.len());
            }
            _ => {}
        }
    }
    // Half a frame: its header may be enough to refuse it. `h2` looks at the length when it has three bytes, we when
    // the header is complete, so less than a header says nothing.
    match decoder.decode(&mut BytesMut::from(rest)) {
        Err(error) => (Some(error), data.len()),
        Ok(_) if rest.len() < HEADER_BYTES => (None, data.len() - rest.len()),
        Ok(_) => (None, data.len()),
    }
}

/// One frame on a connection with one open request, then a question whether it is still there.
fn alone(frame: &[u8]) {
    let mut input = BytesMut::new();
    encode(&request(), &mut input);
    input.extend_from_slice(frame);
    encode(
        &Frame::Ping(Ping {
            ack: false,
            payload: ALIVE,
        }),
        &mut input,
    );
    let served = serve(&input);
    let mut decoder = FrameDecoder::new(LEAST_MAX_FRAME_SIZE);
    match decoder.decode(&mut BytesMut::from(frame)) {
        Ok(Some(_)) if decoder.is_mid_block() => {
            assert!(
                served.refused.is_some() || !served.resets.is_empty(),
                "h2 takes a question inside a block: {served:?}"
            );
        }
        Ok(Some(frame)) if may_refuse(&frame) => {}
        Ok(Some(frame)) => {
            assert!(served.alive, "h2 refuses {frame:?}: {served:?}");
            assert_eq!(served.resets, [], "h2 resets because of {frame:?}");
        }
        Ok(None) => panic!("a whole frame is waited for: {frame:?}"),
        Err(error) => refused_by_both(error, frame, &served),
    }
}

/// Whether `h2` resets a stream where we end the connection, as the list says.
fn only_resets(error: FrameError, served: &Served) -> bool {
    let what = match error {
        FrameError::ExpectedContinuation | FrameError::PromisedStream => error.label(),
        FrameError::Length | FrameError::Padding => "depends on itself inside its padding",
        _ => return false,
    };
    !served.resets.is_empty() && is_intended(what)
}

fn refused_by_both(error: FrameError, frame: &[u8], served: &Served) {
    let shown = frame.escape_ascii();
    if only_resets(error, served) {
        return;
    }
    if error.severity() == Severity::Stream {
        let theirs = served.resets.first().map(|(_, code)| *code);
        assert!(
            theirs == Some(error.error_code()) || is_intended(error.label()),
            "{error:?} is for us about a stream: {shown}: {served:?}"
        );
    }
    if error.severity() == Severity::Connection || theirs_is_wider(served) {
        let theirs = served.refused;
        let theirs = theirs.unwrap_or_else(|| panic!("h2 takes {error:?}: {shown}: {served:?}"));
        let same = theirs == error.error_code();
        assert!(
            same || theirs == ErrorCode::PROTOCOL_ERROR && is_intended("codes"),
            "{error:?} is {theirs:?} for h2: {shown}"
        );
    }
}

/// Whether `h2` ended the connection where a stream would have done.
fn theirs_is_wider(served: &Served) -> bool {
    served.resets.is_empty()
}

/// Whether a well-formed frame may be refused for what it does to a connection with one open request on [`STREAM`].
fn may_refuse(frame: &Frame) -> bool {
    let is_open = frame.stream() == STREAM;
    match frame {
        // On a stream that nobody opened.
        Frame::Data(_) | Frame::Reset(_) => !is_open,
        // Past the largest window: 65535 are open.
        Frame::WindowUpdate(update) => {
            !(is_open || update.stream.is_connection()) || update.increment > (1 << 31) - 1 - 65_535
        }
        Frame::Priority(stream, priority) => {
            priority.dependency == *stream && is_intended("depends on itself")
        }
        // What is inside a block is for `h2` alone, and a client promises nothing.
        Frame::Headers(_) | Frame::PushPromise(_) | Frame::Continuation(_) => true,
        Frame::Settings(_) | Frame::Ping(_) | Frame::GoAway(_) | Frame::Unknown(_) => false,
    }
}

fn is_intended(what: &str) -> bool {
    INTENDED.iter().any(|difference| difference.what == what)
}

/// POST / on [`STREAM`], content to follow.
fn request() -> Frame {
    Frame::Headers(Headers {
        stream: STREAM,
        block: b"\x83\x86\x84\x41\x01a"[..].into(),
        end_stream: false,
        end_headers: true,
        priority: None,
        padding: 0,
    })
}

fn encode(frame: &Frame, bytes: &mut BytesMut) {
    let encoded = FrameEncoder::new(LEAST_MAX_FRAME_SIZE).encode(frame, bytes);
    encoded.expect("our own frames have a wire form");
}

/// The first frame, by the length that it states; `None` when it is not all there.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[a, b, c] = bytes.first_chunk()?;
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    bytes.split_at_checked(HEADER_BYTES + length)
}

#[cfg(test)]
mod tests {
    use super::INTENDED;

    #[test]
    fn every_difference_has_its_vector() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../protocols/http2/tests/vectors/frames.md"
        );
        let text = std::fs::read_to_string(file).unwrap();
        for difference in INTENDED {
            let shown = text
                .split("\n### ")
                .any(|case| case.lines().next() == Some(difference.vector));
            assert!(shown, "no case {:?}", difference.vector);
        }
    }
}
