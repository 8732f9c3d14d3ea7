//! The few primitives that all of this stands on, over one provider.
//!
//! No randomness is made here: it comes in. Every comparison of something secret goes through `same`.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a SHA-256 hash, and so of every key in SCRAM-SHA-256.
pub const KEY_BYTES: usize = 32;

/// A key of SCRAM-SHA-256. Never printed, compared in constant time, and wiped when it is dropped.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// This key and another, bit by bit exclusive.
    pub(super) fn xor(&self, other: &Self) -> Self {
        let mut bytes = self.0;
        for (byte, with) in bytes.iter_mut().zip(&other.0) {
            *byte ^= with;
        }
        Self(bytes)
    }

    /// The hash of this key.
    pub(super) fn hashed(&self) -> Self {
        Self(sha256(&[&self.0]))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// Whether both are the same, in a time that depends on their lengths alone.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// SHA-256 of the parts, one behind the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    sized(context.finish().as_ref())
}

/// HMAC-SHA-256 of the parts, one behind the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    Key(sized(context.sign().as_ref()))
}

/// `Hi` of RFC 5802 section 2.2, which is PBKDF2 of one block.
pub(super) fn salted_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Key {
    let mut bytes = [0; KEY_BYTES];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        salt,
        password,
        &mut bytes,
    );
    Key(bytes)
}

/// MD5 of the parts, one behind the other, in lower-case hexadecimal.
pub(super) fn md5_hex(parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = Md5::new();
    for part in parts {
        context.update(part);
    }
    let mut hex = Zeroizing::new([0; 32]);
    for (pair, byte) in hex.chunks_exact_mut(2).zip(context.finalize()) {
        for (digit, value) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if value < 10 {
                b'0' + value
            } else {
                b'a' - 10 + value
            };
        }
    }
    hex
}

pub(super) fn encode64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of padded base64 in its one canonical form (RFC 4648 section 4); `None` of anything else.
pub(super) fn decode64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The key that this base64 is.
pub(super) fn decode_key(text: &[u8]) -> Option<Key> {
    let bytes = Zeroizing::new(decode64(text)?);
    bytes.as_slice().try_into().ok().map(Key)
}

/// A hash of known size. Another size cannot be; it becomes zeros, which nothing equals by chance.
fn sized(hash: &[u8]) -> [u8; KEY_BYTES] {
    debug_assert_eq!(hash.len(), KEY_BYTES, "the hash is SHA-256");
    hash.try_into().unwrap_or([0; KEY_BYTES])
}
