//! What is known of a user's password: the text, its MD5 hash, or its SCRAM verifier.
//!
//! It is no store: where a secret comes from is [`super::userlist`]'s, [`super::query`]'s or the configuration's affair. Nothing here
//! is ever printed, and texts and keys are wiped when they are dropped. Start at [`Secret::parse`].

#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;

use zeroize::Zeroizing;

use super::crypto::{Key, decode_key, decode64, encode64, hmac, md5_hex};
use super::md5::Md5Hash;
use super::scram::{self, ScramKeys};

/// Bytes of the longest salt. PostgreSQL makes 16; the bound keeps the first message of an exchange within its own.
pub const LONGEST_SALT: usize = 1024;

/// Bytes of the longest text: as much as a PasswordMessage may have in PostgreSQL.
pub const LONGEST_SECRET: usize = 65_535;

/// Iterations of the verifiers made here, as many as PostgreSQL's `scram_iterations` has by default.
pub const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

/// What is known of a user's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password. It can serve every method.
    Plain(PlainPassword),
    /// PostgreSQL's MD5 hash of password and user.
    Md5(Md5Hash),
    /// PostgreSQL's verifier for SCRAM-SHA-256.
    Scram(ScramVerifier),
}

/// Which of the three a secret is, and which of them an unknown user is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As [`Secret::Plain`].
    Plain,
    /// As [`Secret::Md5`].
    Md5,
    /// As [`Secret::Scram`].
    Scram,
}

/// Why some text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SecretError {
    /// Nothing: a user who has no password.
    #[error("the password is empty")]
    Empty,
    /// More than [`LONGEST_SECRET`] bytes.
    #[error("the password is too long")]
    TooLong,
    /// A NUL, which no message of the protocol can carry.
    #[error("the password has a NUL")]
    Nul,
    /// It begins like a SCRAM verifier and goes on otherwise. As a password it would be one that nobody typed.
    #[error("the SCRAM verifier is malformed")]
    BadVerifier,
}

impl SecretError {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "secret_empty",
            Self::TooLong => "secret_too_long",
            Self::Nul => "secret_nul",
            Self::BadVerifier => "secret_bad_verifier",
        }
    }
}

impl Secret {
    /// Reads what PostgreSQL keeps in `pg_authid.rolpassword`, what PgBouncer keeps in `userlist.txt`, or a password.
    ///
    /// `md5` and 32 digits of lower-case hexadecimal are a hash; `SCRAM-SHA-256$iterations:salt$stored:server` is a verifier;
    /// anything else is the password itself.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > LONGEST_SECRET {
            return Err(SecretError::TooLong);
        }
        if memchr::memchr(0, text).is_some() {
            return Err(SecretError::Nul);
        }
        if let Some(hash) = Md5Hash::parse(text) {
            return Ok(Self::Md5(hash));
        }
        if text.starts_with(scram::VERIFIER_PREFIX) {
            let verifier = ScramVerifier::parse(text).ok_or(SecretError::BadVerifier)?;
            return Ok(Self::Scram(verifier));
        }
        Ok(Self::Plain(PlainPassword::new(text)))
    }

    /// Which of the three this is.
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Self::Plain(_) => Form::Plain,
            Self::Md5(_) => Form::Md5,
            Self::Scram(_) => Form::Scram,
        }
    }

    /// Derives the verifier of a plain password, so that a login by SCRAM need not: once, when the secret is loaded.
    ///
    /// Costs `mock.iterations` rounds of HMAC, about a millisecond for 4096. Without it every such login costs as much, and
    /// the time tells a client that the user exists. Secrets of other forms are left as they are.
    pub fn prepare(&mut self, user: &[u8], mock: &Mock) {
        if let Self::Plain(password) = self {
            password.verifier = Some(Box::new(password.derive(user, mock)));
        }
    }
}

/// A password. Wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainPassword {
    text: Zeroizing<Box<[u8]>>,
    verifier: Option<Box<ScramVerifier>>,
}

impl PlainPassword {
    /// The password of these bytes, in whatever encoding the client will send it.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            verifier: None,
        }
    }

    /// The password itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Its verifier: the one that was prepared, or a new one.
    pub(super) fn verifier(&self, user: &[u8], mock: &Mock) -> ScramVerifier {
        match &self.verifier {
            Some(verifier) => (**verifier).clone(),
            None => self.derive(user, mock),
        }
    }

    fn derive(&self, user: &[u8], mock: &Mock) -> ScramVerifier {
        ScramVerifier::derive(&self.text, &mock.salt(user), mock.iterations)
    }
}

