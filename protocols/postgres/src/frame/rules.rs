//! How long messages of each type may be.
//!
//! Two tables of 256 rules, one a side, so that a header costs one load. Start at [`of`].

use super::{Side, Tag, backend, frontend};
use crate::limits::{LARGEST, SMALL_BACKEND, SMALL_FRONTEND};

/// Bounds on the length that messages of one type state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    least: u32,
    /// How many lengths there are from the least on, so that one comparison judges both bounds.
    span: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    /// Always yielded whole.
    Small,
    /// As small, within a limit of its own.
    Authentication,
    /// May stream.
    Large,
    /// As large, within a limit of its own.
    Statement,
    /// May stream, and be part of a run.
    Row,
}

/// A limit besides the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    /// [`FrameLimits::largest`](crate::limits::FrameLimits::largest).
    Statement,
    /// [`FrameLimits::authentication`](crate::limits::FrameLimits::authentication).
    Authentication,
}

impl Rule {
    /// Allows no length.
    const UNKNOWN: Self = Self {
        least: 0,
        span: 0,
        kind: Kind::Unknown,
    };

    /// The least is given without the length itself.
    const fn new(kind: Kind, least_body: u32, most: u32) -> Self {
        let least = 4 + least_body;
        let span = most - least + 1;
        Self { least, span, kind }
    }

    /// Messages of one length only.
    const fn fixed(body: u32) -> Self {
        Self::new(Kind::Small, body, 4 + body)
    }

    const fn small(least_body: u32, most: u32) -> Self {
        Self::new(Kind::Small, least_body, most)
    }

    const fn large(least_body: u32, most: u32) -> Self {
        Self::new(Kind::Large, least_body, most)
    }

    const fn statement(least_body: u32) -> Self {
        Self::new(Kind::Statement, least_body, LARGEST)
    }

    const fn row(least_body: u32) -> Self {
        Self::new(Kind::Row, least_body, LARGEST)
    }

    /// Whether messages of the type may have this length. No unknown type may have any.
    #[inline]
    pub(super) const fn allows(self, length: u32) -> bool {
        length.wrapping_sub(self.least) < self.span
    }

    pub(super) const fn least(self) -> u32 {
        self.least
    }

    pub(super) const fn is_fixed(self) -> bool {
        self.span == 1
    }

    pub(super) const fn is_unknown(self) -> bool {
        matches!(self.kind, Kind::Unknown)
    }

    pub(super) const fn is_large(self) -> bool {
        matches!(self.kind, Kind::Large | Kind::Statement | Kind::Row)
    }

    pub(super) const fn is_row(self) -> bool {
        matches!(self.kind, Kind::Row)
    }

    pub(super) const fn limit(self) -> Limit {
        match self.kind {
            Kind::Statement => Limit::Statement,
            Kind::Authentication => Limit::Authentication,
            _ => Limit::None,
        }
    }
}

