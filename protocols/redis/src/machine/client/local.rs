//! Commands that the gateway answers itself, each for this client alone.
//!
//! As a server would, but that no other client is seen and no server is changed. Start at [`Client::local`].

use bytes::{Bytes, BytesMut};

use super::{Client, Flow, Replies};
use crate::acl::{Users, WRONG_PASSWORD};
use crate::command::handling::Local;
use crate::encoder;
use crate::machine::upstreams::{Call, Upstreams};
use crate::message::RespVersion;
use crate::request::CommandRef;

/// The version of Redis whose commands the table has.
const VERSION: &str = "7.0.0";

/// What a server says of a name with a space in it.
const BAD_NAME: &[u8] = b"ERR Client names cannot contain spaces, newlines or special characters.";

impl<T> Client<T> {
    /// Answers a command that nobody upstream has to hear of.
    pub(super) fn local(
        &mut self,
        local: Local,
        call: Call<'_>,
        of: T,
        up: &mut impl Upstreams,
    ) -> Result<Flow, T> {
        let command = call.command;
        let changes_the_connection = matches!(local, Local::Hello | Local::Select | Local::Reset);
        if changes_the_connection && !self.slots.is_empty() {
            return Err(of);
        }
        match local {
            Local::Ping => self.ping(command, of),
            Local::Echo => {
                let text = command.argument(1).unwrap_or_default();
                self.answer(of, |_, reply| encoder::bulk(text, reply));
            }
            Local::Hello => self.hello(command, of),
            Local::Auth => self.auth(command, of),
            Local::WhoAmI => {
                let name = self.user_name.clone();
                self.answer(of, |_, reply| encoder::bulk(&name, reply));
            }
            Local::Quit => {
                self.answer(of, |_, reply| encoder::ok(reply));
                self.is_closing = true;
                return Ok(Flow::Close);
            }
            Local::Reset => self.reset(of, up),
            Local::Select => self.select(command, of),
            Local::ClientReply => self.client_reply(command, of),
            Local::ClientNoEvict | Local::ReadMode => {
                self.answer(of, |_, reply| encoder::ok(reply));
            }
            Local::ClusterView | Local::ClusterKeySlot => self.cluster(call, of),
            Local::ClientId
            | Local::ClientInfo
            | Local::ClientGetName
            | Local::ClientSetName
            | Local::ClientList => self.client(local, command, of),
        }
        Ok(Flow::Next)
    }

    fn ping(&mut self, command: CommandRef<'_>, of: T) {
        if command.len() > 2 {
            let text = b"ERR wrong number of arguments for 'ping' command";
            return self.refuse(text, of);
        }
        let text = command.argument(1);
        let is_subscribed = !self.subscriptions.is_empty();
        self.answer(of, |version, reply| match text {
            _ if is_subscribed && version == RespVersion::Resp2 => {
                encoder::array(2, reply);
                encoder::bulk(b"pong", reply);
                encoder::bulk(text.unwrap_or_default(), reply);
            }
            Some(text) => encoder::bulk(text, reply),
            None => encoder::simple(b"PONG", reply),
        });
    }

