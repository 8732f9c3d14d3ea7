//! A client that logs in: what it is asked, and what its answers come to.
//!
//! No wire bytes are made here: a [`Request`] is for the encoder, and bodies of PasswordMessage come in without their header.
//! Where a user is looked up is not decided here either. Start at [`ClientAuth::start`].
//!
//! ```text
//! start ─▶ Ask(request) ─▶ client answers ─▶ on_password ─▶ Ask … ─▶ Accepted | Rejected
//! ```

#[cfg(test)]
mod tests;

use std::fmt;

use super::certificate::{CertificateMatch, EndPointHash};
use super::crypto::{same, sha256};
use super::error::AuthError;
use super::md5::Md5Hash;
use super::scram::{ITERATIONS, Nonce, ScramKeys, ScramServer, Verified};
use super::secret::{Form, LONGEST_SECRET, Mock, Secret};

/// How clients of a listener show who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    Trust,
    /// By the password itself; over TLS only.
    Cleartext,
    /// By the MD5 method, or by SCRAM where only a verifier is known, as PostgreSQL's `md5` does.
    Md5,
    /// By SCRAM-SHA-256, bound to the connection where that is possible.
    Scram,
    /// By a client certificate that TLS has verified.
    Certificate,
}

/// What looking for a user has brought.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'a> {
    /// Its secret.
    Found(&'a Secret),
    /// Nothing that it could come in with. The exchange takes its course, and ends with this error.
    Missing(AuthError),
}

/// All that a client's authentication depends on.
#[derive(Debug, Clone, Copy)]
pub struct ClientSetup<'a> {
    /// How.
    pub method: Method,
    /// The user of the startup message.
    pub user: &'a [u8],
    /// What is known of it.
    pub lookup: Lookup<'a>,
    /// What unknown users look like.
    pub mock: &'a Mock,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The hash of the certificate that this client was shown; `None` without TLS.
    pub end_point: Option<&'a EndPointHash>,
    /// Whether the client's certificate is for this user.
    pub certificate: CertificateMatch,
    /// Random bytes, fresh for every client.
    pub entropy: Entropy,
}

/// Random bytes for one login.
#[derive(Clone, Copy)]
pub struct Entropy {
    /// For SCRAM.
    pub nonce: Nonce,
    /// For MD5.
    pub salt: [u8; 4],
}

impl fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Entropy(..)")
    }
}

/// An authentication request, for the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// AuthenticationCleartextPassword.
    Cleartext,
    /// AuthenticationMD5Password.
    Md5 {
        /// The salt.
        salt: [u8; 4],
    },
    /// AuthenticationSASL.
    Sasl {
        /// The mechanisms, the preferred first.
        mechanisms: &'static [&'static str],
    },
    /// AuthenticationSASLContinue with this body.
    SaslContinue(Vec<u8>),
    /// AuthenticationSASLFinal with this body.
    SaslFinal(Vec<u8>),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and bring the answer.
    Ask(Request),
    /// The client is who it says it is: send `last` if there is one, then AuthenticationOk.
    Accepted {
        /// AuthenticationSASLFinal after SCRAM.
        last: Option<Request>,
        /// Keys to log in to servers with, where the exchange has yielded them. Only servers with the same verifier take them.
        keys: Option<ScramKeys>,
    },
    /// It is not: send ErrorResponse with [`AuthError::refusal`], then close.
    Rejected(AuthError),
}

/// One client's authentication.
#[derive(Debug)]
pub struct ClientAuth {
    state: State,
}

#[derive(Debug)]
enum State {
    /// A step that needs no answer.
    Settled(Step),
    Cleartext(Box<Expected>),
    Md5 {
        salt: [u8; 4],
        hash: Md5Hash,
        doomed: Option<AuthError>,
    },
    SaslInitial(Box<ScramServer>),
    /// The mechanism came without a first message, which now follows by itself.
    SaslFirst {
        server: Box<ScramServer>,
        mechanism: Vec<u8>,
    },
    SaslResponse(Box<ScramServer>),
    Done,
}

/// What a password in the clear is held against.
#[derive(Debug)]
struct Expected {
    user: Vec<u8>,
    secret: Secret,
    doomed: Option<AuthError>,
}

impl ClientAuth {
    /// Prepares the authentication of one client. Copies of secrets that it holds are wiped when it is dropped.
    #[must_use]
    pub fn new(setup: &ClientSetup<'_>) -> Self {
        Self {
            state: State::new(setup),
        }
    }

