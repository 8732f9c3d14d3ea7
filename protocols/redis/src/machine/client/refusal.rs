//! Commands that are not carried out, and what becomes of the transaction that they were to begin, to be in or to end.
//!
//! Who may do what is not decided here: see `admission`, and the filters. Start at [`Client::deny`] and [`Client::turn_away`].

use super::Client;
use crate::command::CommandId;
use crate::encoder;
use crate::machine::upstreams::Upstreams;

impl<T> Client<T> {
    /// Answers a command with an error that was not [admitted](Self::admit), as a server does: a transaction fails, and EXEC
    /// ends it, so that what is said next is not queued for ever.
    pub fn deny(&mut self, id: Option<CommandId>, text: &[u8], of: T, up: &mut impl Upstreams) {
        if id == Some(CommandId::EXEC) {
            return self.abort(text, of, up);
        }
        self.refuse(text, of);
    }

    /// Answers a command that the gateway's filters refused: now, as others of its kind may pass. So a client must not be left
    /// where it does not know to be. EXEC and DISCARD end the transaction. After MULTI the client may have said the rest
    /// already, which must not be carried out one by one: the transaction begins, and nothing in it is taken.
    pub fn turn_away(
        &mut self,
        id: Option<CommandId>,
        text: &[u8],
        of: T,
        up: &mut impl Upstreams,
    ) {
        match id {
            Some(CommandId::MULTI) if self.may_begin() => {
                self.begin_in_vain(text);
                self.answer(of, |_, reply| encoder::ok(reply));
            }
            Some(CommandId::DISCARD) => {
                self.abandon(up);
                self.refuse(text, of);
            }
            _ => self.deny(id, text, of, up),
        }
    }

    /// Whether MULTI would begin a transaction.
    fn may_begin(&self) -> bool {
        !self.transaction.is_open() && self.monitor.is_none() && !self.is_only_listening()
    }

    /// EXEC is refused. Servers say so even where there is no transaction, and forget watched keys.
    fn abort(&mut self, text: &[u8], of: T, up: &mut impl Upstreams) {
        self.abandon(up);
        let reason = text.strip_prefix(b"ERR ").unwrap_or(text);
        self.refuse(&aborted(reason), of);
    }
}

/// What EXEC is answered with when the transaction was discarded for this.
pub(super) fn aborted(reason: &[u8]) -> Vec<u8> {
    [b"EXECABORT Transaction discarded because of: ", reason].concat()
}