    /// `HELLO [version [AUTH user password] [SETNAME name]]`: nothing changes unless all of it can.
    fn hello(&mut self, command: CommandRef<'_>, of: T) {
        let wanted = match Hello::read(command, self.speaks.version) {
            Ok(wanted) => wanted,
            Err(text) => return self.refuse(text.as_bytes(), of),
        };
        if self.transaction.has_connection() && wanted.version != self.speaks.version {
            let text = b"ERR HELLO cannot change the protocol while keys are watched";
            return self.refuse(text, of);
        }
        if self.tracking.is_some() && wanted.version != self.speaks.version {
            let text = b"ERR HELLO cannot change the protocol while keys are tracked";
            return self.refuse(text, of);
        }
        if let Some((name, password)) = wanted.auth
            && let Err(text) = self.log_in(name, password)
        {
            return self.refuse(text, of);
        }
        if self.user.is_none() {
            let text = b"NOAUTH HELLO must be called with the client already authenticated, \
                         otherwise the HELLO <proto> AUTH <user> <pass> option can be used to \
                         authenticate the client and select the RESP protocol version at the same time";
            return self.refuse(text, of);
        }
        if let Some(name) = wanted.name {
            self.name = Bytes::copy_from_slice(name);
        }
        self.speaks.version = wanted.version;
        let id = self.id;
        let mode = if self.policy.is_cluster {
            "cluster"
        } else {
            "standalone"
        };
        self.answer(of, |version, reply| {
            let text = |text: &str, reply: &mut BytesMut| encoder::bulk(text.as_bytes(), reply);
            encoder::map(7, version, reply);
            text("server", reply);
            text("redis", reply);
            text("version", reply);
            text(VERSION, reply);
            text("proto", reply);
            encoder::integer(if version == RespVersion::Resp3 { 3 } else { 2 }, reply);
            text("id", reply);
            encoder::integer(id.cast_signed(), reply);
            text("mode", reply);
            text(mode, reply);
            text("role", reply);
            text("master", reply);
            text("modules", reply);
            encoder::array(0, reply);
        });
    }

    fn auth(&mut self, command: CommandRef<'_>, of: T) {
        let first = command.argument(1).unwrap_or_default();
        let (name, password) = match command.len() {
            2 => (Users::DEFAULT, first),
            3 => (first, command.argument(2).unwrap_or_default()),
            _ => return self.refuse(b"ERR syntax error", of),
        };
        let needs_none = |users: &Users| users.at_first().is_some();
        if command.len() == 2 && needs_none(&self.policy.users) {
            let text = b"ERR AUTH <password> called without any password configured for the default user. \
                         Are you sure your configuration is correct?";
            return self.refuse(text, of);
        }
        match self.log_in(name, password) {
            Ok(()) => self.answer(of, |_, reply| encoder::ok(reply)),
            Err(text) => self.refuse(text, of),
        }
    }

