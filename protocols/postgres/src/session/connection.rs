//! A connection to a server: the socket, and everything that was learnt about the session at its other end.
//!
//! It outlives the clients that use it and moves between workers. Not the way there: that is `open`. Start at
//! [`ServerConnection`].

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use portcullis_cluster::SharedConnectionPermit;
use portcullis_net::{Idle, Stream};

use super::cancel::Server;
use super::served::ServedCells;
use crate::frame::{Frame, FrameScanner, Side, backend};
use crate::limits::FrameLimits;
use crate::machine::Link;
use crate::machine::relay::Setting;
use crate::message::backend::{ErrorFields, ParameterStatus, TransactionStatus};

/// The parameters that a server reports by itself (ParameterStatus), with their values as it spells them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// Sorted by name.
    values: Vec<Setting>,
}

impl Parameters {
    pub(super) fn set(&mut self, name: &[u8], value: &[u8]) {
        match self
            .values
            .binary_search_by(|(known, _)| (**known).cmp(name))
        {
            Ok(index) => {
                if let Some((_, known)) = self.values.get_mut(index) {
                    *known = value.into();
                }
            }
            Err(index) => self.values.insert(index, (name.into(), value.into())),
        }
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let index = self
            .values
            .binary_search_by(|(known, _)| (**known).cmp(name))
            .ok()?;
        self.values.get(index).map(|(_, value)| &**value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// A connection that passes from hand to hand: a pointer is cheaper to pass than all of it.
pub(super) type Pooled = Box<ServerConnection>;

/// A connection to a server, after its start-up.
#[derive(Debug)]
pub(super) struct ServerConnection {
    pub(super) stream: Stream,
    /// The worker whose runtime watches the socket.
    pub(super) home: usize,
    /// The runtime knows that the client's task waits for the server: see [`Stream::poll_read_again`].
    pub(super) waits: bool,
    /// What was read and not yet looked at.
    pub(super) input: BytesMut,
    pub(super) link: Link,
    /// Shared with clients that were told the same.
    pub(super) parameters: Arc<Parameters>,
    /// Who it is, for cancel requests.
    pub(super) server: Arc<Server>,
    /// What clients have had on it.
    pub(super) served: Arc<ServedCells>,
    pub(super) _permit: SharedConnectionPermit,
}

/// Why a server connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    /// It ended or broke.
    Gone,
    /// It has said why it goes: a whole ErrorResponse.
    Said(Bytes),
    /// What it says is no Postgres, or answers nothing that was asked.
    Protocol(&'static str),
}

impl Lost {
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Gone => "server_closed",
            Self::Said(_) => "server_shutdown",
            Self::Protocol(label) => label,
        }
    }
}

impl ServerConnection {
    /// Makes it a connection of this worker.
    pub(super) fn move_to(self: Box<Self>, worker: usize) -> io::Result<Box<Self>> {
        if self.home == worker {
            return Ok(self);
        }
        let moved = *self;
        Ok(Box::new(Self {
            stream: moved.stream.detach()?.attach()?,
            home: worker,
            ..moved
        }))
    }

    /// Follows the parameters that the server has reported through the relay. The client has heard of them, too.
    pub(super) fn follow_parameters(&mut self, told: &mut Arc<Parameters>) {
        let reported = self.link.take_parameters();
        if reported.is_empty() {
            return;
        }
        let told_all = Arc::ptr_eq(&self.parameters, told);
        let parameters = Arc::make_mut(&mut self.parameters);
        for (name, value) in &reported {
            parameters.set(name, value);
        }
        if told_all {
            *told = Arc::clone(&self.parameters);
            return;
        }
        let told = Arc::make_mut(told);
        for (name, value) in &reported {
            told.set(name, value);
        }
    }

    /// Whether an idle connection is still good. What has come by itself is taken in: parameters that changed, notices;
    /// notifications are for nobody.
    pub(super) fn is_good(&mut self) -> bool {
        if self.link.leaving {
            return false;
        }
        match self.stream.idle_state() {
            Idle::Quiet => {}
            Idle::Ended => return false,
            Idle::Bytes => match self.stream.try_read_into(&mut self.input) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            },
        }
        self.input.is_empty() || self.take_in().is_ok()
    }

    /// Takes in what a server may send unasked.
    fn take_in(&mut self) -> Result<(), ()> {
        let mut scanner = FrameScanner::new(Side::Backend, FrameLimits::default());
        while !self.input.is_empty() {
            let Ok(Some(Frame::Whole { tag, len })) = scanner.next(&self.input) else {
                // Half a message in an idle connection is nothing that can be waited for.
                return Err(());
            };
            let message = self.input.split_to(len.min(self.input.len()));
            let body = message.get(5..).unwrap_or_default();
            match tag {
                backend::PARAMETER_STATUS => {
                    let status = ParameterStatus::parse(body).map_err(drop)?;
                    Arc::make_mut(&mut self.parameters).set(status.name, status.value);
                }
                backend::NOTICE_RESPONSE | backend::NOTIFICATION_RESPONSE => {}
                _ => return Err(()),
            }
        }
        self.input = BytesMut::new();
        Ok(())
    }