type Entry = (Tag, &'static str, Rule);

/// The least bodies are what is left of each message when its strings and lists are empty.
const FRONTEND: &[Entry] = &[
    (frontend::BIND, "Bind", Rule::statement(8)),
    (frontend::CLOSE, "Close", Rule::small(2, SMALL_FRONTEND)),
    (frontend::COPY_DATA, "CopyData", Rule::row(0)),
    (frontend::COPY_DONE, "CopyDone", Rule::fixed(0)),
    (
        frontend::COPY_FAIL,
        "CopyFail",
        Rule::small(1, SMALL_FRONTEND),
    ),
    (
        frontend::DESCRIBE,
        "Describe",
        Rule::small(2, SMALL_FRONTEND),
    ),
    (frontend::EXECUTE, "Execute", Rule::small(5, SMALL_FRONTEND)),
    (frontend::FLUSH, "Flush", Rule::fixed(0)),
    (frontend::FUNCTION_CALL, "FunctionCall", Rule::statement(10)),
    (frontend::PARSE, "Parse", Rule::statement(4)),
    (
        frontend::PASSWORD,
        "Password",
        Rule::new(Kind::Authentication, 0, LARGEST),
    ),
    (frontend::QUERY, "Query", Rule::statement(1)),
    (frontend::SYNC, "Sync", Rule::fixed(0)),
    (frontend::TERMINATE, "Terminate", Rule::fixed(0)),
];

/// ParameterDescription with as many parameters as its count can say.
const PARAMETERS: u32 = 4 + 2 + 4 * 65_535;

const BACKEND: &[Entry] = &[
    (
        backend::AUTHENTICATION,
        "Authentication",
        Rule::small(4, SMALL_BACKEND),
    ),
    (
        backend::BACKEND_KEY_DATA,
        "BackendKeyData",
        Rule::small(8, 4 + 4 + 256),
    ),
    (backend::BIND_COMPLETE, "BindComplete", Rule::fixed(0)),
    (backend::CLOSE_COMPLETE, "CloseComplete", Rule::fixed(0)),
    (
        backend::COMMAND_COMPLETE,
        "CommandComplete",
        Rule::small(1, SMALL_BACKEND),
    ),
    (
        backend::COPY_BOTH_RESPONSE,
        "CopyBothResponse",
        Rule::small(3, SMALL_BACKEND),
    ),
    (backend::COPY_DATA, "CopyData", Rule::row(0)),
    (backend::COPY_DONE, "CopyDone", Rule::fixed(0)),
    (
        backend::COPY_IN_RESPONSE,
        "CopyInResponse",
        Rule::small(3, SMALL_BACKEND),
    ),
    (
        backend::COPY_OUT_RESPONSE,
        "CopyOutResponse",
        Rule::small(3, SMALL_BACKEND),
    ),
    (backend::DATA_ROW, "DataRow", Rule::row(2)),
    (
        backend::EMPTY_QUERY_RESPONSE,
        "EmptyQueryResponse",
        Rule::fixed(0),
    ),
    (
        backend::ERROR_RESPONSE,
        "ErrorResponse",
        Rule::large(1, LARGEST),
    ),
    (
        backend::FUNCTION_CALL_RESPONSE,
        "FunctionCallResponse",
        Rule::large(4, LARGEST),
    ),
    (
        backend::NEGOTIATE_PROTOCOL_VERSION,
        "NegotiateProtocolVersion",
        Rule::small(8, SMALL_BACKEND),
    ),
    (backend::NO_DATA, "NoData", Rule::fixed(0)),
    (
        backend::NOTICE_RESPONSE,
        "NoticeResponse",
        Rule::large(1, LARGEST),
    ),
    (
        backend::NOTIFICATION_RESPONSE,
        "NotificationResponse",
        Rule::small(6, SMALL_BACKEND),
    ),
    (
        backend::PARAMETER_DESCRIPTION,
        "ParameterDescription",
        Rule::large(2, PARAMETERS),
    ),
    (
        backend::PARAMETER_STATUS,
        "ParameterStatus",
        Rule::small(2, SMALL_BACKEND),
    ),
    (backend::PARSE_COMPLETE, "ParseComplete", Rule::fixed(0)),
    (backend::PORTAL_SUSPENDED, "PortalSuspended", Rule::fixed(0)),
    (backend::READY_FOR_QUERY, "ReadyForQuery", Rule::fixed(1)),
    (
        backend::ROW_DESCRIPTION,
        "RowDescription",
        Rule::large(2, LARGEST),
    ),
];

static FRONTEND_RULES: [Rule; 256] = table(FRONTEND);
static BACKEND_RULES: [Rule; 256] = table(BACKEND);

/// The rule for messages of this type.
#[allow(clippy::indexing_slicing)] // a u8 is always below 256
#[inline]
pub(super) const fn of(tag: u8, side: Side) -> Rule {
    match side {
        Side::Frontend => FRONTEND_RULES[tag as usize],
        Side::Backend => BACKEND_RULES[tag as usize],
    }
}

/// The name of the message.
#[allow(clippy::indexing_slicing)] // bounded by the slice
pub(super) const fn name(tag: Tag, side: Side) -> Option<&'static str> {
    let entries = match side {
        Side::Frontend => FRONTEND,
        Side::Backend => BACKEND,
    };
    let mut index = 0;
    while index < entries.len() {
        if entries[index].0.0 == tag.0 {
            return Some(entries[index].1);
        }
        index += 1;
    }
    None
}

#[allow(clippy::indexing_slicing)] // bounded by the slice; a u8 is always below 256
const fn table(entries: &[Entry]) -> [Rule; 256] {
    let mut rules = [Rule::UNKNOWN; 256];
    let mut index = 0;
    while index < entries.len() {
        rules[entries[index].0.0 as usize] = entries[index].2;
        index += 1;
    }
    rules
}
