//! What stands between a QUIC stream and `h3`: frames (RFC 9114 section 7) are measured and put in order before `h3` sees them.
//!
//! `h3` believes lengths, holds whatever arrives, panics where a stream ends inside of a frame, takes an empty DATA frame for the
//! body's end, and does not look at the order of pseudo-header fields. So every byte passes here first: heads are bounded and
//! looked at (`section`, `huffman`), DATA is cut at frames' ends, what has no meaning is left out, and what must not be there is a
//! [`Breach`]. No field is decoded here, and nothing is said about what a message means. Start at [`FrameGuard::next`].

mod huffman;
mod section;
#[cfg(test)]
mod tests;
mod varint;

use bytes::{Buf as _, Bytes, BytesMut};
use portcullis_codec::{Severity, WireError};

pub use section::SectionKind;
pub(crate) use section::check as check_section;
pub use varint::Varint;

/// What a peer must not do. The label is the `reason` of counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A stream ended inside of a frame (RFC 9114 section 7.1).
    #[error("the stream ended inside of a frame")]
    Truncated,
    /// A stream ended before the head of its message, or before the final one (RFC 9114 section 4.1).
    #[error("the stream ended without a head")]
    Incomplete,
    /// A frame that must not be there (RFC 9114 sections 4.1, 7.2).
    #[error("a frame that must not be there")]
    Unexpected,
    /// A frame whose content is not what its type says (RFC 9114 section 7.1).
    #[error("a malformed frame")]
    Malformed,
    /// A push, which nobody has allowed (RFC 9114 section 4.6).
    #[error("a push that was not allowed")]
    Push,
    /// A head or trailers with more bytes than allowed.
    #[error("head too large")]
    HeadTooLarge,
    /// A frame of the control stream with more bytes than allowed.
    #[error("frame too large")]
    FrameTooLarge,
    /// Pseudo-header fields that are wrong, repeated, or not at the beginning (RFC 9114 section 4.3).
    #[error("invalid pseudo-header fields")]
    Pseudo,
    /// A `:path` with a `#` in it (RFC 9114 section 4.3.1).
    #[error("fragment in the target")]
    Fragment,
    /// A field section that cannot be read without a dynamic table, or not at all (RFC 9204 section 2.2).
    #[error("broken field section")]
    Section,
    /// More frames without content than anybody needs.
    #[error("too many frames without content")]
    Flood,
}

impl WireError for Breach {
    fn severity(&self) -> Severity {
        if self.is_of_stream() {
            Severity::Stream
        } else {
            Severity::Connection
        }
    }

    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl Breach {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Truncated => "h3_truncated_frame",
            Self::Incomplete => "h3_incomplete_message",
            Self::Unexpected => "h3_frame_unexpected",
            Self::Malformed => "h3_malformed_frame",
            Self::Push => "h3_push",
            Self::HeadTooLarge => "head_too_large",
            Self::FrameTooLarge => "h3_frame_too_large",
            Self::Pseudo => "invalid_pseudo_header",
            Self::Fragment => "fragment_in_target",
            Self::Section => "h3_broken_compression",
            Self::Flood => "h3_frame_flood",
        }
    }

    /// Whether only one message is to blame; otherwise the connection ends.
    #[must_use]
    pub const fn is_of_stream(self) -> bool {
        matches!(
            self,
            Self::Incomplete | Self::HeadTooLarge | Self::Pseudo | Self::Fragment
        )
    }

    /// The code that the stream or the connection is ended with (RFC 9114 section 8.1, RFC 9204 section 6).
    #[must_use]
    pub const fn code(self) -> u64 {
        match self {
            Self::Unexpected => 0x105,
            Self::Truncated | Self::Malformed => 0x106,
            Self::HeadTooLarge | Self::FrameTooLarge | Self::Flood => 0x107,
            Self::Push => 0x108,
            Self::Incomplete => 0x10d,
            Self::Pseudo | Self::Fragment => 0x10e,
            Self::Section => 0x200,
        }
    }
}

/// How much of a stream is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    /// Bytes of a compressed head, or of compressed trailers.
    pub head: u64,
    /// Bytes of a frame of the control stream.
    pub control_frame: u64,
    /// Frames without content on one stream: of unknown types, and DATA of no length. RFC 9114 section 7.2.8 lets peers send
    /// some.
    pub empty_frames: u32,
}

impl Default for GuardLimits {
    /// Heads as HTTP/2's guard has them; a control stream says little, whose frames are some settings and ids.
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            control_frame: 1024,
            empty_frames: 256,
        }
    }
}

/// Whose frames these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A request, or its response, if `SectionKind` is [`SectionKind::Response`].
    Message(SectionKind),
    /// The control stream.
    Control,
}

