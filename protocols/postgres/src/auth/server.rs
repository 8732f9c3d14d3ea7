//! Logging in to a server: what it asks, and what it is answered.
//!
//! The server is trusted with as little as it can do with: no password in the clear on an open connection, no method weaker
//! than what is required, no work without bound, and no end before it has signed. No wire bytes are read or made here.
//! Start at [`ServerAuth::on_request`].

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;

use zeroize::Zeroizing;

use super::certificate::EndPointHash;
use super::error::ServerAuthError;
use super::scram::{
    ChannelBinding, ITERATIONS, Nonce, SCRAM_SHA_256_PLUS, ScramClient, ScramKeys, ScramSetup,
};
use super::secret::Secret;

/// How much a method proves, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Strength {
    /// Nothing: the server asks for nothing, or anybody could have asked.
    #[default]
    None,
    /// The password itself, to whoever is there.
    Cleartext,
    /// A hash of it.
    Md5,
    /// That both know the password.
    Scram,
    /// That both know the password, and that nobody sits in between.
    ScramPlus,
}

/// When a server that asks for the password in the clear may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CleartextPolicy {
    /// Never.
    Never,
    /// When the connection is encrypted.
    #[default]
    OverTls,
    /// Always, for sockets that nobody else can read.
    Always,
}

/// What a server is trusted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPolicy {
    /// The weakest that is put up with. With anything but `None`, a server that lets us in without asking is refused too.
    pub require: Strength,
    /// Whether it may have the password itself.
    pub cleartext: CleartextPolicy,
    /// Whether SCRAM is bound to the connection.
    pub binding: ChannelBinding,
    /// Iteration counts that are worked for; see [`ITERATIONS`].
    pub iterations: RangeInclusive<u32>,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            require: Strength::default(),
            cleartext: CleartextPolicy::default(),
            binding: ChannelBinding::default(),
            iterations: ITERATIONS,
        }
    }
}

/// Who logs in, with what, over what connection.
#[derive(Debug, Clone, Copy)]
pub struct ServerSetup<'a> {
    /// What the server is trusted with.
    pub policy: &'a ServerPolicy,
    /// The user of the startup message.
    pub user: &'a [u8],
    /// What is known of the password. A verifier alone answers nothing: it needs `keys`.
    pub secret: Option<&'a Secret>,
    /// Keys of an earlier login, or of the client for which this is done.
    pub keys: Option<&'a ScramKeys>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The hash of the certificate that the server has shown.
    pub end_point: Option<&'a EndPointHash>,
    /// Random bytes, fresh for every login.
    pub nonce: Nonce,
}

/// An authentication request, from the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRequest<'a> {
    /// AuthenticationOk.
    Ok,
    /// AuthenticationCleartextPassword.
    Cleartext,
    /// AuthenticationMD5Password.
    Md5 {
        /// The salt.
        salt: [u8; 4],
    },
    /// AuthenticationSASL.
    Sasl {
        /// The mechanisms: names that each end with a NUL, and an empty one at the end.
        mechanisms: &'a [u8],
    },
    /// AuthenticationSASLContinue with this body.
    SaslContinue(&'a [u8]),
    /// AuthenticationSASLFinal with this body.
    SaslFinal(&'a [u8]),
    /// GSSAPI, SSPI, Kerberos, and what nobody knows yet.
    Unsupported(i32),
}

/// What to do about a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send PasswordMessage with this body, its NUL included.
    Password(Zeroizing<Vec<u8>>),
    /// Send SASLInitialResponse.
    SaslInitial {
        /// The mechanism.
        mechanism: &'static str,
        /// The first message.
        data: Vec<u8>,
    },
    /// Send SASLResponse with this body.
    SaslResponse(Vec<u8>),
    /// Send nothing; AuthenticationOk is to follow.
    Wait,
    /// We are in.
    Done {
        /// After SCRAM: keys that save the next login as this user at this server its work.
        keys: Option<ScramKeys>,
    },
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::SaslInitial { .. } => "SaslInitial(..)",
            Self::SaslResponse(_) => "SaslResponse(..)",
            Self::Wait => "Wait",
            Self::Done { .. } => "Done(..)",
        })
    }
}

/// One login at a server. An error ends it, and the connection with it.
#[derive(Debug)]
pub struct ServerAuth<'a> {
    setup: ServerSetup<'a>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was asked yet.
    Start,
    Sasl(Box<ScramClient>),
    /// Enough was answered, with what came of it.
    Answered(Option<ScramKeys>),
    Done,
}

