//! The guard of HTTP/2 connections: a list of frames each way, of reads and of pauses, against what was built.
//!
//! An input is pairs of bytes: what happens, and how much. The laws: fragmentation changes nothing; what is counted is what
//! was built; nobody is refused who stayed within a burst, and nobody gets further than burst, rate and credit together.
//! Start at [`session`].

use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_config::{ByteSize, Rate};
use portcullis_http2::frame::{FrameKind, StreamId, flags};
use portcullis_http2::guard::BudgetConfig;
use portcullis_http2::{FrameHeader, Guard, GuardError, GuardLimits, PREFACE, Role, encode_header};
use portcullis_testkit::Random;

use crate::http2::hash;

/// What the limits are: small enough to be reached, the same for every kind.
const BURST: u32 = 5;
const PER_SECOND: u64 = 10;
const BLOCK: u64 = 40;
const FIELDS: u32 = 9;
const CONTINUATIONS: u32 = 3;
const TINY: u32 = 8;

/// What was built, and what may have been earned by it.
#[derive(Debug, Default)]
struct Built {
    received: [u32; FrameKind::COUNT],
    resets_sent: u32,
    counted_resets_sent: u32,
    /// Frames of any kind that may be free.
    earned: u32,
    data: u64,
    sent: u64,
    consumed: u32,
    mid_block: bool,
}

/// Any list of operations on one connection.
#[allow(clippy::disallowed_methods)] // any instant will do: only differences count
pub fn session(data: &[u8]) {
    let mut random = Random::from_seed(hash(data));
    let start = Instant::now();
    let role = match data.first() {
        Some(first) if first % 2 == 1 => Role::Client,
        _ => Role::Server,
    };
    let mut now = start;
    let mut whole = Guard::new(role, &limits(), now);
    let mut cut = Guard::new(role, &limits(), now);
    let mut built = Built::default();
    let mut result = greet(role, &mut whole, &mut cut, &mut built, now);
    for pair in data.chunks_exact(2) {
        let (what, amount) = (pair[0], pair[1]);
        match what % 16 {
            14 => now += Duration::from_millis(u64::from(amount) * 10),
            15 => {
                whole.handle_consumed(usize::from(amount % 16), amount >= 0x80);
                cut.handle_consumed(usize::from(amount % 16), amount >= 0x80);
                built.consumed += 1;
            }
            kind => {
                let is_sent = what >= 0xc0;
                let frame = build(kind, what, amount, is_sent, role, &mut built);
                let pieces = random.pieces(&frame, 7);
                result = if is_sent {
                    let cut = pieces
                        .iter()
                        .try_for_each(|bytes| cut.handle_sent(now, bytes));
                    same(whole.handle_sent(now, &frame), cut)
                } else {
                    let cut = pieces
                        .iter()
                        .try_for_each(|bytes| cut.handle_received(now, bytes));
                    same(whole.handle_received(now, &frame), cut)
                };
            }
        }
        assert_eq!(whole.frames(), cut.frames(), "fragmentation shows");
        assert_eq!(whole.streams_progress(), cut.streams_progress());
        assert_eq!(whole.block_open_since(), cut.block_open_since());
        if let Err(error) = result {
            check_refused(error, &built);
            assert_eq!(whole.handle_received(now, b""), Err(error), "not final");
            return;
        }
        check_passed(&whole, &built, now - start);
    }
}

fn limits() -> GuardLimits {
    let budget = BudgetConfig {
        rate: Rate::per_second(PER_SECOND),
        burst: BURST,
    };
    GuardLimits {
        max_frame: ByteSize::kib(16),
        header_block: ByteSize(BLOCK),
        header_fields: FIELDS,
        continuations: CONTINUATIONS,
        resets_received: budget,
        resets_sent: budget,
        settings: budget,
        settings_entries: 2,
        ping: budget,
        priority: budget,
        window_update: budget,
        empty_data: budget,
        tiny_data: budget,
        tiny: ByteSize(u64::from(TINY)),
        goaway: budget,
        unknown: budget,
    }
}

fn greet(
    role: Role,
    whole: &mut Guard,
    cut: &mut Guard,
    built: &mut Built,
    now: Instant,
) -> Result<(), GuardError> {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    for guard in [whole, cut] {
        if role == Role::Server {
            guard.handle_received(now, PREFACE)?;
        } else {
            guard.handle_sent(now, PREFACE)?;
        }
        guard.handle_received(now, settings)?;
    }
    built.received[FrameKind::Settings.index()] += 1;
    Ok(())
}

