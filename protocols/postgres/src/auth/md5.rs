//! PostgreSQL's `md5` method: `md5(md5(password, user), salt)`.
//!
//! Kept because servers and drivers of its time are still about. It proves little: who reads the stored hash can log in with
//! it. Start at [`Md5Hash`].

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use super::crypto::{md5_hex, same};

/// The prefix of both the stored hash and the answer.
const PREFIX: &[u8] = b"md5";

/// What PostgreSQL keeps of a password for `md5`: 32 hexadecimal digits. As good as the password; wiped when dropped.
#[derive(Clone)]
pub struct Md5Hash([u8; 32]);

impl Md5Hash {
    /// The hash of a password and its user.
    #[must_use]
    pub fn derive(password: &[u8], user: &[u8]) -> Self {
        Self::from_hex(&md5_hex(&[password, user]))
    }

    /// Reads `md5` and 32 digits of lower-case hexadecimal.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: &[u8; 32] = text.strip_prefix(PREFIX)?.try_into().ok()?;
        let is_hex = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(is_hex).then(|| Self::from_hex(digits))
    }

    pub(super) fn from_hex(digits: &[u8; 32]) -> Self {
        Self(*digits)
    }

    /// The answer to AuthenticationMD5Password with this salt, without the NUL that ends it in the message.
    #[must_use]
    pub fn answer(&self, salt: [u8; 4]) -> Zeroizing<[u8; 35]> {
        let digest = md5_hex(&[&self.0, &salt]);
        let mut answer = Zeroizing::new([0; 35]);
        for (to, from) in answer.iter_mut().zip(PREFIX.iter().chain(digest.iter())) {
            *to = *from;
        }
        answer
    }

    /// Whether this is the answer to that salt. Constant time.
    #[must_use]
    pub fn is_answered(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        same(&*self.answer(salt), answer)
    }
}

impl PartialEq for Md5Hash {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Md5Hash {}

impl Drop for Md5Hash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Md5Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Md5Hash(..)")
    }
}
