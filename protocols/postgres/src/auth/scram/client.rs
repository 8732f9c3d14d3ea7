//! The client's side of the exchange, towards servers.
//!
//! It trusts the server with nothing: not with work without bound, not with the end of the exchange before the server has
//! signed. Start at [`ScramClient::new`].

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::grammar::{Attributes, Malformed, is_nonce, is_short};
use super::server::END_POINT;
use super::{
    AuthMessage, ITERATIONS, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramKeys, iterations,
};
use crate::auth::certificate::EndPointHash;
use crate::auth::crypto::{Key, decode_key, decode64, encode64};
use crate::auth::error::ServerAuthError;
use crate::auth::secret::{LONGEST_SALT, PlainPassword};

/// Whether to bind the exchange to the TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Never, and say so.
    Disable,
    /// Where the server offers it.
    #[default]
    Prefer,
    /// Or else do not log in.
    Require,
}

/// How to log in.
#[derive(Debug, Clone)]
pub struct ScramSetup {
    /// The password, if it is known.
    pub password: Option<PlainPassword>,
    /// Keys of an earlier login or of a client: they save the work, or stand in for the password.
    pub keys: Option<ScramKeys>,
    /// Whether to bind.
    pub binding: ChannelBinding,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The hash of the certificate that the server has shown; `None` without TLS, or where the certificate has none.
    pub end_point: Option<EndPointHash>,
    /// Iteration counts that are worked for; see [`ITERATIONS`].
    pub iterations: RangeInclusive<u32>,
}

impl Default for ScramSetup {
    fn default() -> Self {
        Self {
            password: None,
            keys: None,
            binding: ChannelBinding::default(),
            encrypted: false,
            end_point: None,
            iterations: ITERATIONS,
        }
    }
}

/// The body of SASLInitialResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initial {
    /// The mechanism.
    pub mechanism: &'static str,
    /// The first message.
    pub data: Vec<u8>,
}

/// One login at a server. An error ends it.
#[derive(Debug)]
pub struct ScramClient {
    setup: ScramSetup,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Initial,
    /// `binding` is what `c=` says, not yet encoded.
    Continue {
        bare: Vec<u8>,
        binding: Vec<u8>,
    },
    Final {
        keys: Box<ScramKeys>,
        signature: Key,
    },
    Done,
}

impl ScramClient {
    /// A login. `nonce` is random.
    #[must_use]
    pub fn new(setup: ScramSetup, nonce: Nonce) -> Self {
        Self {
            setup,
            nonce: encode64(&nonce),
            state: State::Initial,
        }
    }

    /// Takes the mechanisms of AuthenticationSASL: names that each end with a NUL, and an empty one at the end.
    ///
    /// # Errors
    /// None is known, or what is offered and what is required of channel binding do not fit.
    pub fn on_mechanisms(&mut self, names: &[u8]) -> Result<Initial, ServerAuthError> {
        let State::Initial = std::mem::replace(&mut self.state, State::Done) else {
            return Err(ServerAuthError::Unexpected);
        };
        let mechanism = self.chosen(Offered::parse(names)?)?;
        let (header, binding) = self.header(mechanism);
        let bare = format!("n=,r={}", self.nonce).into_bytes();
        let data = [header.as_slice(), &bare].concat();
        self.state = State::Continue { bare, binding };
        let mechanism = match mechanism {
            Mechanism::Bound => SCRAM_SHA_256_PLUS,
            Mechanism::Plain { .. } => SCRAM_SHA_256,
        };
        Ok(Initial { mechanism, data })
    }

