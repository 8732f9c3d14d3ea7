//! Passwords as Redis keeps them: their SHA-256, without salt, so that rules can be taken over from a server.
//!
//! Long random passwords are what makes this safe; it is no way to keep what people think up.

use std::fmt;

use aws_lc_rs::{constant_time, digest};

const BYTES: usize = 32;

/// The hash of a password. Never printed, and compared in constant time only.
#[derive(Clone)]
pub(super) struct PasswordHash([u8; BYTES]);

impl PasswordHash {
    pub(super) fn of(password: &[u8]) -> Self {
        let mut bytes = [0; BYTES];
        let hash = digest::digest(&digest::SHA256, password);
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The hash that is written as 64 hexadecimal digits in lower case.
    pub(super) fn from_hex(text: &[u8]) -> Option<Self> {
        let (pairs, []) = text.as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != BYTES {
            return None;
        }
        let mut bytes = [0; BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        Some(Self(bytes))
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}
