//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as PostgreSQL speaks them, on both sides.
//!
//! Pure exchanges of byte strings: the messages around them are the codec's, and what is offered and asked for is
//! [`super::client`]'s and [`super::server`]'s. PostgreSQL takes the user from the startup message and ignores the one in here; so do we.
//! Start at [`ScramServer`] for clients that log in to us, at [`ScramClient`] for us logging in to servers.

mod client;
mod grammar;
mod prepare;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

pub use client::{ChannelBinding, Initial, ScramClient, ScramSetup};
pub use server::{ScramServer, Verified};

use super::crypto::{Key, hmac, salted_password};
use super::secret::ScramVerifier;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Bytes of the longest message of an exchange, in either direction. Real ones have some 60 to 200; with a certificate's
/// SHA-512 hash and the longest nonces they reach 500.
pub const LONGEST_MESSAGE: usize = 2048;

/// Bytes of the longest nonce of one side. Real ones have 24; both together are at most twice this.
pub const LONGEST_NONCE: usize = 128;

/// Iteration counts that a server may ask of us. A hundred thousand keep a worker for some 30 ms: enough for what is
/// deployed (4096 by default), and little enough that a hostile server cannot stop us.
pub const ITERATIONS: RangeInclusive<u32> = 1..=100_000;

/// Random bytes of a nonce, as many as PostgreSQL's.
pub const NONCE_BYTES: usize = 18;

/// Random bytes of which a nonce is made; fresh for every exchange.
pub type Nonce = [u8; NONCE_BYTES];

pub(super) const VERIFIER_PREFIX: &[u8] = b"SCRAM-SHA-256$";

/// The keys of a user at a server: enough to log in without the password, and to know the server.
///
/// They come from a password, or from a client's proof and the verifier that it was checked with. In the latter case they
/// open only servers that hold the same verifier: the same salt and iteration count.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    client_key: Key,
    server_key: Key,
    salt: Box<[u8]>,
    iterations: NonZeroU32,
}

impl ScramKeys {
    /// The keys of a password, prepared by SASLprep where it can be. Costs `iterations` rounds of HMAC.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted_password(&prepare::prepared(password), salt, iterations);
        Self {
            client_key: hmac(salted.as_bytes(), &[b"Client Key"]),
            server_key: hmac(salted.as_bytes(), &[b"Server Key"]),
            salt: salt.into(),
            iterations,
        }
    }

    /// The keys that a client's proof and the verifier make together. `None` if they are not of one password.
    #[must_use]
    pub fn recovered(client_key: Key, verifier: &ScramVerifier) -> Option<Self> {
        (client_key.hashed() == *verifier.stored_key()).then(|| Self {
            client_key,
            server_key: verifier.server_key().clone(),
            salt: verifier.salt().into(),
            iterations: verifier.iterations(),
        })
    }

    /// What proofs are made with. As good as the password at servers with the same verifier.
    #[must_use]
    pub fn client_key(&self) -> &Key {
        &self.client_key
    }

    /// What the server signs with.
    #[must_use]
    pub fn server_key(&self) -> &Key {
        &self.server_key
    }

    /// Whether they were made with this salt and this iteration count.
    #[must_use]
    pub fn fit(&self, salt: &[u8], iterations: NonZeroU32) -> bool {
        *self.salt == *salt && self.iterations == iterations
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ScramKeys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// A positive decimal number without sign or leading zero, at most what PostgreSQL's `int` holds.
pub(super) fn iterations(text: &[u8]) -> Option<NonZeroU32> {
    let is_number =
        text.first()? != &b'0' && text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
    let number: u32 = std::str::from_utf8(text)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()?;
    NonZeroU32::new(number).filter(|number| number.get() <= i32::MAX.unsigned_abs())
}

/// The auth message (RFC 5802 section 3) in its three parts, commas between.
struct AuthMessage<'a> {
    client_first_bare: &'a [u8],
    server_first: &'a [u8],
    client_final_bare: &'a [u8],
}

impl AuthMessage<'_> {
    /// Its signature by a key.
    fn signed_by(&self, key: &Key) -> Key {
        let parts = [
            self.client_first_bare,
            b",",
            self.server_first,
            b",",
            self.client_final_bare,
        ];
        hmac(key.as_bytes(), &parts)
    }
}
