//! Passwords and what stands for them, kept out of logs and dumps.
//!
//! Nothing is compared here: that is [`crate::auth`]'s, in constant time. Start at [`Password`].

use std::borrow::Cow;

use portcullis_config::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// What a user proves to know: as `pg_authid.rolpassword` and PgBouncer's `userlist.txt` have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself: any method can use it, in both directions.
    Plain(Secret),
    /// `md5` and 32 hexadecimal digits: the hash of password and name. For `md5` only.
    Md5(Secret),
    /// `SCRAM-SHA-256$…`: a verifier. It lets a client in and, with the client's own proof, goes on to a server that has the
    /// same verifier.
    Scram(Secret),
}

impl Password {
    /// Sorts a password by its form, as PostgreSQL does.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let secret = Secret::new(text);
        if text.starts_with("SCRAM-SHA-256$") {
            return Self::Scram(secret);
        }
        let digits = text.strip_prefix("md5").unwrap_or_default();
        if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Self::Md5(secret);
        }
        Self::Plain(secret)
    }

    /// The password itself, where that is known.
    #[must_use]
    pub const fn plain(&self) -> Option<&Secret> {
        match self {
            Self::Plain(secret) => Some(secret),
            Self::Md5(_) | Self::Scram(_) => None,
        }
    }

    /// The text, whichever form it has. Whoever calls this must not print it.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(secret) | Self::Md5(secret) | Self::Scram(secret) => secret.expose(),
        }
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = Secret::deserialize(deserializer)?;
        Ok(Self::new(secret.expose()))
    }
}

impl JsonSchema for Password {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Secret::json_schema(generator)
    }
}
