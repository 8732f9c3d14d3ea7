//! Filters of a client's commands, and what is kept of them until a command is over.
//!
//! Start at [`Session::filter`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_filter::{Context, Interest, RejectionKind, Stop};
use portcullis_net::{SessionTimer, clock};

use super::{Session, Taken};
use crate::chain::{CommandRequest, Large, Record, RedisMessages};
use crate::command::CommandId;
use crate::machine::{ErrorPrefix, Refusal};
use crate::session::cell::Held;

impl Session {
    /// Asks the filters. What they hold until the command is over, or the refusal.
    pub(super) async fn filter(
        &mut self,
        id: CommandId,
        taken: &Taken,
        large: Option<Large>,
    ) -> Result<Result<Option<Box<Held>>, (Refusal, Vec<u8>)>, &'static str> {
        let server = Rc::clone(&self.cell.server);
        let (user, database) = {
            let state = self.cell.state.borrow();
            (state.machine.user_name().clone(), state.machine.database())
        };
        let command = taken.command(&self.scanner, &self.input);
        let mut request = CommandRequest::new(id, command, large, &user, database);
        if let Some(foreign) = self.foreign_of(id) {
            request.set_foreign(foreign);
        }
        let arguments = request.count();
        let mut cx = Context::new(Rc::clone(&self.connection), clock::now());
        cx.route = self.route(&request);
        let chain = server.rights.chain();
        let asked = chain.on_request(&mut request, &mut cx, &SessionTimer);
        let stop = asked.await.err();
        let wants_record = chain.interest().includes(Interest::COMPLETE);
        let record = Record {
            started_at: if wants_record {
                clock::wall()
            } else {
                SystemTime::UNIX_EPOCH
            },
            started: cx.now,
            duration: Duration::ZERO,
            command: Some(id),
            foreign: self.foreign_of(id),
            arguments,
            user,
            database,
            bytes_up: taken.len() as u64,
            bytes_down: 0,
            error: None,
            reason: None,
        };
        let Some(stop) = stop else {
            return Ok(Ok(Some(Box::new(Held { chain, cx, record }))));
        };
        let (reason, text) = words(stop).ok_or("filter_closed")?;
        if wants_record {
            let record = Record {
                reason: Some(reason),
                ..record
            };
            chain.on_complete(&record, &cx);
        }
        Ok(Err((Refusal { reason }, text)))
    }

    /// Answers a command that was not admitted, which filters do not see; those that want to know of such are told.
    #[cold]
    pub(super) fn not_admitted(
        &mut self,
        id: Option<CommandId>,
        arguments: usize,
        len: usize,
        refusal: Refusal,
        text: &[u8],
    ) {
        let rights = &self.cell.server.rights;
        if rights.is_filtered() && rights.chain().interest().includes(Interest::REFUSED) {
            let cx = Context::new(Rc::clone(&self.connection), clock::now());
            let record = {
                let machine = &self.cell.state.borrow().machine;
                let error = [b"-", text].concat();
                Record {
                    started_at: clock::wall(),
                    started: cx.now,
                    duration: Duration::ZERO,
                    command: id,
                    foreign: None,
                    arguments,
                    user: machine.user_name().clone(),
                    database: machine.database(),
                    bytes_up: len as u64,
                    bytes_down: error.len() as u64 + 2,
                    error: Some(ErrorPrefix::of(&error).label()),
                    reason: Some(refusal.reason),
                }
            };
            rights.chain().on_refused(&record, &cx);
        }
        self.deny(id, len, refusal, text);
    }

    /// The name of the rule that takes the command's first key.
    fn route(&self, request: &CommandRequest) -> Option<Arc<str>> {
        let asked = crate::route::Asked {
            command: request.command,
            foreign: request.foreign.as_deref(),
            key: request.keys().next(),
            database: request.database,
            user: &request.user,
            address: self.connection.client_ip(),
        };
        let mut rules = self.cell.server.rules.iter();
        rules
            .find(|rule| rule.condition.takes(&asked))?
            .name
            .clone()
    }
}

/// A refusal in Redis's words. `None`: the connection is to be closed without one.
fn words(stop: Stop<RedisMessages>) -> Option<(&'static str, Vec<u8>)> {
    let rejection = match stop {
        Stop::Reply(text) => return Some(("fault", text.0.into_bytes())),
        Stop::Close(_) => return None,
        Stop::Reject(rejection) => rejection,
    };
    let text = match rejection.kind {
        RejectionKind::Denied => "ERR command is not allowed by the gateway".to_owned(),
        RejectionKind::RateLimited { retry_after, .. } => {
            let seconds = retry_after.as_secs_f64();
            format!("ERR rate limit exceeded, try again in {seconds:.3} seconds")
        }
        RejectionKind::Overloaded => "ERR too many commands under way, try again later".to_owned(),
    };
    Some((rejection.reason, text.into_bytes()))
}
