//! Who may come in, and how we log in to servers: secrets, methods and exchanges, all pure.
//!
//! Bytes go in and come out; randomness and the time are arguments; no socket, no file, no query. Wire messages are the
//! codec's: what stands between these modules and the wire is a handful of enums. Two laws: a client cannot tell an unknown user
//! from a wrong password, by words or by time; and no secret is ever printed.
//!
//! Start at [`ClientAuth`] for clients that log in to us, at [`ServerAuth`] for us logging in to servers, at [`Secret`] for what is
//! known of a user. [`userlist`] and [`query`] are where secrets come from.

pub mod certificate;
pub mod client;
pub mod crypto;
pub mod error;
pub mod md5;
pub mod query;
pub mod scram;
pub mod secret;
pub mod server;
pub mod timestamp;
pub mod userlist;

pub use certificate::{CertificateMatch, EndPointHash, UserMap, UserMapEntry};
pub use client::{ClientAuth, ClientSetup, Entropy, Lookup, Method, Request, Step};
pub use crypto::Key;
pub use error::{AuthError, Refusal, ServerAuthError};
pub use md5::Md5Hash;
pub use query::{Credential, RowError};
pub use scram::{ChannelBinding, ScramKeys};
pub use secret::{Form, Mock, PlainPassword, ScramVerifier, Secret, SecretError};
pub use server::{
    Answer, CleartextPolicy, ServerAuth, ServerPolicy, ServerRequest, ServerSetup, Strength,
};
pub use userlist::{Userlist, UserlistError, UserlistErrorKind};
