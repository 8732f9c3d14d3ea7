//! What a server asks of who wants to come in.
//!
//! Only what it asks; how it is answered is `auth`'s. Start at [`Authentication`].

use nom::Parser;
use nom::number::complete::be_i32;

use crate::error::MessageError;
use crate::message::{Strings, grammar};

/// A request for proof, a step of it, or its success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// 0: the client is in.
    Ok,
    /// 2.
    KerberosV5,
    /// 3: the password as it is.
    CleartextPassword,
    /// 5: a hash of the password.
    Md5Password {
        /// Goes into the hash.
        salt: [u8; 4],
    },
    /// 7.
    Gss,
    /// 8.
    GssContinue {
        /// The next token of GSSAPI or SSPI.
        data: &'a [u8],
    },
    /// 9.
    Sspi,
    /// 10.
    Sasl {
        /// What the server offers, best first.
        mechanisms: Strings<'a>,
    },
    /// 11.
    SaslContinue {
        /// The mechanism's own message.
        data: &'a [u8],
    },
    /// 12.
    SaslFinal {
        /// The mechanism's own message.
        data: &'a [u8],
    },
    /// A number of no meaning here.
    Other {
        /// The number.
        kind: AuthenticationKind,
        /// What comes behind it.
        data: &'a [u8],
    },
}

/// The number that tells requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each has the name that the chapter gives it
pub struct AuthenticationKind(pub i32);

#[allow(missing_docs)] // each has the name that the chapter gives it
impl AuthenticationKind {
    pub const OK: Self = Self(0);
    pub const KERBEROS_V5: Self = Self(2);
    pub const CLEARTEXT_PASSWORD: Self = Self(3);
    pub const MD5_PASSWORD: Self = Self(5);
    pub const GSS: Self = Self(7);
    pub const GSS_CONTINUE: Self = Self(8);
    pub const SSPI: Self = Self(9);
    pub const SASL: Self = Self(10);
    pub const SASL_CONTINUE: Self = Self(11);
    pub const SASL_FINAL: Self = Self(12);
}

impl<'a> Authentication<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (be_i32, grammar::rest);
        let (kind, data) = grammar::whole(body, fields)?;
        let plain = |message| grammar::empty(data).map(|()| message);
        match AuthenticationKind(kind) {
            AuthenticationKind::OK => plain(Self::Ok),
            AuthenticationKind::KERBEROS_V5 => plain(Self::KerberosV5),
            AuthenticationKind::CLEARTEXT_PASSWORD => plain(Self::CleartextPassword),
            AuthenticationKind::MD5_PASSWORD => match data.split_first_chunk() {
                Some((salt, [])) => Ok(Self::Md5Password { salt: *salt }),
                Some(_) => Err(MessageError::Trailing),
                None => Err(MessageError::Truncated),
            },
            AuthenticationKind::GSS => plain(Self::Gss),
            AuthenticationKind::GSS_CONTINUE => Ok(Self::GssContinue { data }),
            AuthenticationKind::SSPI => plain(Self::Sspi),
            AuthenticationKind::SASL => {
                let build = |mechanisms| Self::Sasl { mechanisms };
                grammar::whole(data, grammar::strings.map(build))
            }
            AuthenticationKind::SASL_CONTINUE => Ok(Self::SaslContinue { data }),
            AuthenticationKind::SASL_FINAL => Ok(Self::SaslFinal { data }),
            kind => Ok(Self::Other { kind, data }),
        }
    }
}
