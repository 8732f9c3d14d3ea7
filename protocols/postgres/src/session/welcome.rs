//! The first words to a client that is let in: the server's parameters as they are for this client, its cancel key, and that
//! the conversation may begin.
//!
//! What a server reports depends on what a client begins with, so it is asked once for each set of parameters and
//! remembered. Parameters that no server accepts are refused here, in the server's words. Start at [`Session::welcome`].

use std::sync::Arc;

use bytes::Bytes;
use portcullis_net::clock;

use super::attach::NotAttached;
use super::run::{Ended, Session};
use crate::encoder;
use crate::machine::Mode;
use crate::message::backend::ErrorFields;
use crate::sqlstate::SqlState;

impl Session {
    /// Tells the client what it needs to know, and that it may speak.
    pub(super) async fn welcome(&mut self, long_key: bool) -> Result<(), Ended> {
        let target = self.any_target();
        let known = if self.server.setup.mode == Mode::Session {
            None
        } else {
            self.pool_of(target)
                .and_then(|pool| pool.welcome(self.relay.shape()))
        };
        match known {
            Some((shape, parameters)) => {
                self.relay.share_shape(shape);
                self.report(&parameters);
            }
            None => self.ask(target).await?,
        }
        if self.server.setup.mode == Mode::Session {
            self.take_over_process(long_key);
        }
        let (process, secret) = self.cancel.key();
        encoder::backend_key_data(process, secret, &mut self.output);
        self.relay.put_ready(&mut self.output);
        Ok(())
    }

    /// Asks a server, which in session mode stays with the client.
    async fn ask(&mut self, target: crate::machine::Target) -> Result<(), Ended> {
        match self.try_attach(target).await {
            Ok(()) => {}
            Err(NotAttached::ClientGone) => return Err(Ended::ClientGone),
            Err(NotAttached::Error(error, reason)) => {
                self.server.stats.on_rejected(reason);
                return Err(Ended::Told(fatal(&error), reason));
            }
        }
        // Attaching has told all there is: the client knew nothing before.
        if let Some(pool) = self.pool_of(target) {
            pool.on_welcome(self.relay.shape(), &self.told);
        }
        if self.relay.is_free() {
            self.release();
        }
        Ok(())
    }

    fn report(&mut self, parameters: &Arc<super::connection::Parameters>) {
        for (name, value) in parameters.iter() {
            encoder::parameter_status(name, value, &mut self.output);
            self.relay.on_reported(name, value);
        }
        self.told = Arc::clone(parameters);
    }

    /// In session mode the client is told the real process of its server, which tools compare with `pg_stat_activity`; the
    /// secret stays ours.
    fn take_over_process(&mut self, long_key: bool) {
        let Some(lease) = &self.lease else { return };
        let server = Arc::clone(&lease.held.connection.server);
        let keys = &self.server.common.cancel;
        let who = Arc::clone(self.cancel.who());
        self.cancel = keys.register(Some(server.process), long_key, who, &mut super::secret);
        self.cancel.on_attach(&server, clock::now());
    }
}

/// An error as a start-up ends with it.
pub(super) fn fatal(error: &[u8]) -> Bytes {
    let body = error.get(5..).unwrap_or_default();
    let Ok(fields) = ErrorFields::parse(body) else {
        return Bytes::copy_from_slice(error);
    };
    let state = fields.sqlstate().unwrap_or(SqlState::CONNECTION_FAILURE);
    encoder::fatal_message(state, &String::from_utf8_lossy(fields.message()))
}
