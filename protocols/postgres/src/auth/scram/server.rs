//! The server's side of the exchange, towards clients.
//!
//! An unknown user gets a verifier made up for its name, and every message of the exchange; the proof is then wrong whatever
//! it is. The very same functions run on inputs of the same size, so neither words nor time tell the two apart.
//! Start at [`ScramServer::new`].

use super::grammar::{Attributes, Malformed, is_nonce, is_short, split_proof};
use super::{AuthMessage, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramKeys};
use crate::auth::certificate::EndPointHash;
use crate::auth::crypto::{Key, decode_key, encode64, same};
use crate::auth::error::AuthError;
use crate::auth::secret::ScramVerifier;

/// The name of the one kind of channel binding that PostgreSQL knows (RFC 5929 section 4).
pub(super) const END_POINT: &[u8] = b"tls-server-end-point";

/// One client's exchange. Two messages come in; an error ends it.
#[derive(Debug)]
pub struct ScramServer {
    pub(super) verifier: ScramVerifier,
    /// Why the proof will be wrong, for a verifier that was made up.
    doomed: Option<AuthError>,
    end_point: Option<EndPointHash>,
    nonce: Nonce,
    state: State,
}

#[derive(Debug)]
enum State {
    Initial,
    Response(Box<Sent>),
    Done,
}

/// What was said so far.
#[derive(Debug)]
struct Sent {
    client_first_bare: Vec<u8>,
    server_first: Vec<u8>,
    /// Both sides' nonces.
    nonce: Vec<u8>,
    /// What the client must say in `c=`.
    binding: String,
}

/// A proof that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The body of AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// The client's key, which the proof gave away, with what belongs to it: enough to log in to a server of the same verifier.
    pub keys: ScramKeys,
}

impl ScramServer {
    /// An exchange with a known user. `end_point` is the hash of the certificate that this client was shown: with it, `-PLUS` is offered. `nonce` is random.
    #[must_use]
    pub fn new(verifier: ScramVerifier, end_point: Option<EndPointHash>, nonce: Nonce) -> Self {
        Self {
            verifier,
            doomed: None,
            end_point,
            nonce,
            state: State::Initial,
        }
    }

    /// An exchange with somebody who cannot come in, whatever the proof; it then ends with `why`. `mock` is made up for the
    /// user ([`Mock::verifier`](crate::auth::Mock::verifier)): callers make it for known users as well, so that it takes them as long.
    #[must_use]
    pub fn doomed(
        mock: ScramVerifier,
        why: AuthError,
        end_point: Option<EndPointHash>,
        nonce: Nonce,
    ) -> Self {
        Self {
            doomed: Some(why),
            ..Self::new(mock, end_point, nonce)
        }
    }

