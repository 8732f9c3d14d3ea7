//! What is about the conversation and no statement: Sync, Flush, COPY data.
//!
//! Start at [`Relay::on_sync`].

use bytes::BytesMut;

use super::Step;
use super::send::forward;
use crate::encoder;
use crate::frame::{Frame, Tag, frontend};
use crate::machine::owed::Reply;
use crate::machine::relay::{Relay, Turn};
use crate::machine::statements::PREFIX;

impl Relay {
    pub(super) fn on_sync(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        let local = turn.link.is_none() || (self.skipping && !self.segment);
        self.skipping = false;
        if local {
            self.drop_front(frame, input);
            self.put_ready(turn.downstream);
            return Step::Done;
        }
        forward(input, frame.len(), turn.upstream);
        self.end_segment(turn);
        Step::Done
    }

    /// A Sync is sent.
    pub(super) fn end_segment(&mut self, turn: &mut Turn<'_>) {
        self.segment = false;
        self.executed = false;
        self.reading.in_doubt = false;
        if self.copy_in {
            self.owed.push(Reply::StraySync);
            return;
        }
        // How many are answered cannot be told if a COPY fails: the answer to something else shows where that ends.
        let is_fenced = self.owed.ends_in_copy();
        self.owed.push(Reply::Sync);
        let name = self.taken_name.take();
        if name.is_some() || is_fenced {
            self.fence(name.as_deref(), turn.upstream);
        }
    }

    /// Asks the server for something whose answer shows that all before it was answered, and takes this name of the gateway's away.
    pub(super) fn fence(&mut self, name: Option<&[u8]>, upstream: &mut BytesMut) {
        encoder::close_statement(name.unwrap_or(PREFIX), upstream);
        self.owed.push(Reply::unasked_close(None));
        encoder::sync(upstream);
        self.owed.push(Reply::UnaskedSync);
    }

    /// The server waits for COPY data, and the client has something else to say, which waits for the server. That is a fault
    /// ("COPY Operations"), and the server says so of any other message as well.
    pub(super) fn complain(&mut self, upstream: &mut BytesMut) {
        if !std::mem::replace(&mut self.complained, true) {
            encoder::close_statement(PREFIX, upstream);
        }
    }

    /// Outside of a segment there is nothing that a server would hold back.
    pub(super) fn on_flush(
        &mut self,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        if self.is_inside(turn) {
            forward(input, frame.len(), turn.upstream);
        } else {
            self.drop_front(frame, input);
        }
        Step::Done
    }

    /// COPY data goes to whoever reads it; a server that does not ignores it ("COPY Operations"), and so is it here.
    pub(super) fn on_copy(
        &mut self,
        tag: Tag,
        frame: Frame,
        input: &mut BytesMut,
        turn: &mut Turn<'_>,
    ) -> Step {
        let nobody = self.owed.is_empty() && !self.segment;
        if turn.link.is_none() || nobody {
            self.drop_front(frame, input);
            return Step::Done;
        }
        forward(input, frame.len(), turn.upstream);
        if tag != frontend::COPY_DATA {
            self.copy_in = false;
            self.owed.push(Reply::CopyEnd);
        }
        Step::Done
    }
}