    /// Carries out SQL of the gateway's own to its ReadyForQuery. Rows are dropped.
    ///
    /// `Ok(Err(..))` is the server's ErrorResponse, with the connection in step.
    pub(super) async fn execute(&mut self, sql: &[u8]) -> Result<Result<(), Bytes>, Lost> {
        self.ask(sql).await?;
        self.answer(|_| {}).await
    }

    /// Sends a simple query, with which the server forgets its unnamed statement.
    async fn ask(&mut self, sql: &[u8]) -> Result<(), Lost> {
        self.link.statements.unnamed = 0;
        let mut message = BytesMut::new();
        crate::encoder::query(sql, &mut message);
        let sent = self.stream.write_all(&message).await;
        sent.map_err(|_| Lost::Gone)
    }

    /// As [`execute`](Self::execute), with each row's message shown to `row`.
    pub(super) async fn query(
        &mut self,
        sql: &[u8],
        row: impl FnMut(&[u8]),
    ) -> Result<Result<(), Bytes>, Lost> {
        self.ask(sql).await?;
        self.answer(row).await
    }

    /// As [`execute`](Self::execute) where a transaction may be open, which stays as it is.
    pub(super) async fn execute_inside(
        &mut self,
        sql: &[u8],
        status: TransactionStatus,
    ) -> Result<Result<(), Bytes>, Lost> {
        self.ask(sql).await?;
        self.answer_in(status, |_| {}).await
    }

    /// Sends whole messages of the gateway's own that end in a Sync, and reads to the ReadyForQuery.
    pub(super) async fn send(
        &mut self,
        messages: &[u8],
        row: impl FnMut(&[u8]),
    ) -> Result<Result<(), Bytes>, Lost> {
        self.stream
            .write_all(messages)
            .await
            .map_err(|_| Lost::Gone)?;
        self.answer(row).await
    }

    async fn answer(&mut self, row: impl FnMut(&[u8])) -> Result<Result<(), Bytes>, Lost> {
        self.answer_in(TransactionStatus::Idle, row).await
    }

    async fn answer_in(
        &mut self,
        status: TransactionStatus,
        mut row: impl FnMut(&[u8]),
    ) -> Result<Result<(), Bytes>, Lost> {
        let mut outcome = Ok(());
        loop {
            let (tag, message) = self.next_message().await?;
            let body = message.get(5..).unwrap_or_default();
            match tag {
                backend::READY_FOR_QUERY => {
                    return match body.first().copied() {
                        Some(now) if now == status.byte() => Ok(outcome),
                        // Nothing of the gateway's own leaves a transaction open.
                        _ => Err(Lost::Protocol("transaction_open")),
                    };
                }
                backend::DATA_ROW => row(body),
                backend::ERROR_RESPONSE => {
                    let fatal = ErrorFields::parse(body).is_ok_and(|fields| fields.is_fatal());
                    let error = Bytes::copy_from_slice(&message);
                    if fatal {
                        return Err(Lost::Said(error));
                    }
                    outcome = Err(error);
                }
                backend::PARAMETER_STATUS => {
                    if let Ok(status) = ParameterStatus::parse(body) {
                        Arc::make_mut(&mut self.parameters).set(status.name, status.value);
                    }
                }
                backend::COPY_IN_RESPONSE | backend::COPY_BOTH_RESPONSE => {
                    return Err(Lost::Protocol("copy"));
                }
                _ => {}
            }
        }
    }

    /// The next whole message; those of our own statements are small.
    pub(super) async fn next_message(&mut self) -> Result<(crate::frame::Tag, BytesMut), Lost> {
        let mut scanner = FrameScanner::new(Side::Backend, FrameLimits::default());
        loop {
            match scanner.next(&self.input) {
                Ok(Some(Frame::Whole { tag, len })) => {
                    return Ok((tag, self.input.split_to(len.min(self.input.len()))));
                }
                Ok(Some(_)) => return Err(Lost::Protocol("large_message")),
                Ok(None) => {}
                Err(_) => return Err(Lost::Protocol("server_frame")),
            }
            self.waits = false;
            match self.stream.read(&mut self.input).await {
                Ok(0) | Err(_) => return Err(Lost::Gone),
                Ok(_) => {}
            }
        }
    }

    /// Gives back memory that an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Says goodbye, as far as the kernel takes it without waiting, and closes.
    pub(super) fn goodbye(mut self) {
        let _ = self.stream.try_write(&[b'X', 0, 0, 0, 4]);
    }
}
