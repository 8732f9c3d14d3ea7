//! Asking the filters about a statement, and the record that they and the counters get of it.
//!
//! Start at [`Session::begin`] and [`Session::judge`].

use std::rc::Rc;
use std::sync::Arc;

use portcullis_filter::{Rejection, RejectionKind, Stop};
use portcullis_net::{SessionTimer, clock};

use super::records::{Judged, Progress};
use super::run::{Ended, Session};
use crate::filters::QueryTimeout;
use crate::machine::relay::Router as _;
use crate::machine::{Demand, Subject, unknown_demand};
use crate::message::backend::TransactionStatus;
use crate::reject::{ErrorReply, reason};
use crate::request::{Record, SharedText, StatementRequest};
use crate::sql::Effects;

impl Session {
    /// The record of the statement at the front.
    pub(super) fn begin(&mut self) -> Box<Record> {
        let now = clock::now();
        self.cx.now = now;
        let is_under_way = |judged: &Judged| judged.progress == Progress::UnderWay;
        if !self.judged.iter().any(is_under_way) {
            self.cx.release();
        }
        let mut record = self.spare.take().unwrap_or_else(|| {
            Box::new(Record::new(self.cancel.who().request(), clock::wall(), now))
        });
        self.fill(&mut record);
        record
    }

    /// Whether nobody needs to be asked.
    pub(super) fn is_let_pass(&self, record: &Record) -> bool {
        (self.server.chain.is_empty() && !self.server.denies_unparsable())
            || passes(&record.request)
    }

    pub(super) fn admit(&mut self, record: Box<Record>) {
        let number = self.relay.admit();
        if self.judged.capacity() == 0 {
            // Most clients have one at a time.
            self.judged.reserve_exact(1);
        }
        self.judged.push_back(Judged {
            number,
            record,
            progress: Progress::UnderWay,
            timeout: QueryTimeout::take(&mut self.cx),
            since: None,
        });
    }

    /// Asks the filters about the statement at the front.
    pub(super) async fn judge(&mut self, mut record: Box<Record>) -> Result<(), Ended> {
        let asked = if self.server.refuses_unparsable(&record.request) {
            Err(Stop::Reject(Rejection {
                reason: reason::UNPARSABLE,
                kind: RejectionKind::Denied,
            }))
        } else {
            let chain = &self.server.chain;
            let asked = chain.on_request(&mut record.request, &mut self.cx, &SessionTimer);
            asked.await
        };
        match asked {
            Ok(()) => self.admit(record),
            Err(stop) => {
                let reason = match &stop {
                    Stop::Reject(rejection) => rejection.reason,
                    Stop::Close(reason) => reason,
                    Stop::Reply(reply) => reply.reason,
                };
                self.server.stats.on_rejected(reason);
                record.reason = reason;
                let reply = ErrorReply::of(stop);
                record.sqlstate = reply.as_ref().map(|reply| reply.sqlstate);
                self.server.on_record(&record, &self.cx);
                self.spare.keep(record);
                match reply {
                    Some(reply) => self.relay.reject(super::error_message(&reply)),
                    None => return Err(Ended::Closed(reason)),
                }
            }
        }
        Ok(())
    }

    /// Makes a record one of the statement at the front.
    fn fill(&mut self, record: &mut Record) {
        record.begin(clock::wall(), self.cx.now);
        let request = &mut record.request;
        request.in_transaction = self.relay.status() != TransactionStatus::Idle;
        request.reading = self.relay.reading();
        request.prepared = !matches!(self.relay.subject(), Subject::Query);
        match self.relay.subject() {
            Subject::Prepared(subject) => {
                request.set_shared(Arc::clone(subject) as Arc<dyn SharedText>);
            }
            Subject::Query => {
                let (sql, analysis) = self.relay.query(&self.input);
                request.set_analysed(sql, Rc::clone(analysis));
            }
            Subject::Unknown => request.set_unknown(),
        }
        // Only filters ask.
        if !self.server.chain.is_empty() {
            let target = self.way.target(if request.is_unknown() {
                unknown_demand()
            } else {
                Demand {
                    analysis: request.analysis(),
                    sql: request.sql(),
                }
            });
            self.cx.route = self.way.name_of(target);
        }
    }
}

/// The end of a transaction passes all filters: refused, it would only keep locks longer.
fn passes(request: &StatementRequest) -> bool {
    let [statement] = request.statements() else {
        return false;
    };
    request.in_transaction && statement.effects.contains(Effects::TRANSACTION_END)
}
