//! How long messages of each type may be.
//!
//! Two tables of 256 rules, one a side, so that a header costs one load. Start at [`of`].

use super::{Side, Tag, backend, frontend};
use crate::limits::{LARGEST, SMALL_BACKEND, SMALL_FRONTEND};

/// Bounds on the length that messages of one type state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) least: u32,
    /// Or one of the constants below, which stand for a limit.
    pub(super) most: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    /// Always yielded whole.
    Small,
    /// May stream.
    Large,
    /// May stream, and be part of a run.
    Row,
}

impl Rule {
    /// Stands for [`FrameLimits::largest`](crate::limits::FrameLimits::largest).
    pub(super) const STATEMENT: u32 = u32::MAX;
    /// Stands for [`FrameLimits::authentication`](crate::limits::FrameLimits::authentication).
    pub(super) const AUTHENTICATION: u32 = u32::MAX - 1;

    /// Refuses every length.
    const UNKNOWN: Self = Self {
        least: u32::MAX,
        most: 0,
        kind: Kind::Unknown,
    };

    /// Messages of one length only, given without the length itself.
    const fn fixed(body: u32) -> Self {
        Self::small(body, 4 + body)
    }

    const fn small(least_body: u32, most: u32) -> Self {
        Self {
            least: 4 + least_body,
            most,
            kind: Kind::Small,
        }
    }

    const fn large(least_body: u32, most: u32) -> Self {
        Self {
            least: 4 + least_body,
            most,
            kind: Kind::Large,
        }
    }

    const fn row(least_body: u32) -> Self {
        Self {
            least: 4 + least_body,
            most: LARGEST,
            kind: Kind::Row,
        }
    }

    pub(super) const fn is_unknown(self) -> bool {
        matches!(self.kind, Kind::Unknown)
    }

    pub(super) const fn is_large(self) -> bool {
        matches!(self.kind, Kind::Large | Kind::Row)
    }

    pub(super) const fn is_row(self) -> bool {
        matches!(self.kind, Kind::Row)
    }
}

type Entry = (Tag, &'static str, Rule);

/// The least bodies are what is left of each message when its strings and lists are empty.
const FRONTEND: &[Entry] = &[
    (frontend::BIND, "Bind", Rule::large(8, Rule::STATEMENT)),
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
    (
        frontend::FUNCTION_CALL,
        "FunctionCall",
        Rule::large(10, Rule::STATEMENT),
    ),
    (frontend::PARSE, "Parse", Rule::large(4, Rule::STATEMENT)),
    (
        frontend::PASSWORD,
        "Password",
        Rule::small(0, Rule::AUTHENTICATION),
    ),
    (frontend::QUERY, "Query", Rule::large(1, Rule::STATEMENT)),
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
