//! Who may come in, in Redis's own words: a password, or users with rules.

use std::collections::BTreeMap;

use portcullis_config::{Diagnostics, Secret, Span};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::acl::{User, Users};

/// Who may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// The password of the user `default`, as a server's `requirepass`. Without it and without `users` everybody may come
    /// in.
    pub password: Option<Secret>,
    /// Whether scripts and functions are run for users whose rules do not allow everything. Default `refused`: a server would
    /// hold each command of a script to the user's rules, and the gateway cannot.
    pub scripts: Scripts,
    /// Users by name. Where there are any, `default` is off unless it is one of them or has a `password`.
    pub users: BTreeMap<String, UserConfig>,
}

/// What becomes of scripts of users whose rules do not allow everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scripts {
    /// They are refused.
    #[default]
    Refused,
    /// They are run where the user's rules name the command (`+eval`, `+@scripting`): what the script does, with which keys, is
    /// between its authors and the server.
    Trusted,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The password. Default: what `rules` say, such as a hash.
    pub password: Option<Secret>,
    /// What the user may do, as `ACL SETUSER` has it: `+@all -@dangerous ~app:* &*`. Default `+@all ~* &*`. The user is on
    /// unless they say `off`.
    pub rules: Option<String>,
}

impl UserConfig {
    fn user(&self) -> Result<User, String> {
        let mut user = User::new();
        let rules = self.rules.as_deref().unwrap_or("+@all ~* &*");
        user.apply("on").map_err(|error| error.to_string())?;
        user.apply(rules).map_err(|error| error.to_string())?;
        if let Some(password) = &self.password {
            user.add(password.expose().as_bytes());
        }
        Ok(user)
    }
}

impl AuthConfig {
    pub(super) fn check(&self, span: Span, diagnostics: &mut Diagnostics) {
        for (name, user) in &self.users {
            if let Err(error) = user.user() {
                diagnostics
                    .error(
                        span,
                        format!("the rules of user '{name}' are wrong: {error}"),
                    )
                    .expected("rules as of ACL SETUSER, such as `+@all -@dangerous ~app:* &*`");
            }
        }
        if self.password.is_some() && self.users.contains_key("default") {
            diagnostics
                .error(
                    span,
                    "`password` is that of the user `default`, who is among `users`",
                )
                .help("write the password there");
        }
    }

    /// The users, ready to be asked.
    #[must_use]
    pub fn users(&self) -> Users {
        let mut users = Users::default();
        for (name, user) in &self.users {
            // Rules were checked when they were read.
            if let Ok(user) = user.user() {
                users.insert(name.as_bytes(), user);
            }
        }
        let mut default = User::unrestricted();
        match &self.password {
            None if self.users.is_empty() => {}
            None => return users,
            Some(password) => default.add(password.expose().as_bytes()),
        }
        users.insert(Users::DEFAULT, default);
        users
    }
}