impl<'a> ServerAuth<'a> {
    /// A login.
    #[must_use]
    pub fn new(setup: ServerSetup<'a>) -> Self {
        Self {
            setup,
            state: State::Start,
        }
    }

    /// Takes what the server asks.
    ///
    /// # Errors
    /// It asks for what it is not trusted with, for what cannot be answered, or out of order; or it is not the server.
    pub fn on_request(&mut self, request: ServerRequest<'_>) -> Result<Answer, ServerAuthError> {
        let state = std::mem::replace(&mut self.state, State::Done);
        match (state, request) {
            (_, ServerRequest::Unsupported(_)) => Err(ServerAuthError::Unsupported),
            (State::Start, ServerRequest::Ok) => {
                self.permit(Strength::None)?;
                Ok(Answer::Done { keys: None })
            }
            (State::Start, ServerRequest::Cleartext) => self.on_cleartext(),
            (State::Start, ServerRequest::Md5 { salt }) => self.on_md5(salt),
            (State::Start, ServerRequest::Sasl { mechanisms }) => self.on_sasl(mechanisms),
            (State::Sasl(mut client), ServerRequest::SaslContinue(data)) => {
                let response = client.on_continue(data)?;
                self.state = State::Sasl(client);
                Ok(Answer::SaslResponse(response))
            }
            (State::Sasl(mut client), ServerRequest::SaslFinal(data)) => {
                self.state = State::Answered(Some(client.on_final(data)?));
                Ok(Answer::Wait)
            }
            // The server has not shown that it knows the password: whoever this is may know nothing at all.
            (State::Sasl(_), ServerRequest::Ok) => Err(ServerAuthError::Premature),
            (State::Answered(keys), ServerRequest::Ok) => Ok(Answer::Done { keys }),
            _ => Err(ServerAuthError::Unexpected),
        }
    }

    fn permit(&self, offered: Strength) -> Result<(), ServerAuthError> {
        let policy = self.setup.policy;
        if policy.binding == ChannelBinding::Require && offered < Strength::ScramPlus {
            return Err(ServerAuthError::BindingMissing);
        }
        if offered < policy.require {
            return Err(ServerAuthError::TooWeak);
        }
        Ok(())
    }

    fn on_cleartext(&mut self) -> Result<Answer, ServerAuthError> {
        self.permit(Strength::Cleartext)?;
        match self.setup.policy.cleartext {
            CleartextPolicy::Always => {}
            CleartextPolicy::OverTls if self.setup.encrypted => {}
            CleartextPolicy::OverTls | CleartextPolicy::Never => {
                return Err(ServerAuthError::CleartextRefused);
            }
        }
        let Some(Secret::Plain(password)) = self.setup.secret else {
            return Err(ServerAuthError::NoCredential);
        };
        self.state = State::Answered(None);
        Ok(Answer::Password(terminated(password.as_bytes())))
    }

    fn on_md5(&mut self, salt: [u8; 4]) -> Result<Answer, ServerAuthError> {
        self.permit(Strength::Md5)?;
        let hash = match self.setup.secret {
            Some(Secret::Plain(password)) => {
                super::md5::Md5Hash::derive(password.as_bytes(), self.setup.user)
            }
            Some(Secret::Md5(hash)) => hash.clone(),
            Some(Secret::Scram(_)) | None => return Err(ServerAuthError::NoCredential),
        };
        self.state = State::Answered(None);
        Ok(Answer::Password(terminated(&*hash.answer(salt))))
    }

    fn on_sasl(&mut self, mechanisms: &[u8]) -> Result<Answer, ServerAuthError> {
        let setup = &self.setup;
        let password = match setup.secret {
            Some(Secret::Plain(password)) => Some(password.clone()),
            _ => None,
        };
        if password.is_none() && setup.keys.is_none() {
            return Err(ServerAuthError::NoCredential);
        }
        let mut client = ScramClient::new(
            ScramSetup {
                password,
                keys: setup.keys.cloned(),
                binding: setup.policy.binding,
                encrypted: setup.encrypted,
                end_point: setup.end_point.cloned(),
                iterations: setup.policy.iterations.clone(),
            },
            setup.nonce,
        );
        let initial = client.on_mechanisms(mechanisms)?;
        self.permit(if initial.mechanism == SCRAM_SHA_256_PLUS {
            Strength::ScramPlus
        } else {
            Strength::Scram
        })?;
        self.state = State::Sasl(Box::new(client));
        Ok(Answer::SaslInitial {
            mechanism: initial.mechanism,
            data: initial.data,
        })
    }
}

fn terminated(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // One allocation of the right size: a vector that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    body.extend_from_slice(password);
    body.push(0);
    body
}
