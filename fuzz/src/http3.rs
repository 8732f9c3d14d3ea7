//! HTTP/3: the laws of the guard of frames.
//!
//! The first byte says whose stream it is and how the rest is cut; the rest is the stream, so that a seed is bytes of the wire.
//! Start at [`frames_decode`].

use bytes::Bytes;
use portcullis_http3::frames::{
    Breach, FrameGuard, GuardLimits, Piece, SectionKind, StreamKind, Varint,
};

/// What passed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    bytes: Vec<u8>,
    content: usize,
    end: Result<(), Breach>,
}

/// Streams of frames: every split agrees, what passes is a part of what came and whole frames, and their content is counted
/// right.
pub fn frames_decode(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else {
        return;
    };
    let kind = match first & 3 {
        0 => StreamKind::Message(SectionKind::Request),
        1 => StreamKind::Control,
        _ => StreamKind::Message(SectionKind::Response),
    };
    // Heads that are taken for interim ones, in turn.
    let interim = first >> 2 & 3;
    let whole = play(kind, interim, stream, stream.len());
    let cut = play(kind, interim, stream, usize::from(first >> 4) + 1);
    assert_eq!(whole.end, cut.end, "every split ends alike");
    if whole.end.is_ok() {
        assert_eq!(whole, cut, "every split agrees");
        assert_eq!(
            content_of(&whole.bytes),
            Some(whole.content),
            "whole frames"
        );
    }
    assert!(whole.bytes.len() <= stream.len(), "nothing is added");
}

fn play(kind: StreamKind, interim: u8, stream: &[u8], size: usize) -> Passed {
    let limits = GuardLimits {
        head: 256,
        control_frame: 64,
        empty_frames: 8,
    };
    let mut guard = FrameGuard::new(kind, limits);
    let mut passed = Passed {
        bytes: Vec::new(),
        content: 0,
        end: Ok(()),
    };
    let mut heads = 0;
    for piece in stream.chunks(size.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            let bytes = match guard.next(&mut input) {
                Ok(Some(Piece::Section(bytes))) => {
                    if guard.is_waiting() {
                        heads += 1;
                        guard.on_head(heads <= interim);
                    }
                    bytes
                }
                Ok(Some(Piece::Data(bytes, content))) => {
                    passed.content += content;
                    bytes
                }
                Ok(Some(Piece::Control(bytes) | Piece::Goaway(bytes, _))) => bytes,
                Ok(None) => break,
                Err(breach) => {
                    passed.end = Err(breach);
                    return passed;
                }
            };
            passed.bytes.extend_from_slice(&bytes);
        }
        assert!(input.is_empty(), "everything is taken");
    }
    passed.end = guard.finish();
    passed
}

/// Bytes of DATA in whole frames; `None` if they are not whole.
fn content_of(mut frames: &[u8]) -> Option<usize> {
    let mut content = 0;
    while !frames.is_empty() {
        let kind = Varint::parse(frames)?;
        let length = Varint::parse(frames.get(kind.size..)?)?;
        let size = usize::try_from(length.value).ok()?;
        frames = frames.get(kind.size + length.size..)?.get(size..)?;
        if kind.value == 0 {
            content += size;
        }
    }
    Some(content)
}
