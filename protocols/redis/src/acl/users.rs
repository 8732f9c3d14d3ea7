//! Users by name.
//!
//! Built with the configuration and never changed: a reload builds another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::User;
use super::password::PasswordHash;

/// What a server says of a wrong name or password, and of a user that is off: it does not say which.
pub const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// What a server says of a command before authentication.
pub const NO_AUTHENTICATION: &str = "NOAUTH Authentication required.";

/// All users. Clients that have not said who they are are `default`.
#[derive(Debug, Clone)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    default: Arc<[u8]>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            default: Self::DEFAULT.into(),
        }
    }
}

impl Users {
    /// The name of the user that everybody begins as.
    pub const DEFAULT: &'static [u8] = b"default";

    /// That name, to be shared by all who are called so.
    #[must_use]
    pub fn default_name(&self) -> Arc<[u8]> {
        Arc::clone(&self.default)
    }

    /// Takes a user in. Gives back one that had the name before.
    pub fn insert(&mut self, name: &[u8], user: User) -> Option<Arc<User>> {
        self.by_name.insert(name.into(), Arc::new(user))
    }

    /// The user of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// The user that comes in with this name and password. `None` is answered with [`WRONG_PASSWORD`], and takes no less
    /// time for a name that there is not.
    #[must_use]
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let Some(user) = self.find(name) else {
            std::hint::black_box(PasswordHash::of(password));
            return None;
        };
        user.accepts(password).then_some(user)
    }

    /// The user that a client is before it says who it is. `None` if it must say so first.
    #[must_use]
    pub fn at_first(&self) -> Option<&Arc<User>> {
        self.find(Self::DEFAULT)
            .filter(|user| user.is_enabled() && user.needs_no_password())
    }
}