/// What may be handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole head or trailers, frame header included.
    Section(Bytes),
    /// The beginning of a DATA frame, or more of one; so many bytes of it are content, and all of one frame.
    Data(Bytes, usize),
    /// A whole frame of the control stream.
    Control(Bytes),
    /// A whole GOAWAY frame of the control stream, and the id that it says.
    Goaway(Bytes, u64),
}

/// The frames of one stream in one direction.
#[derive(Debug)]
pub struct FrameGuard {
    kind: StreamKind,
    limits: GuardLimits,
    state: State,
    header: HeaderStart,
    stage: Stage,
    empty_frames: u32,
}

/// Where in a frame the stream stands.
#[derive(Debug)]
enum State {
    /// In the frame header, or before it.
    Header,
    /// In the content of a frame that is collected, its header included.
    Collecting {
        kind: u64,
        frame: BytesMut,
        left: usize,
    },
    /// In DATA.
    Data { left: u64 },
    /// In what is left out.
    Skipping { left: u64 },
}

/// A frame header, as far as it has come: two numbers of 8 bytes at most.
#[derive(Debug, Default, Clone, Copy)]
struct HeaderStart {
    bytes: [u8; 16],
    len: usize,
}

impl HeaderStart {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Takes more bytes, as far as there is room.
    fn extend(&mut self, more: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let taken = room.len().min(more.len());
        for (place, byte) in room.iter_mut().zip(more) {
            *place = *byte;
        }
        self.len += taken;
    }
}

/// Where in a message the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A head must come; more may follow, if they are interim.
    Head,
    /// A head has come. DATA, trailers, or another head if that one was interim.
    AfterHead,
    /// The final head has come.
    Body,
    /// Nothing may come.
    Trailers,
}

const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
const CANCEL_PUSH: u64 = 0x3;
const SETTINGS: u64 = 0x4;
const PUSH_PROMISE: u64 = 0x5;
const GOAWAY: u64 = 0x7;
const MAX_PUSH_ID: u64 = 0xd;

impl FrameGuard {
    /// The guard of a stream that begins.
    #[must_use]
    pub fn new(kind: StreamKind, limits: GuardLimits) -> Self {
        Self {
            kind,
            limits,
            state: State::Header,
            header: HeaderStart::default(),
            stage: Stage::Head,
            empty_frames: 0,
        }
    }

    /// Takes bytes of the stream off `input`; the answer is what may be handed on, or `None` once `input` is empty.
    ///
    /// # Errors
    /// What the peer must not do. Nothing may be handed on after that.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Breach> {
        while !input.is_empty() {
            match &mut self.state {
                State::Header => {
                    if let Some(piece) = self.read_header(input)? {
                        return Ok(Some(piece));
                    }
                }
                State::Collecting { kind, frame, left } => {
                    let more = input.split_to(input.len().min(*left));
                    *left -= more.len();
                    frame.extend_from_slice(&more);
                    if *left == 0 {
                        let (kind, frame) = (*kind, std::mem::take(frame).freeze());
                        self.state = State::Header;
                        return self.judge(kind, frame).map(Some);
                    }
                }
                State::Data { left } => {
                    let more = split_most(input, *left);
                    *left -= more.len() as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    let content = more.len();
                    return Ok(Some(Piece::Data(more, content)));
                }
                State::Skipping { left } => {
                    *left -= split_most(input, *left).len() as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
            }
        }
        Ok(None)
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// Inside of a frame, or before a final head.
    pub fn finish(&self) -> Result<(), Breach> {
        if !matches!(self.state, State::Header) || self.header.len > 0 {
            return Err(Breach::Truncated);
        }
        match self.kind {
            StreamKind::Message(_) if self.stage == Stage::Head => Err(Breach::Incomplete),
            _ => Ok(()),
        }
    }

    /// The head that was handed on last is known to be `interim`, or the final one. After the final one, another is a breach.
    pub fn on_head(&mut self, interim: bool) {
        if self.stage == Stage::AfterHead {
            self.stage = if interim { Stage::Head } else { Stage::Body };
        }
    }

    /// Whether a head was handed on and it is not known yet whether it is the final one: what follows cannot be judged
    /// before that is.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::AfterHead
    }

