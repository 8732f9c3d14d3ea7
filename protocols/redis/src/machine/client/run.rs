//! Runs: plain commands that go to one place, one behind the other, and the replies to them.
//!
//! Most of what clients say is to be sent as it came to where its one key is. As long as the client is at nothing else, there is
//! nothing to decide for each such command, and several cost little more than one. Whatever is different in any way goes through
//! [`Client::execute`] and [`Client::on_piece`], which say the same of these commands. Start at [`Client::is_plain`].

use super::{Client, Replies};
use crate::machine::pipeline::RunReply;
use crate::machine::slots::{Finished, SlotId};

impl<T> Client<T> {
    /// Whether a [plain](crate::command::CommandId::plain_key) command need only be sent where its key is, which
    /// [`expect`](Self::expect) is to be told then. Neither plain commands nor their replies change that.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        let has_own = self.transaction.is_open() || self.transaction.has_connection();
        let listens = self.tracking.is_some() || self.monitor.is_some() || self.is_subscribed();
        let is_silent = self.replies != Replies::On || self.slots.is_cut();
        let is_asking = self.subscriptions.is_asking();
        !has_own && !listens && !is_asking && !is_silent && self.ending.is_empty()
    }

    /// A plain command is sent on its way: its reply is owed.
    #[inline]
    pub fn expect(&mut self, of: T) -> SlotId {
        self.slots.push(of, false)
    }

    /// Replies came to a run of commands from `first` on, none of them an error, one behind the other in `bytes`. `over` is told
    /// of each command whose reply is whole. How many were taken in: the others are for [`on_piece`](Self::on_piece).
    #[inline]
    pub fn on_run(
        &mut self,
        first: SlotId,
        replies: &[RunReply],
        bytes: &[u8],
        over: &mut impl FnMut(T, Finished),
    ) -> usize {
        let looks = self.tracking.is_some() || self.monitor.is_some();
        if looks || !self.subscriptions.holds_nothing() {
            // Each reply is looked at, or may have messages behind it.
            return 0;
        }
        self.slots
            .on_run(first, replies, bytes, &mut self.out, over)
    }
}
