//! A command: its bytes in RESP, and where its arguments are in them.
//!
//! Nothing is copied and nothing is understood; the name is an argument like the others. Start at [`Command`].

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::encoder;

/// Where an argument is in the bytes of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

impl Span {
    /// The bytes of `wire` there; none where it does not reach.
    #[must_use]
    #[inline]
    pub fn of(self, wire: &[u8]) -> &[u8] {
        wire.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Where the arguments of a command are. Most have up to five.
pub type Spans = SmallVec<[Span; 5]>;

/// A whole command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    wire: Bytes,
    arguments: Spans,
}

impl Command {
    /// `arguments` must be about `wire`; those that are not are empty.
    #[must_use]
    pub const fn from_parts(wire: Bytes, arguments: Spans) -> Self {
        Self { wire, arguments }
    }

    /// A command of the gateway's own, its name first.
    #[must_use]
    pub fn new<A: AsRef<[u8]>>(arguments: &[A]) -> Self {
        let mut wire = BytesMut::new();
        let mut spans = Spans::with_capacity(arguments.len());
        encoder::array(arguments.len(), &mut wire);
        for argument in arguments {
            encoder::bulk(argument.as_ref(), &mut wire);
            let end = wire.len() - 2;
            let start = end - argument.as_ref().len();
            let (start, end) = (start as u32, end as u32);
            spans.push(Span { start, end });
        }
        Self::from_parts(wire.freeze(), spans)
    }

    /// Takes its bytes, which end behind its last argument, off the front of `bytes`.
    pub(super) fn claim(&mut self, bytes: &mut Bytes) {
        let end = self
            .arguments
            .last()
            .map_or(0, |span| span.end as usize + 2);
        self.wire = bytes.split_to(end.min(bytes.len()));
    }

    /// The whole command as it goes on: `*N`, and each argument with its length.
    #[must_use]
    pub const fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The bytes of [`wire`](Self::wire), given up.
    #[must_use]
    pub fn into_wire(self) -> Bytes {
        self.wire
    }

    /// The same, borrowed.
    #[must_use]
    #[inline]
    pub fn as_ref(&self) -> CommandRef<'_> {
        CommandRef::new(&self.wire, &self.arguments)
    }

    /// As in [`CommandRef::name`].
    #[must_use]
    #[inline]
    pub fn name(&self) -> &[u8] {
        self.as_ref().name()
    }

    /// As in [`CommandRef::argument`].
    #[must_use]
    #[inline]
    pub fn argument(&self, index: usize) -> Option<&[u8]> {
        self.as_ref().argument(index)
    }

    /// An argument that shares the allocation of the command.
    #[must_use]
    pub fn slice(&self, index: usize) -> Option<Bytes> {
        let span = self.arguments.get(index)?;
        let bytes = span.of(&self.wire);
        Some(self.wire.slice_ref(bytes))
    }

    /// The number of arguments, the name included.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// Never, of what a client sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }
}

/// A command in somebody else's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRef<'a> {
    wire: &'a [u8],
    arguments: &'a [Span],
}

impl<'a> CommandRef<'a> {
    /// `arguments` must be about `wire`; those that are not are empty.
    #[must_use]
    #[inline]
    pub const fn new(wire: &'a [u8], arguments: &'a [Span]) -> Self {
        Self { wire, arguments }
    }

    /// As in [`Command::wire`].
    #[must_use]
    pub const fn wire(self) -> &'a [u8] {
        self.wire
    }

    /// Where the arguments are in [`wire`](Self::wire).
    #[must_use]
    pub const fn spans(self) -> &'a [Span] {
        self.arguments
    }

    /// The first argument, as the client wrote it.
    #[must_use]
    #[inline]
    pub fn name(self) -> &'a [u8] {
        self.argument(0).unwrap_or_default()
    }

    /// Whether it is named like what begins an HTTP request or one of its fields. Redis closes such a connection without a
    /// word, since somebody's browser was made to send commands; to be asked of commands that are unknown.
    #[must_use]
    pub fn is_cross_protocol(self) -> bool {
        crate::grammar::is_http_name(self.name())
    }

    /// An argument; that with index 0 is the name.
    #[must_use]
    #[inline]
    pub fn argument(self, index: usize) -> Option<&'a [u8]> {
        Some(self.arguments.get(index)?.of(self.wire))
    }

    /// All arguments, the name first.
    pub fn arguments(self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.arguments.iter().map(move |span| span.of(self.wire))
    }

    /// The number of arguments, the name included.
    #[must_use]
    #[inline]
    pub const fn len(self) -> usize {
        self.arguments.len()
    }

    /// Never, of what a client sent.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.arguments.is_empty()
    }
}

/// The front of a command that is too large to be held whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Its first bytes, and the arguments that are whole in them, one at least.
    pub command: Command,
    /// The number of arguments of the whole command.
    pub declared: u32,
    /// The bytes of the first argument that is not whole, if its length is known already.
    pub partial: Option<u64>,
}
