//! What is refused here, by the pool's mode or by filters, and how a client and its server hear of it.
//!
//! Start at [`refusal`] and [`Relay::refuse_front`].

use std::mem;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::encoder;
use crate::frame::{Frame, frontend};
use crate::machine::flight::Flight;
use crate::machine::owed::Reply;
use crate::machine::pins::Pins;
use crate::machine::relay::{Mode, Relay, Setup, Stage, StatePolicy, Subject, Turn, Want};
use crate::machine::statements::{PREFIX, Undo};
use crate::message::backend::TransactionStatus;
use crate::sql::{Analysis, Effects};
use crate::sqlstate::SqlState;

/// What no server has.
const REFUSED: &[u8] = b"refused by portcullis";

impl Relay {
    /// Hands the statement at the front on: to its refusal, or to the filters, for whom the answer is to wait.
    pub(super) fn submit(
        &mut self,
        refusal: Option<Bytes>,
        subject: Subject,
        setup: &Setup,
    ) -> Option<Want> {
        self.subject = subject;
        if let Some(error) = refusal {
            self.refusals.push("state");
            self.stage = Stage::Rejected(error);
            return None;
        }
        if !setup.inspect {
            self.stage = Stage::Admitted;
            return None;
        }
        self.stage = Stage::Judged;
        Some(Want::Statement)
    }

    /// Ends the message at the front if it was refused.
    pub(super) fn is_refused(
        &mut self,
        simple: bool,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Stage::Rejected(error) = &mut self.stage else {
            return false;
        };
        let error = mem::take(error);
        self.refuse_front(error, simple, frame, input, turn);
        true
    }

    /// Ends the message at the front with an error of ours. Where a server knows of a transaction or of other messages of the
    /// segment, it is made to fail there too, so that everything that hangs on it fails as well.
    pub(super) fn refuse_front(
        &mut self,
        error: Bytes,
        simple: bool,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) {
        self.drop_front(frame, input);
        let server_knows =
            self.segment || self.status != TransactionStatus::Idle || !self.owed.is_empty();
        let Some(link) = turn.link.as_deref_mut().filter(|_| server_knows) else {
            self.fail_here(&error, simple, turn.downstream);
            return;
        };
        if simple {
            let mut flight = Flight::new(&self.analysis, turn.now);
            flight.refused = true;
            link.statements.unnamed = 0;
            encoder::query(REFUSED, turn.upstream);
            self.owe_query(Reply::Query {
                flight: Box::new(flight),
                instead: Some(error),
                takes: None,
                undo: Undo::Nothing,
            });
        } else {
            self.segment = true;
            encoder::describe_portal(REFUSED, turn.upstream);
            self.owed.push(Reply::Refused(error));
        }
    }

    /// There is no server for the message at the front: it gets `error`, a whole ErrorResponse, and what hangs on it is passed
    /// over.
    pub fn fail_front(&mut self, error: &[u8], input: &mut BytesMut, downstream: &mut BytesMut) {
        let Some(frame) = self.front.take() else {
            return;
        };
        self.stage = Stage::New;
        let (Frame::Whole { tag, .. } | Frame::Begin { tag, .. } | Frame::Run { tag, .. }) = frame
        else {
            return;
        };
        let simple = tag == frontend::QUERY || tag == frontend::FUNCTION_CALL;
        self.drop_front(frame, input);
        self.fail_here(error, simple, downstream);
    }

    /// An error of which no server knows.
    fn fail_here(&mut self, error: &[u8], simple: bool, downstream: &mut BytesMut) {
        downstream.put_slice(error);
        if simple {
            self.put_ready(downstream);
        } else {
            self.skipping = true;
        }
    }
}

/// What the pool's mode does not allow.
pub(super) fn refusal(analysis: &Analysis, sql: &[u8], setup: &Setup) -> Option<Bytes> {
    if setup.mode == Mode::Session {
        return None;
    }
    let effects = analysis.effects();
    if names_ours(effects, sql) {
        return Some(encoder::error_message(
            SqlState::INVALID_SQL_STATEMENT_NAME,
            "prepared statements of this name are the gateway's",
        ));
    }
    let text = if setup.mode == Mode::Statement && effects.contains(Effects::TRANSACTION_BEGIN) {
        "transactions of several statements are not available in statement pooling mode"
    } else if setup.state == StatePolicy::Refuse && !Pins::of(effects).is_empty() {
        "session state is not available in this pooling mode"
    } else {
        return None;
    };
    Some(encoder::error_message(
        SqlState::FEATURE_NOT_SUPPORTED,
        text,
    ))
}

/// Whether SQL-level PREPARE, EXECUTE or DEALLOCATE may name a statement of the gateway's, which others use as well. A name can
/// be spelt with escapes, so those are not let past either.
fn names_ours(effects: Effects, sql: &[u8]) -> bool {
    let names = Effects::PREPARE
        .union(Effects::EXECUTE)
        .union(Effects::DEALLOCATE);
    let holds = |part: &[u8]| {
        sql.windows(part.len())
            .any(|window| window.eq_ignore_ascii_case(part))
    };
    effects.intersects(names) && (holds(PREFIX) || holds(b"u&\""))
}