    /// Reads of `input` what belongs to the frame header.
    fn read_header(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Breach> {
        let held = self.header.len;
        let mut header = self.header;
        header.extend(input);
        let Some((kind, length, size)) = parse(header.as_slice()) else {
            input.advance(header.len - held);
            self.header = header;
            return Ok(None);
        };
        self.header.len = 0;
        header.len = size;
        // A header that came in one piece stays with what follows it.
        let whole = (held == 0).then(|| input.clone());
        input.advance(size - held);
        if kind == DATA && matches!(self.kind, StreamKind::Message(_)) {
            return self.begin_data(length, header, whole, input);
        }
        self.begin(kind, length, header)
    }

    /// A frame begins; `header` are its first bytes.
    fn begin(
        &mut self,
        kind: u64,
        length: u64,
        header: HeaderStart,
    ) -> Result<Option<Piece>, Breach> {
        let fits = match self.kind {
            StreamKind::Message(_) => match kind {
                HEADERS if self.stage == Stage::Trailers => return Err(Breach::Unexpected),
                HEADERS if length > self.limits.head => return Err(Breach::HeadTooLarge),
                HEADERS => true,
                PUSH_PROMISE => return Err(Breach::Push),
                CANCEL_PUSH | SETTINGS | GOAWAY | MAX_PUSH_ID => return Err(Breach::Unexpected),
                _ => false,
            },
            StreamKind::Control => match kind {
                DATA | HEADERS | PUSH_PROMISE => return Err(Breach::Unexpected),
                CANCEL_PUSH | SETTINGS | GOAWAY | MAX_PUSH_ID => {
                    if length > self.limits.control_frame {
                        return Err(Breach::FrameTooLarge);
                    }
                    true
                }
                _ => false,
            },
        };
        if is_of_http2(kind) {
            return Err(Breach::Unexpected);
        }
        if !fits {
            self.count_empty()?;
            if length > 0 {
                self.state = State::Skipping { left: length };
            }
            return Ok(None);
        }
        let frame = BytesMut::from(header.as_slice());
        if length == 0 {
            return self.judge(kind, frame.freeze()).map(Some);
        }
        self.state = State::Collecting {
            kind,
            frame,
            left: usize::try_from(length).map_err(|_| Breach::FrameTooLarge)?,
        };
        Ok(None)
    }

    /// DATA begins. `whole` are the bytes from its header on, if they came in one piece.
    fn begin_data(
        &mut self,
        length: u64,
        header: HeaderStart,
        whole: Option<Bytes>,
        input: &mut Bytes,
    ) -> Result<Option<Piece>, Breach> {
        match self.stage {
            Stage::Head | Stage::Trailers => return Err(Breach::Unexpected),
            Stage::AfterHead | Stage::Body => self.stage = Stage::Body,
        }
        if length == 0 {
            self.count_empty()?;
            return Ok(None);
        }
        let Some(mut piece) = whole else {
            self.state = State::Data { left: length };
            let header = Bytes::copy_from_slice(header.as_slice());
            return Ok(Some(Piece::Data(header, 0)));
        };
        let content = split_most(input, length).len();
        piece.truncate(header.len + content);
        let left = length - content as u64;
        if left > 0 {
            self.state = State::Data { left };
        }
        Ok(Some(Piece::Data(piece, content)))
    }

    /// A frame that was collected.
    fn judge(&mut self, kind: u64, frame: Bytes) -> Result<Piece, Breach> {
        let (_, _, size) = parse(&frame).ok_or(Breach::Malformed)?;
        let content = frame.get(size..).unwrap_or_default();
        let StreamKind::Message(message) = self.kind else {
            if kind == GOAWAY {
                let id = Varint::parse(content).filter(|id| id.size == content.len());
                return Ok(Piece::Goaway(frame, id.ok_or(Breach::Malformed)?.value));
            }
            return Ok(Piece::Control(frame));
        };
        let has_pseudo = section::check(content, message)?;
        match (self.stage, has_pseudo) {
            (Stage::Head, true) => {
                self.stage = match message {
                    SectionKind::Request => Stage::Body,
                    SectionKind::Response => Stage::AfterHead,
                };
            }
            (Stage::AfterHead | Stage::Body, false) => self.stage = Stage::Trailers,
            _ => return Err(Breach::Pseudo),
        }
        Ok(Piece::Section(frame))
    }

    fn count_empty(&mut self) -> Result<(), Breach> {
        self.empty_frames += 1;
        if self.empty_frames > self.limits.empty_frames {
            return Err(Breach::Flood);
        }
        Ok(())
    }
}

/// The header of a DATA frame with so many bytes of content (RFC 9114 section 7.2.1).
#[must_use]
pub fn data_header(content: usize) -> Bytes {
    let mut header = BytesMut::with_capacity(9);
    Varint::write(DATA, &mut header);
    Varint::write(content as u64, &mut header);
    header.freeze()
}

/// Takes off the beginning of `input` what there is of `most` bytes.
fn split_most(input: &mut Bytes, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    input.split_to(input.len().min(most))
}

/// The type and length of a frame, and the size of its header; `None` if it has not all come.
fn parse(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let kind = Varint::parse(bytes)?;
    let length = Varint::parse(bytes.get(kind.size..)?)?;
    Some((kind.value, length.value, kind.size + length.size))
}

/// RFC 9114 section 7.2.8: frames of HTTP/2 that have no counterpart.
const fn is_of_http2(kind: u64) -> bool {
    matches!(kind, 0x2 | 0x6 | 0x8 | 0x9)
}