/// A frame as the pair says, written into the books.
fn build(kind: u8, what: u8, amount: u8, is_sent: bool, role: Role, built: &mut Built) -> Vec<u8> {
    // Numbers 10 to 13 are unknown kinds; the bits 4 and 5 are the flags that matter most.
    let kind = FrameKind::from_number(kind);
    let first = what & 0x10 != 0;
    let flags = match kind {
        FrameKind::Data if first => flags::END_STREAM,
        FrameKind::Settings | FrameKind::Ping if first => flags::ACK,
        FrameKind::Headers | FrameKind::PushPromise | FrameKind::Continuation if first => {
            flags::END_HEADERS
        }
        _ => 0,
    };
    let payload = match kind {
        FrameKind::Settings => vec![0; 6 * usize::from(amount % 4)],
        FrameKind::Reset => vec![0, 0, 0, amount % 14],
        // Indexed fields, behind the promised stream.
        FrameKind::PushPromise => {
            [&[0, 0, 0, 2][..], &vec![0x82; usize::from(amount % 16)]].concat()
        }
        FrameKind::Headers | FrameKind::Continuation => vec![0x82; usize::from(amount % 16)],
        _ => vec![b'x'; usize::from(amount % 32)],
    };
    if is_sent {
        note_sent(kind, flags, &payload, role, built);
    } else {
        note_received(kind, flags, &payload, role, built);
    }
    let mut bytes = BytesMut::new();
    let header = FrameHeader {
        length: payload.len() as u32,
        kind,
        flags,
        stream: StreamId::new(1),
    };
    encode_header(&header, &mut bytes);
    bytes.extend_from_slice(&payload);
    bytes.to_vec()
}

fn note_sent(kind: FrameKind, flags: u8, payload: &[u8], role: Role, built: &mut Built) {
    match kind {
        FrameKind::Data => {
            built.sent += payload.len() as u64;
            built.earned += 2;
        }
        FrameKind::Headers if role == Role::Client => built.earned += 1,
        FrameKind::Settings | FrameKind::Ping if flags & flags::ACK == 0 => built.earned += 1,
        FrameKind::Reset => {
            built.resets_sent += 1;
            // NO_ERROR, INTERNAL_ERROR, CANCEL, CONNECT_ERROR and HTTP_1_1_REQUIRED are ours.
            let is_ours = matches!(payload, [.., 0 | 2 | 8 | 10 | 13]);
            built.counted_resets_sent += u32::from(!is_ours);
        }
        _ => {}
    }
}

fn note_received(kind: FrameKind, flags: u8, payload: &[u8], role: Role, built: &mut Built) {
    built.received[kind.index()] += 1;
    match kind {
        FrameKind::Data if !built.mid_block => built.data += payload.len() as u64,
        FrameKind::Headers if role == Role::Server => built.earned += 1,
        FrameKind::PushPromise if role == Role::Server => built.earned += 1,
        _ => {}
    }
    if kind.has_block() {
        built.mid_block = flags & flags::END_HEADERS == 0;
    }
}

fn same(whole: Result<(), GuardError>, cut: Result<(), GuardError>) -> Result<(), GuardError> {
    assert_eq!(whole, cut, "a split changed the answer");
    whole
}

/// A refusal needs a reason: more of that kind than the burst.
fn check_refused(error: GuardError, built: &Built) {
    let received = |kind: FrameKind| built.received[kind.index()];
    let spent = match error {
        GuardError::ResetFlood => received(FrameKind::Reset),
        GuardError::ResetSentFlood => built.counted_resets_sent,
        GuardError::SettingsFlood => received(FrameKind::Settings),
        GuardError::PingFlood => received(FrameKind::Ping),
        GuardError::PriorityFlood => received(FrameKind::Priority),
        GuardError::WindowUpdateFlood => received(FrameKind::WindowUpdate),
        GuardError::EmptyDataFlood | GuardError::TinyDataFlood => received(FrameKind::Data),
        GuardError::GoAwayFlood => received(FrameKind::GoAway),
        GuardError::UnknownFlood => received(FrameKind::Unknown(0)),
        GuardError::ContinuationFlood => received(FrameKind::Continuation) - CONTINUATIONS + BURST,
        // Bounds without a clock, and a header block that was interrupted.
        GuardError::HeaderBlockTooLarge
        | GuardError::TooManyFields
        | GuardError::BrokenBlock
        | GuardError::TooManySettings => return,
        GuardError::NoPreface
        | GuardError::FrameTooLarge
        | GuardError::Malformed
        | GuardError::BrokenCompression => panic!("{error:?} was not built"),
    };
    assert!(spent > BURST, "{error:?} after {built:?}");
}

/// What was let through was built, and nothing got further than it may.
fn check_passed(guard: &Guard, built: &Built, elapsed: Duration) {
    for (kind, count) in guard.frames().iter() {
        assert_eq!(count, built.received[kind.index()], "{kind:?}");
    }
    assert_eq!(guard.frames().resets_sent, built.resets_sent);
    let progress = guard.streams_progress();
    assert_eq!((progress.received, progress.sent), (built.data, built.sent));
    assert_eq!(guard.block_open_since().is_some(), built.mid_block);
    let by_rate = elapsed.as_millis() as u64 * PER_SECOND / 1000 + 1;
    let most = u64::from(BURST) + by_rate + u64::from(built.earned);
    for kind in [
        FrameKind::Priority,
        FrameKind::Reset,
        FrameKind::Settings,
        FrameKind::Ping,
        FrameKind::GoAway,
        FrameKind::WindowUpdate,
        FrameKind::Unknown(0),
    ] {
        let passed = u64::from(guard.frames().received(kind));
        assert!(passed <= most, "{passed} {kind:?} of {most}");
    }
    assert!(u64::from(built.counted_resets_sent) <= most);
}