    /// A wrong password does not log a client out, as with a server.
    fn log_in(&mut self, name: &[u8], password: &[u8]) -> Result<(), &'static [u8]> {
        let user = self.policy.users.authenticate(name, password);
        let user = user.ok_or(WRONG_PASSWORD.as_bytes())?;
        if self.tracking.is_some() && *self.user_name != *name {
            // It hears of keys by the rules for this one.
            return Err(b"ERR AUTH cannot change the user while keys are tracked");
        }
        self.user = Some(user.clone());
        self.user_name = name.into();
        Ok(())
    }

    /// As a fresh connection, but for what was already answered.
    fn reset(&mut self, of: T, up: &mut impl Upstreams) {
        self.end_all_now(up);
        self.user = self.policy.users.at_first().cloned();
        self.user_name = self.policy.users.default_name();
        self.name = Bytes::new();
        self.speaks.database = 0;
        self.speaks.version = RespVersion::Resp2;
        self.replies = Replies::On;
        self.answer(of, |_, reply| encoder::simple(b"RESET", reply));
    }

    fn select(&mut self, command: CommandRef<'_>, of: T) {
        let text = command.argument(1).unwrap_or_default();
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let Some(number) = number else {
            let text = b"ERR value is not an integer or out of range";
            return self.refuse(text, of);
        };
        match u32::try_from(number) {
            Ok(1..) if self.policy.is_cluster => {
                self.refuse(b"ERR SELECT is not allowed in cluster mode", of);
            }
            // The connection that watches them stays where it is: what was sent there would be about other keys.
            Ok(number) if self.transaction.has_connection() && number != self.speaks.database => {
                self.refuse(b"ERR SELECT is not supported while keys are watched", of);
            }
            Ok(number) if self.tracking.is_some() && number != self.speaks.database => {
                self.refuse(b"ERR SELECT is not supported while keys are tracked", of);
            }
            Ok(number) if number < self.policy.databases => {
                self.speaks.database = number;
                self.answer(of, |_, reply| encoder::ok(reply));
            }
            _ => self.refuse(b"ERR DB index is out of range", of),
        }
    }

    fn client_reply(&mut self, command: CommandRef<'_>, of: T) {
        let mode = command.argument(2).unwrap_or_default();
        if mode.eq_ignore_ascii_case(b"ON") {
            self.replies = Replies::On;
            self.answer(of, |_, reply| encoder::ok(reply));
        } else if mode.eq_ignore_ascii_case(b"OFF") {
            self.replies = Replies::Off;
            self.answer(of, |_, reply| encoder::ok(reply));
        } else if mode.eq_ignore_ascii_case(b"SKIP") {
            // Neither this one is answered, nor the next, nor any if they are off.
            let is_off = self.replies == Replies::Off;
            self.replies = Replies::Off;
            self.answer(of, |_, reply| encoder::ok(reply));
            if !is_off {
                self.replies = Replies::SkipNext;
            }
        } else {
            self.refuse(b"ERR syntax error", of);
        }
    }

    fn client(&mut self, local: Local, command: CommandRef<'_>, of: T) {
        match local {
            Local::ClientSetName => {
                let name = command.argument(2).unwrap_or_default();
                if name.iter().any(|byte| !byte.is_ascii_graphic()) {
                    return self.refuse(BAD_NAME, of);
                }
                self.name = Bytes::copy_from_slice(name);
                self.answer(of, |_, reply| encoder::ok(reply));
            }
            Local::ClientGetName => {
                let name = self.name.clone();
                self.answer(of, |version, reply| {
                    if name.is_empty() {
                        encoder::null(version, reply);
                    } else {
                        encoder::bulk(&name, reply);
                    }
                });
            }
            Local::ClientId => {
                let id = self.id.cast_signed();
                self.answer(of, |_, reply| encoder::integer(id, reply));
            }
            _ => {
                let line = self.description();
                self.answer(of, |version, reply| {
                    encoder::verbatim(*b"txt", line.as_bytes(), version, reply);
                });
            }
        }
    }

    /// The line of `CLIENT INFO`: what is known here, in the order that Redis has.
    fn description(&self) -> String {
        let (subscribed, patterns, sharded) = self.subscriptions.counts();
        format!(
            "id={} addr={} name={} db={} sub={subscribed} psub={patterns} ssub={sharded} multi={} \
             user={} resp={}\n",
            self.id,
            self.address,
            self.name.escape_ascii(),
            self.speaks.database,
            self.transaction.queued(),
            self.user_name.escape_ascii(),
            if self.speaks.version == RespVersion::Resp3 {
                3
            } else {
                2
            },
        )
    }
}

/// What a `HELLO` asks for.
struct Hello<'a> {
    version: RespVersion,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    /// # Errors
    /// What a server says of it.
    fn read(command: CommandRef<'a>, now: RespVersion) -> Result<Self, String> {
        let mut hello = Self {
            version: now,
            auth: None,
            name: None,
        };
        let Some(version) = command.argument(1) else {
            return Ok(hello);
        };
        let number = std::str::from_utf8(version)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        hello.version = match number {
            Some(2) => RespVersion::Resp2,
            Some(3) => RespVersion::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".to_owned()),
            None => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
        };
        let mut index = 2;
        while let Some(option) = command.argument(index) {
            let value = |offset| command.argument(index + offset);
            if option.eq_ignore_ascii_case(b"AUTH")
                && let (Some(user), Some(password)) = (value(1), value(2))
            {
                hello.auth = Some((user, password));
                index += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME")
                && let Some(name) = value(1)
            {
                if name.iter().any(|byte| !byte.is_ascii_graphic()) {
                    return Err(String::from_utf8_lossy(BAD_NAME).into_owned());
                }
                hello.name = Some(name);
                index += 2;
            } else {
                let option = option.get(..option.len().min(128)).unwrap_or_default();
                return Err(format!(
                    "ERR Syntax error in HELLO option '{}'",
                    String::from_utf8_lossy(option)
                ));
            }
        }
        Ok(hello)
    }
}