    /// The mechanisms to offer, the preferred first.
    #[must_use]
    pub fn mechanisms(&self) -> &'static [&'static str] {
        if self.end_point.is_some() {
            &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256]
        } else {
            &[SCRAM_SHA_256]
        }
    }

    /// Takes the client's choice and its first message; yields the body of AuthenticationSASLContinue.
    ///
    /// # Errors
    /// The mechanism was not offered, the message is malformed or out of bounds, or channel binding was tampered with.
    pub fn on_initial(&mut self, mechanism: &[u8], data: &[u8]) -> Result<Vec<u8>, AuthError> {
        let State::Initial = std::mem::replace(&mut self.state, State::Done) else {
            return Err(AuthError::Unexpected);
        };
        let is_bound = self.is_bound(mechanism)?;
        if !is_short(data) {
            return Err(AuthError::TooLong);
        }
        if memchr::memchr(0, data).is_some() {
            return Err(AuthError::Malformed);
        }
        let (flag, header, bare) = split_header(data)?;
        let binding = self.expected_binding(is_bound, flag, header)?;
        let nonce = self.extended(client_nonce(bare)?);
        let server_first = self.first_message(&nonce);
        self.state = State::Response(Box::new(Sent {
            client_first_bare: bare.to_vec(),
            server_first: server_first.clone(),
            nonce,
            binding,
        }));
        Ok(server_first)
    }

    /// Takes the client's last message.
    ///
    /// # Errors
    /// The message is malformed, of another exchange or of another connection, or the proof is wrong.
    pub fn on_response(&mut self, data: &[u8]) -> Result<Verified, AuthError> {
        let State::Response(sent) = std::mem::replace(&mut self.state, State::Done) else {
            return Err(AuthError::Unexpected);
        };
        if !is_short(data) {
            return Err(AuthError::TooLong);
        }
        let (signed, proof) = split_proof(data)?;
        let mut attributes = Attributes::new(signed);
        let binding = attributes.required(b'c')?;
        let nonce = attributes.required(b'r')?;
        attributes.extensions()?;
        let proof = decode_key(proof).ok_or(AuthError::Malformed)?;
        if !same(binding, sent.binding.as_bytes()) {
            return Err(AuthError::BindingMismatch);
        }
        if !same(nonce, &sent.nonce) {
            return Err(AuthError::NonceMismatch);
        }
        let message = AuthMessage {
            client_first_bare: &sent.client_first_bare,
            server_first: &sent.server_first,
            client_final_bare: signed,
        };
        self.judge(&message, &proof)
    }

    /// All that a right proof needs is computed before anything is said about it.
    fn judge(&self, message: &AuthMessage<'_>, proof: &Key) -> Result<Verified, AuthError> {
        let client_key = message.signed_by(self.verifier.stored_key()).xor(proof);
        let signature = message.signed_by(self.verifier.server_key());
        let keys = ScramKeys::recovered(client_key, &self.verifier);
        let server_final = format!("v={}", encode64(signature.as_bytes())).into_bytes();
        match (self.doomed, keys) {
            (None, Some(keys)) => Ok(Verified { server_final, keys }),
            (None, None) => Err(AuthError::WrongPassword),
            (Some(why), _) => Err(why),
        }
    }

    fn is_bound(&self, mechanism: &[u8]) -> Result<bool, AuthError> {
        let offered = self.mechanisms().iter();
        let chosen = offered.copied().find(|name| name.as_bytes() == mechanism);
        let chosen = chosen.ok_or(AuthError::MechanismUnknown)?;
        Ok(chosen == SCRAM_SHA_256_PLUS)
    }

    /// What the client must repeat in `c=`, which its proof covers (RFC 5802 section 6).
    fn expected_binding(
        &self,
        is_bound: bool,
        flag: Flag<'_>,
        header: &[u8],
    ) -> Result<String, AuthError> {
        match (flag, is_bound, &self.end_point) {
            (Flag::Bound(END_POINT), true, Some(hash)) => {
                Ok(encode64(&[header, hash.as_bytes()].concat()))
            }
            (Flag::Bound(_), true, _) => Err(AuthError::BindingUnknown),
            // It would have bound, had it seen our offer.
            (Flag::NotOffered, false, Some(_)) => Err(AuthError::BindingDowngrade),
            (Flag::NotOffered, false, None) | (Flag::Unable, false, _) => Ok(encode64(header)),
            (Flag::Bound(_), false, _) | (Flag::NotOffered | Flag::Unable, true, _) => {
                Err(AuthError::BindingFlag)
            }
        }
    }

    fn extended(&self, client: &[u8]) -> Vec<u8> {
        [client, encode64(&self.nonce).as_bytes()].concat()
    }

    fn first_message(&self, nonce: &[u8]) -> Vec<u8> {
        let salt = encode64(self.verifier.salt());
        let rest = format!(",s={salt},i={}", self.verifier.iterations());
        [b"r=", nonce, rest.as_bytes()].concat()
    }
}

impl From<Malformed> for AuthError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// `gs2-cbind-flag` of RFC 5802 section 7.
#[derive(Debug, Clone, Copy)]
enum Flag<'a> {
    /// `n`: the client cannot bind.
    Unable,
    /// `y`: the client could, and thinks that we cannot.
    NotOffered,
    /// `p=`: the client binds in this way.
    Bound(&'a [u8]),
}

/// The binding flag, the header that it is in, and the message without the header.
fn split_header(data: &[u8]) -> Result<(Flag<'_>, &[u8], &[u8]), AuthError> {
    let first = memchr::memchr(b',', data).ok_or(AuthError::Malformed)?;
    let (flag, rest) = data.split_at_checked(first).ok_or(AuthError::Malformed)?;
    let flag = match flag {
        b"n" => Flag::Unable,
        b"y" => Flag::NotOffered,
        [b'p', b'=', name @ ..] if !name.is_empty() => Flag::Bound(name),
        _ => return Err(AuthError::Malformed),
    };
    match rest {
        [b',', b',', bare @ ..] => {
            let header = data.get(..first + 2).ok_or(AuthError::Malformed)?;
            Ok((flag, header, bare))
        }
        [b',', b'a', b'=', ..] => Err(AuthError::AuthorizationIdentity),
        _ => Err(AuthError::Malformed),
    }
}

/// The nonce of the client's first message without its header: `n=user,r=nonce`.
fn client_nonce(bare: &[u8]) -> Result<&[u8], AuthError> {
    let mut attributes = Attributes::new(bare);
    if attributes.next_name() == Some(b'm') {
        return Err(AuthError::MandatoryExtension);
    }
    // The user may be empty, and is not looked at: the startup message has named it.
    match attributes.next()? {
        Some((b'n', _)) => {}
        _ => return Err(AuthError::Malformed),
    }
    let nonce = match attributes.next()? {
        Some((b'r', nonce)) if is_nonce(nonce) => nonce,
        Some((b'r', _)) => return Err(AuthError::NonceInvalid),
        _ => return Err(AuthError::Malformed),
    };
    attributes.extensions()?;
    Ok(nonce)
}