    /// Takes the body of AuthenticationSASLContinue; yields that of SASLResponse.
    ///
    /// # Errors
    /// The message is malformed or out of bounds, or nothing is known that answers it.
    pub fn on_continue(&mut self, data: &[u8]) -> Result<Vec<u8>, ServerAuthError> {
        let State::Continue { bare, binding } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Err(ServerAuthError::Unexpected);
        };
        let first = ServerFirst::parse(data, self.nonce.as_bytes())?;
        let keys = self.keys(&first)?;
        let signed = [b"c=", encode64(&binding).as_bytes(), b",r=", first.nonce].concat();
        let message = AuthMessage {
            client_first_bare: &bare,
            server_first: data,
            client_final_bare: &signed,
        };
        let proof = message
            .signed_by(&keys.client_key.hashed())
            .xor(&keys.client_key);
        let signature = message.signed_by(&keys.server_key);
        self.state = State::Final {
            keys: Box::new(keys),
            signature,
        };
        Ok([
            &signed,
            b",p=".as_slice(),
            encode64(proof.as_bytes()).as_bytes(),
        ]
        .concat())
    }

    /// Takes the body of AuthenticationSASLFinal. The keys that it yields save the next login at this server its work.
    ///
    /// # Errors
    /// The message is malformed, the server refused, or it does not know the password.
    pub fn on_final(&mut self, data: &[u8]) -> Result<ScramKeys, ServerAuthError> {
        let State::Final { keys, signature } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Err(ServerAuthError::Unexpected);
        };
        if !is_short(data) {
            return Err(ServerAuthError::TooLong);
        }
        let mut attributes = Attributes::new(data);
        if attributes.next_name() == Some(b'e') {
            return Err(ServerAuthError::Refused);
        }
        let found = decode_key(attributes.required(b'v')?).ok_or(ServerAuthError::Malformed)?;
        attributes.extensions()?;
        if found == signature {
            Ok(*keys)
        } else {
            Err(ServerAuthError::SignatureWrong)
        }
    }

    fn chosen(&self, offered: Offered) -> Result<Mechanism, ServerAuthError> {
        let setup = &self.setup;
        if offered.plus && !setup.encrypted {
            return Err(ServerAuthError::BindingWithoutTls);
        }
        let can_bind = setup.end_point.is_some() && setup.binding != ChannelBinding::Disable;
        if offered.plus && can_bind {
            return Ok(Mechanism::Bound);
        }
        if setup.binding == ChannelBinding::Require {
            return Err(ServerAuthError::BindingMissing);
        }
        if !offered.plain {
            return Err(ServerAuthError::MechanismUnknown);
        }
        Ok(Mechanism::Plain {
            could_bind: can_bind,
        })
    }

    /// The header of the first message, and what it binds to (RFC 5802 section 7, `gs2-header` and `cbind-input`).
    fn header(&self, mechanism: Mechanism) -> (Vec<u8>, Vec<u8>) {
        match (mechanism, &self.setup.end_point) {
            (Mechanism::Bound, Some(hash)) => {
                let header = [b"p=", END_POINT, b",,"].concat();
                let binding = [header.as_slice(), hash.as_bytes()].concat();
                (header, binding)
            }
            // A server that did offer it learns by this that somebody took the offer away.
            (Mechanism::Plain { could_bind: true }, _) => (b"y,,".to_vec(), b"y,,".to_vec()),
            _ => (b"n,,".to_vec(), b"n,,".to_vec()),
        }
    }

    /// The keys for the server's salt and count: those at hand where they fit, else the password's.
    fn keys(&mut self, first: &ServerFirst<'_>) -> Result<ScramKeys, ServerAuthError> {
        // The keys of an earlier login were within bounds then; those of a client cost nothing.
        let at_hand = self.setup.keys.take();
        let was_there = at_hand.is_some();
        if let Some(keys) = at_hand.filter(|keys| keys.fit(&first.salt, first.iterations)) {
            return Ok(keys);
        }
        let Some(password) = self.setup.password.take() else {
            return Err(if was_there {
                ServerAuthError::KeysStale
            } else {
                ServerAuthError::NoCredential
            });
        };
        if !self.setup.iterations.contains(&first.iterations.get()) {
            return Err(ServerAuthError::Iterations);
        }
        Ok(ScramKeys::derive(
            password.as_bytes(),
            &first.salt,
            first.iterations,
        ))
    }
}

#[derive(Debug, Clone, Copy)]
enum Mechanism {
    Bound,
    Plain { could_bind: bool },
}

/// Which of the known mechanisms a server offers.
#[derive(Debug, Clone, Copy)]
struct Offered {
    plain: bool,
    plus: bool,
}

impl Offered {
    fn parse(names: &[u8]) -> Result<Self, ServerAuthError> {
        if !is_short(names) {
            return Err(ServerAuthError::TooLong);
        }
        let names = names
            .strip_suffix(b"\0\0")
            .ok_or(ServerAuthError::Malformed)?;
        let mut offered = Self {
            plain: false,
            plus: false,
        };
        for name in names.split(|byte| *byte == 0) {
            if name.is_empty() {
                return Err(ServerAuthError::Malformed);
            }
            offered.plain |= name == SCRAM_SHA_256.as_bytes();
            offered.plus |= name == SCRAM_SHA_256_PLUS.as_bytes();
        }
        if offered.plain || offered.plus {
            Ok(offered)
        } else {
            Err(ServerAuthError::MechanismUnknown)
        }
    }
}

/// `r=nonce,s=salt,i=count`.
struct ServerFirst<'a> {
    nonce: &'a [u8],
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> ServerFirst<'a> {
    fn parse(data: &'a [u8], ours: &[u8]) -> Result<Self, ServerAuthError> {
        if !is_short(data) {
            return Err(ServerAuthError::TooLong);
        }
        let mut attributes = Attributes::new(data);
        let nonce = attributes.required(b'r')?;
        let added = nonce.strip_prefix(ours).filter(|added| is_nonce(added));
        if added.is_none() {
            return Err(ServerAuthError::NonceInvalid);
        }
        let salt = decode64(attributes.required(b's')?);
        let salt = salt.filter(|salt| !salt.is_empty() && salt.len() <= LONGEST_SALT);
        let count = attributes.required(b'i')?;
        attributes.extensions()?;
        Ok(Self {
            nonce,
            salt: salt.ok_or(ServerAuthError::Malformed)?,
            iterations: parsed_count(count)?,
        })
    }
}

/// A number that is one and does not fit is a count out of range; anything else is no number.
fn parsed_count(text: &[u8]) -> Result<NonZeroU32, ServerAuthError> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    let wrong = if is_number {
        ServerAuthError::Iterations
    } else {
        ServerAuthError::Malformed
    };
    iterations(text).ok_or(wrong)
}

impl From<Malformed> for ServerAuthError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