impl fmt::Debug for PlainPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PlainPassword(..)")
    }
}

/// What a server keeps of a password for SCRAM-SHA-256 (RFC 5803).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Box<[u8]>,
    stored_key: Key,
    server_key: Key,
}

impl ScramVerifier {
    /// The verifier of a password, prepared by SASLprep where it can be. `salt` is at most [`LONGEST_SALT`] bytes; more is cut off.
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salt = salt.get(..LONGEST_SALT).unwrap_or(salt);
        let keys = ScramKeys::derive(password, salt, iterations);
        Self {
            iterations,
            salt: salt.into(),
            stored_key: keys.client_key().hashed(),
            server_key: keys.server_key().clone(),
        }
    }

    /// Reads `SCRAM-SHA-256$iterations:salt$stored:server`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(scram::VERIFIER_PREFIX)?;
        let (iterations, rest) = split(rest, b':')?;
        let (salt, rest) = split(rest, b'$')?;
        let (stored_key, server_key) = split(rest, b':')?;
        let salt = decode64(salt).filter(|salt| !salt.is_empty() && salt.len() <= LONGEST_SALT)?;
        Some(Self {
            iterations: scram::iterations(iterations)?,
            salt: salt.into(),
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        })
    }

    /// The form that [`ScramVerifier::parse`] reads, as PostgreSQL keeps it. As good as the password for who means to pass for
    /// the server: not for logs.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            encode64(&self.salt),
            encode64(self.stored_key.as_bytes()),
            encode64(self.server_key.as_bytes()),
        ))
    }

    /// Rounds of HMAC behind the password.
    #[must_use]
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The salt, 1 to [`LONGEST_SALT`] bytes.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The hash of the client's key.
    #[must_use]
    pub fn stored_key(&self) -> &Key {
        &self.stored_key
    }

    /// What the server signs with.
    #[must_use]
    pub fn server_key(&self) -> &Key {
        &self.server_key
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// What unknown users look like. One for the process, made of randomness at start.
///
/// Everything shown of an unknown user follows from `key` and the name, so that asking twice shows the same (RFC 5802 section 9
/// asks as much of the salt). Verifiers of plain passwords get their salt from here too: nothing tells the two apart.
#[derive(Clone)]
pub struct Mock {
    key: Key,
    iterations: NonZeroU32,
    form: Form,
}

impl Mock {
    /// `key` is random. `form` and `iterations` are what most of the known users have, or else the few who differ stand out.
    #[must_use]
    pub fn new(key: [u8; 32], form: Form, iterations: NonZeroU32) -> Self {
        Self {
            key: Key::new(key),
            iterations,
            form,
        }
    }

    /// What an unknown user's secret is taken to be.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The salt of an unknown user, or of one with a plain password: 16 bytes as PostgreSQL's.
    pub(super) fn salt(&self, user: &[u8]) -> [u8; 16] {
        let hash = hmac(self.key.as_bytes(), &[b"salt\0", user]);
        let mut salt = [0; 16];
        for (to, from) in salt.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        salt
    }

    /// A verifier for which there is no password, the same for a name each time.
    #[must_use]
    pub fn verifier(&self, user: &[u8]) -> ScramVerifier {
        ScramVerifier {
            iterations: self.iterations,
            salt: Box::new(self.salt(user)),
            stored_key: hmac(self.key.as_bytes(), &[b"stored\0", user]),
            server_key: hmac(self.key.as_bytes(), &[b"server\0", user]),
        }
    }

    /// A hash for which there is no password.
    pub(super) fn md5(&self, user: &[u8]) -> Md5Hash {
        Md5Hash::from_hex(&md5_hex(&[self.key.as_bytes(), user]))
    }

    /// A secret of [`Mock::form`] for which there is no user.
    pub(super) fn secret(&self, user: &[u8]) -> Secret {
        match self.form {
            Form::Plain => {
                let nonsense = hmac(self.key.as_bytes(), &[b"plain\0", user]);
                let mut password = PlainPassword::new(nonsense.as_bytes());
                password.verifier = Some(Box::new(self.verifier(user)));
                Secret::Plain(password)
            }
            Form::Md5 => Secret::Md5(self.md5(user)),
            Form::Scram => Secret::Scram(self.verifier(user)),
        }
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mock")
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// What stands before the first `at` and what stands behind it.
fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, text)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}