    /// What to send first. Called once.
    pub fn start(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Settled(step) => step,
            State::Done => Step::Rejected(AuthError::Unexpected),
            state => {
                let request = state.first_request();
                self.state = state;
                Step::Ask(request)
            }
        }
    }

    /// Takes the body of a PasswordMessage, SASLInitialResponse or SASLResponse, which share a tag and are told apart by what was
    /// asked. The caller bounds it: nothing that is accepted has more than 64 KiB.
    pub fn on_password(&mut self, body: &[u8]) -> Step {
        let state = std::mem::replace(&mut self.state, State::Done);
        self.judge(state, body).unwrap_or_else(Step::Rejected)
    }

    fn judge(&mut self, state: State, body: &[u8]) -> Result<Step, AuthError> {
        match state {
            State::Settled(_) | State::Done => Err(AuthError::Unexpected),
            State::Cleartext(expected) => expected.check(password(body)?),
            State::Md5 { salt, hash, doomed } => {
                let is_right = hash.is_answered(salt, password(body)?);
                verdict(is_right, doomed, None)
            }
            State::SaslInitial(server) => self.on_initial(server, body),
            State::SaslFirst { server, mechanism } => self.on_first(server, &mechanism, body),
            State::SaslResponse(mut server) => {
                let Verified { server_final, keys } = server.on_response(body)?;
                let last = Some(Request::SaslFinal(server_final));
                Ok(Step::Accepted {
                    last,
                    keys: Some(keys),
                })
            }
        }
    }

    fn on_initial(&mut self, server: Box<ScramServer>, body: &[u8]) -> Result<Step, AuthError> {
        let (mechanism, data) = initial_response(body)?;
        if let Some(data) = data {
            return self.on_first(server, mechanism, data);
        }
        let offered = server.mechanisms().iter();
        let mut offered = offered.filter(|name| name.as_bytes() == mechanism);
        offered.next().ok_or(AuthError::MechanismUnknown)?;
        self.state = State::SaslFirst {
            server,
            mechanism: mechanism.to_vec(),
        };
        Ok(Step::Ask(Request::SaslContinue(Vec::new())))
    }

    fn on_first(
        &mut self,
        mut server: Box<ScramServer>,
        mechanism: &[u8],
        data: &[u8],
    ) -> Result<Step, AuthError> {
        let first = server.on_initial(mechanism, data)?;
        self.state = State::SaslResponse(server);
        Ok(Step::Ask(Request::SaslContinue(first)))
    }
}

impl State {
    fn new(setup: &ClientSetup<'_>) -> Self {
        match setup.method {
            Method::Trust => Self::Settled(Step::Accepted {
                last: None,
                keys: None,
            }),
            Method::Certificate => Self::Settled(certified(setup)),
            Method::Cleartext if !setup.encrypted => {
                Self::Settled(Step::Rejected(AuthError::CleartextWithoutTls))
            }
            Method::Cleartext => Self::cleartext(setup),
            Method::Md5 => Self::md5(setup),
            Method::Scram => Self::scram(setup),
        }
    }

    fn cleartext(setup: &ClientSetup<'_>) -> Self {
        let (secret, doomed) = match setup.lookup {
            Lookup::Found(secret) => (secret.clone(), None),
            Lookup::Missing(why) => (setup.mock.secret(setup.user), Some(why)),
        };
        Self::Cleartext(Box::new(Expected {
            user: setup.user.to_vec(),
            secret,
            doomed,
        }))
    }

    fn md5(setup: &ClientSetup<'_>) -> Self {
        // Each arm hashes once, so that known and unknown users take equally long.
        let (hash, doomed) = match setup.lookup {
            Lookup::Found(Secret::Scram(_)) => return Self::scram(setup),
            Lookup::Missing(_) if setup.mock.form() == Form::Scram => return Self::scram(setup),
            Lookup::Found(Secret::Plain(password)) => {
                (Md5Hash::derive(password.as_bytes(), setup.user), None)
            }
            Lookup::Found(Secret::Md5(hash)) => {
                let _ = setup.mock.md5(setup.user);
                (hash.clone(), None)
            }
            Lookup::Missing(why) => (setup.mock.md5(setup.user), Some(why)),
        };
        Self::Md5 {
            salt: setup.entropy.salt,
            hash,
            doomed,
        }
    }

