//! Scripts that clients call by their hash, given to servers that lack them.
//!
//! What clients show is remembered for all workers; each worker has those that it has used near, so that a lock is taken only
//! for what is new to it. A connection knows which scripts went over it: the first call of another goes out in full, in
//! its turn, so that nothing is loaded apart and nothing overtakes. Start at [`Scripts::on_command`], then [`Sent::prepare`].

use std::cell::{Cell as Value, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use foldhash::fast::RandomState;

use super::link::{Link, Pending, Replay};
use super::receiver::Receiver;
use crate::command::CommandId;
use crate::machine::{Piece, Ticket};
use crate::reply::ReplyKind;
use crate::request::CommandRef;
use crate::script::{Script, ScriptId, ScriptTable, ScriptUse, in_full};

/// Scripts that one connection is known to have seen, before it is taken to have seen none.
const MOST_SENT: usize = 4096;

/// What all workers of a listener remember.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    table: Mutex<ScriptTable>,
    /// How often all was forgotten.
    era: AtomicU64,
}

/// One worker's way to it.
pub(super) struct Scripts {
    remembered: Arc<Remembered>,
    near: RefCell<ScriptTable>,
    era: Value<u64>,
    /// Bytes that may be remembered; 0: nothing is.
    most: u64,
}

/// What the command that is carried out has to do with a script.
#[derive(Debug)]
pub(super) struct ScriptCall {
    script: Arc<Script>,
    era: u64,
    /// Nobody knows yet whether it will be carried out.
    is_queued: bool,
    /// It calls it by its hash, and not by its text.
    calls: bool,
}

impl Scripts {
    pub(super) fn new(remembered: Arc<Remembered>, most: u64) -> Self {
        Self {
            remembered,
            near: RefCell::default(),
            era: Value::default(),
            most,
        }
    }

    /// Takes in what a command shows; of one that calls a script that is remembered, how to say it in full.
    #[inline]
    pub(super) fn on_command(
        &self,
        id: CommandId,
        command: CommandRef<'_>,
        is_queued: bool,
    ) -> Option<Rc<ScriptCall>> {
        let script_use = ScriptUse::of(id, command)?;
        Some(Rc::new(ScriptCall {
            script: self.on_use(script_use)?,
            era: self.era.get(),
            is_queued,
            calls: matches!(script_use, ScriptUse::Calls(_)),
        }))
    }

    #[cold]
    fn on_use(&self, script_use: ScriptUse<'_>) -> Option<Arc<Script>> {
        let era = self.remembered.era.load(Ordering::Acquire);
        let mut near = self.near.borrow_mut();
        if self.era.replace(era) != era {
            near.clear();
        }
        match script_use {
            ScriptUse::Forgets => {
                near.clear();
                self.table(ScriptTable::clear);
                self.remembered.era.fetch_add(1, Ordering::AcqRel);
                None
            }
            ScriptUse::Shows(_) if self.most == 0 => None,
            ScriptUse::Shows(body) => {
                let script = near.find_body(body).unwrap_or_else(|| {
                    let script = Arc::new(Script::new(body));
                    near.insert(&script, self.most);
                    self.table(|table| table.insert(&script, self.most));
                    script
                });
                Some(script)
            }
            ScriptUse::Calls(called) => near.find(called).or_else(|| {
                let script = self.table(|table| table.find(called))?;
                near.insert(&script, self.most);
                Some(script)
            }),
        }
    }

    fn table<R>(&self, act: impl FnOnce(&mut ScriptTable) -> R) -> R {
        let table = &self.remembered.table;
        act(&mut table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The scripts that went over one connection: its server has them, unless somebody told it to forget.
#[derive(Debug, Default)]
pub(super) struct Sent {
    era: u64,
    ids: HashSet<ScriptId, RandomState>,
}

impl Sent {
    /// What is to be sent in place of a command, if the server may lack its script.
    #[cold]
    pub(super) fn prepare(&mut self, pending: &mut Pending, wire: &[u8]) -> Option<BytesMut> {
        let call = pending.script.clone()?;
        if self.era != call.era || self.ids.len() >= MOST_SENT {
            self.ids.clear();
            self.era = call.era;
        }
        // In a transaction it is said in full each time: EXEC's reply could not be mended.
        let is_new = call.is_queued || self.ids.insert(call.script.id());
        if !call.calls {
            pending.script = None;
            return None;
        }
        if is_new {
            count(pending, "in_full");
            // Another node may lack it, if it is sent there.
            pending.script = pending.replay.is_some().then(|| Rc::clone(&call));
            return in_full(wire, &call.script);
        }
        pending
            .replay
            .get_or_insert_with(|| Box::new(Replay::new(wire, 0)));
        None
    }

    /// The server has lost a script.
    fn forget(&mut self, id: ScriptId) {
        self.ids.remove(&id);
    }
}

fn count(pending: &Pending, kind: &'static str) {
    if let Receiver::Client(client) = &pending.client {
        client.server.stats.on_script(kind);
    }
}

/// A command that a server lacks the script of.
pub(super) struct Lacking(Pending);

/// Looks whether a server has lost a script that it had: by a SCRIPT FLUSH that the gateway did not see, or for want of
/// room. The command is put aside to be sent again in full, if nothing of its client's is behind it: that would be
/// overtaken by it. Else the client has the answer, and the next call goes out in full.
#[inline]
pub(super) fn judge(
    pending: Pending,
    piece: Piece<'_>,
    sent: &mut Option<Box<Sent>>,
    lacking: &mut Vec<Lacking>,
) -> Option<Pending> {
    if pending.script.is_none() {
        return Some(pending);
    }
    judge_script(pending, piece, sent, lacking)
}

#[cold]
fn judge_script(
    mut pending: Pending,
    piece: Piece<'_>,
    sent: &mut Option<Box<Sent>>,
    lacking: &mut Vec<Lacking>,
) -> Option<Pending> {
    let Some(call) = pending.script.take() else {
        return Some(pending);
    };
    let is_lacking = matches!(
        piece,
        Piece::Whole { kind: ReplyKind::Error, bytes } if bytes.starts_with(b"-NOSCRIPT")
    );
    if !is_lacking {
        return Some(pending);
    }
    let is_last = match (&pending.client, pending.ticket) {
        (Receiver::Client(client), Ticket::Slot { slot, .. }) => client.is_last(slot),
        _ => false,
    };
    let replay = pending.replay.as_mut().filter(|_| is_last);
    let again = replay.and_then(|replay| Some((in_full(&replay.wire, &call.script)?, replay)));
    let Some((wire, replay)) = again else {
        if let Some(sent) = sent {
            sent.forget(call.script.id());
        }
        return Some(pending);
    };
    // Once: without the script in it, it is not looked at again.
    replay.wire = wire.freeze();
    count(&pending, "again");
    lacking.push(Lacking(pending));
    None
}

/// Sends commands again, in full.
#[cold]
pub(super) fn send_again(link: &Rc<Link>, lacking: Vec<Lacking>) {
    for Lacking(pending) in lacking {
        let (client, ticket) = (pending.client.clone(), pending.ticket);
        let wire = pending.replay.as_ref().map(|replay| replay.wire.clone());
        let wire = wire.unwrap_or_default();
        if let Err(lost) = link.push(&wire, Some(pending)) {
            client.on_piece(ticket, Piece::Lost(lost));
            client.flush();
        }
    }
}
