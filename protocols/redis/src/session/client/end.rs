//! How a client goes: by its own wish, by saying nothing more, or for what it said.
//!
//! What is left to be written is [`Session::part`]'s. Start at [`Session::quit`] and [`Session::see_off`].

use portcullis_codec::WireError as _;

use super::{Rest, Session};
use crate::encoder;
use crate::error::RequestError;
use crate::session::cell::Need;

impl Session {
    /// The client wants to go: it gets what it is owed before.
    pub(super) async fn quit(&mut self) -> &'static str {
        let _ = self.wait(Need::Settled).await;
        self.part().await;
        "quit"
    }

    /// The client will say no more, and all that it said is under way. It may still listen: what it is owed it gets, as from a
    /// server; but one that waits for what others do is gone.
    pub(super) async fn see_off(&mut self) -> &'static str {
        let is_owed = {
            let machine = &self.cell.state.borrow().machine;
            machine.owed() > 0 || !machine.is_all_written()
        };
        // A command that will not be whole is not answered.
        if is_owed && matches!(self.rest, Rest::Dropped) {
            for need in [Need::Settled, Need::Written] {
                if let Err(reason) = self.wait(need).await {
                    return reason;
                }
            }
            self.part().await;
        }
        "closed"
    }

    /// What the client said is no command: it is told so behind the replies that it is owed.
    #[cold]
    pub(super) async fn protocol_error(&mut self, error: RequestError) -> &'static str {
        let reason = error.label();
        self.cell.server.stats.on_rejected(reason);
        let owed = self.wait(Need::Settled).await;
        // As Redis does with a browser that was made to send commands.
        let says_nothing = matches!(error, RequestError::CrossProtocol | RequestError::Truncated);
        if owed.is_ok() && !says_nothing {
            encoder::protocol_error(error, self.cell.state.borrow_mut().machine.out());
            self.part().await;
        }
        reason
    }
}