    fn scram(setup: &ClientSetup<'_>) -> Self {
        let nonce = setup.entropy.nonce;
        let end_point = setup.end_point.cloned();
        // Made up for known users too: the few hashes that it costs would tell them apart.
        let mock = setup.mock.verifier(setup.user);
        let known = |verifier| ScramServer::new(verifier, end_point.clone(), nonce);
        let doomed = |why| ScramServer::doomed(mock.clone(), why, end_point.clone(), nonce);
        Self::SaslInitial(Box::new(match setup.lookup {
            Lookup::Found(Secret::Scram(verifier)) => known(verifier.clone()),
            Lookup::Found(Secret::Plain(password)) => {
                known(password.verifier(setup.user, setup.mock))
            }
            Lookup::Found(Secret::Md5(_)) => doomed(AuthError::SecretUnusable),
            Lookup::Missing(why) => doomed(why),
        }))
    }

    fn first_request(&self) -> Request {
        match self {
            Self::Md5 { salt, .. } => Request::Md5 { salt: *salt },
            Self::SaslInitial(server)
            | Self::SaslFirst { server, .. }
            | Self::SaslResponse(server) => Request::Sasl {
                mechanisms: server.mechanisms(),
            },
            Self::Cleartext(_) | Self::Settled(_) | Self::Done => Request::Cleartext,
        }
    }
}

impl Expected {
    fn check(&self, password: &[u8]) -> Result<Step, AuthError> {
        let (is_right, keys) = match &self.secret {
            // Hashes first: the comparison then tells nothing of the length.
            Secret::Plain(known) => (
                same(&sha256(&[known.as_bytes()]), &sha256(&[password])),
                None,
            ),
            Secret::Md5(known) => (Md5Hash::derive(password, &self.user) == *known, None),
            Secret::Scram(known) => {
                // This work is ours, other than in SCRAM, and the count is the verifier's.
                if !ITERATIONS.contains(&known.iterations().get()) {
                    return Err(AuthError::SecretUnusable);
                }
                let derived = ScramKeys::derive(password, known.salt(), known.iterations());
                let keys = ScramKeys::recovered(derived.client_key().clone(), known);
                (keys.is_some(), keys)
            }
        };
        verdict(is_right, self.doomed, keys)
    }
}

fn verdict(
    is_right: bool,
    doomed: Option<AuthError>,
    keys: Option<ScramKeys>,
) -> Result<Step, AuthError> {
    match (doomed, is_right) {
        (None, true) => Ok(Step::Accepted { last: None, keys }),
        (None, false) => Err(AuthError::WrongPassword),
        (Some(why), _) => Err(why),
    }
}

fn certified(setup: &ClientSetup<'_>) -> Step {
    match (setup.certificate, setup.encrypted) {
        (CertificateMatch::Fits, true) => Step::Accepted {
            last: None,
            keys: None,
        },
        (CertificateMatch::Other, true) => Step::Rejected(AuthError::CertificateOther),
        (CertificateMatch::Absent, _) | (_, false) => Step::Rejected(AuthError::CertificateMissing),
    }
}

/// The password of a PasswordMessage: one NUL, at the end.
fn password(body: &[u8]) -> Result<&[u8], AuthError> {
    if body.len() > LONGEST_SECRET {
        return Err(AuthError::TooLong);
    }
    match memchr::memchr(0, body) {
        Some(0) if body.len() == 1 => Err(AuthError::EmptyPassword),
        Some(end) if end + 1 == body.len() => body.get(..end).ok_or(AuthError::Malformed),
        _ => Err(AuthError::Malformed),
    }
}

/// The mechanism of a SASLInitialResponse, and the first message if there is one.
fn initial_response(body: &[u8]) -> Result<(&[u8], Option<&[u8]>), AuthError> {
    let end = memchr::memchr(0, body).ok_or(AuthError::Malformed)?;
    let (mechanism, rest) = body.split_at_checked(end).ok_or(AuthError::Malformed)?;
    let rest = rest.get(1..).ok_or(AuthError::Malformed)?;
    let (length, data) = rest.split_first_chunk().ok_or(AuthError::Malformed)?;
    match (i32::from_be_bytes(*length), data.len()) {
        (-1, 0) => Ok((mechanism, None)),
        (length, found) if usize::try_from(length) == Ok(found) => Ok((mechanism, Some(data))),
        _ => Err(AuthError::Malformed),
    }
}
