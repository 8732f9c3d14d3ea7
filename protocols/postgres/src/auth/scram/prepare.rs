//! SASLprep (RFC 4013) with PostgreSQL's fallback.
//!
//! A password that is no UTF-8 or has characters that SASLprep prohibits is used byte by byte: the server does not know the
//! client's encoding, so both must do the same with what they cannot read.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// The password as it goes into the salted hash.
pub(super) fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    // Visible ASCII, which most passwords are, is left as it is.
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    let bytes = match prepared {
        // Nothing is left of it: PostgreSQL takes that for prohibited too.
        Some(text) if !text.is_empty() => match text {
            Cow::Borrowed(text) => text.as_bytes().to_vec(),
            Cow::Owned(text) => text.into_bytes(),
        },
        _ => password.to_vec(),
    };
    Zeroizing::new(bytes)
}
