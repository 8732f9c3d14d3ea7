//! Why nobody comes in: one enum for each side.
//!
//! [`AuthError`] is what a client did, or what we know of its user; the client reads its [`Refusal`] and never more, so
//! that it cannot tell a wrong password from an unknown user. [`ServerAuthError`] is what a server did or asked for. Labels
//! are for counters and logs, which may know the difference.

use std::fmt;

/// What a client is told, by SQLSTATE. The choice follows PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// 28P01: user and password do not fit, for whatever reason.
    InvalidPassword,
    /// 28000: something other than the password is missing or wrong.
    InvalidAuthorization,
    /// 08P01: the message is not what it must be.
    ProtocolViolation,
    /// 0A000: a part of SCRAM that no server of this protocol has.
    NotSupported,
}

impl Refusal {
    /// The SQLSTATE for `ErrorResponse`.
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::InvalidPassword => "28P01",
            Self::InvalidAuthorization => "28000",
            Self::ProtocolViolation => "08P01",
            Self::NotSupported => "0A000",
        }
    }
}

macro_rules! errors {
    ($(#[$docs:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $label:literal $text:literal;)* }) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value of the `reason` label.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(Self::$variant => $text,)* })
            }
        }

        impl std::error::Error for $name {}
    };
}

errors! {
    /// Why a client was refused. For logs: the client gets [`AuthError::refusal`] and nothing else.
    AuthError {
        /// The proof or the password is wrong.
        WrongPassword "wrong_password" "the password is wrong";
        /// Nobody is known by that name. The exchange went on to its end regardless.
        UnknownUser "unknown_user" "the user is unknown";
        /// The user is known and has no password.
        NoPassword "no_password" "the user has no password";
        /// `VALID UNTIL` has passed.
        PasswordExpired "password_expired" "the password has expired";
        /// What is known of the password cannot serve this method, such as an MD5 hash for SCRAM.
        SecretUnusable "secret_unusable" "the stored secret does not fit the method";
        /// An empty password, which no server accepts.
        EmptyPassword "empty_password" "the password is empty";
        /// A password in the clear would have to cross a connection without TLS.
        CleartextWithoutTls "cleartext_without_tls" "a password in the clear needs TLS";
        /// The client has no certificate where the method asks for one.
        CertificateMissing "certificate_missing" "there is no client certificate";
        /// The client's certificate is another's.
        CertificateOther "certificate_other" "the client certificate is not for this user";
        /// The client took our connection's TLS for another's: somebody sits in between.
        BindingMismatch "binding_mismatch" "the channel binding is not of this connection";
        /// The client can bind and believes that we cannot, though we said so: somebody took the offer away.
        BindingDowngrade "binding_downgrade" "the offer of channel binding was taken away on its way";
        /// The mechanism and the binding flag contradict each other.
        BindingFlag "binding_flag" "the binding flag does not fit the mechanism";
        /// A kind of channel binding other than `tls-server-end-point`.
        BindingUnknown "binding_unknown" "the kind of channel binding is unknown";
        /// A mechanism that was not offered.
        MechanismUnknown "mechanism_unknown" "the mechanism was not offered";
        /// A message of more bytes than the limit.
        TooLong "auth_message_too_long" "the message is too long";
        /// A message that does not follow the grammar.
        Malformed "auth_message_malformed" "the message is malformed";
        /// A nonce that is empty, too long or not printable.
        NonceInvalid "nonce_invalid" "the nonce is invalid";
        /// The last message belongs to another exchange.
        NonceMismatch "nonce_mismatch" "the nonce is not that of this exchange";
        /// An authorization identity: acting for another user is not part of this protocol.
        AuthorizationIdentity "authorization_identity" "an authorization identity is not supported";
        /// A SCRAM extension that must be understood, and is not.
        MandatoryExtension "mandatory_extension" "a mandatory extension is not supported";
        /// A message when none was asked for.
        Unexpected "auth_message_unexpected" "no message was expected";
    }
}

impl AuthError {
    /// What the client is told.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::WrongPassword
            | Self::UnknownUser
            | Self::NoPassword
            | Self::PasswordExpired
            | Self::SecretUnusable
            | Self::EmptyPassword => Refusal::InvalidPassword,
            Self::CleartextWithoutTls
            | Self::CertificateMissing
            | Self::CertificateOther
            | Self::BindingMismatch
            | Self::BindingDowngrade => Refusal::InvalidAuthorization,
            Self::AuthorizationIdentity | Self::MandatoryExtension => Refusal::NotSupported,
            Self::BindingFlag
            | Self::BindingUnknown
            | Self::MechanismUnknown
            | Self::TooLong
            | Self::Malformed
            | Self::NonceInvalid
            | Self::NonceMismatch
            | Self::Unexpected => Refusal::ProtocolViolation,
        }
    }
}

errors! {
    /// Why we did not authenticate to a server, or do not believe that it is the server. The connection is closed.
    ServerAuthError {
        /// The server asks for GSSAPI, SSPI, Kerberos or something newer.
        Unsupported "server_method_unsupported" "the server asks for a method that is not supported";
        /// The server asks for less than `require` demands.
        TooWeak "server_method_too_weak" "the server asks for a weaker method than is required";
        /// The server asks for the password in the clear, and the connection is not encrypted.
        CleartextRefused "server_cleartext_refused" "the server asks for the password in the clear";
        /// What is known of the user cannot answer what the server asks.
        NoCredential "server_no_credential" "nothing is known that answers the server's method";
        /// The keys for passing through are of another salt or iteration count than the server's.
        KeysStale "server_keys_stale" "the keys do not fit the server's verifier";
        /// Channel binding is required and cannot be had.
        BindingMissing "server_binding_missing" "the server does not offer the required channel binding";
        /// The server offers channel binding without TLS: what it sees as its connection is not ours.
        BindingWithoutTls "server_binding_without_tls" "the server offers channel binding without TLS";
        /// No mechanism of the server's list is known.
        MechanismUnknown "server_mechanism_unknown" "the server offers no known mechanism";
        /// A message of more bytes than the limit.
        TooLong "server_auth_message_too_long" "the server's message is too long";
        /// A message that does not follow the grammar.
        Malformed "server_auth_message_malformed" "the server's message is malformed";
        /// A nonce that does not begin with ours, adds nothing, is too long or not printable.
        NonceInvalid "server_nonce_invalid" "the server's nonce is invalid";
        /// An iteration count outside the configured range.
        Iterations "server_iterations" "the server's iteration count is out of range";
        /// The server said `e=`.
        Refused "server_scram_refused" "the server refused the proof";
        /// The server does not know the password either: it is an impostor.
        SignatureWrong "server_signature_wrong" "the server's signature is wrong";
        /// The server says that all is well before it has proved who it is.
        Premature "server_auth_premature" "the server ended the exchange early";
        /// A request out of its order.
        Unexpected "server_auth_unexpected" "the server's request is out of order";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_labels() {
        let ours = AuthError::ALL.iter().map(|error| error.label());
        let labels = ours.chain(ServerAuthError::ALL.iter().map(|error| error.label()));
        let mut seen = HashSet::new();
        for label in labels {
            let is_label = label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            assert!(is_label && seen.insert(label), "{label}");
        }
    }

    #[test]
    fn clients_learn_nothing_of_users() {
        let rows = [
            AuthError::WrongPassword,
            AuthError::UnknownUser,
            AuthError::NoPassword,
            AuthError::PasswordExpired,
            AuthError::SecretUnusable,
        ];
        for error in rows {
            assert_eq!(error.refusal().sqlstate(), "28P01", "{error}");
        }
    }
}
