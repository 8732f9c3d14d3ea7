//! Who may come in: users of the configuration, of a file, or of a server that is asked.
//!
//! How they prove it is [`crate::auth`]'s. A server is asked on a connection of the gateway's own that no parameter of any
//! client reaches (CVE-2025-12819), and what it says of a password's end counts (CVE-2025-2291). Start at [`Users::find`].

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::BytesMut;
use foldhash::fast::RandomState;
use portcullis_cluster::{Cluster, PickContext};
use portcullis_config::{BuildError, Diagnostics, Located};
use portcullis_net::clock;

use super::open::{self, Credentials};
use super::pools::OpenOptions;
use crate::auth::query::PARAMETERS;
use crate::auth::{AuthError, Credential, Form, Lookup, Mock, Secret, Userlist};
use crate::config::{AuthConfig, AuthQueryConfig};
use crate::encoder;
use crate::message::backend::DataRow;

/// Answers of a server that are remembered at most, unknown users included.
const REMEMBERED: usize = 10_000;

/// The users of a listener, common to all workers.
pub(super) struct Users {
    listed: HashMap<String, Arc<Secret>, RandomState>,
    file: Userlist,
    /// Makes unknown users look like known ones.
    pub(super) mock: Mock,
}

/// What is known of one user.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// A secret of the configuration or the file.
    Secret(Arc<Secret>),
    /// What a server has said.
    Said(Arc<Credential>),
    /// Nothing, for this reason.
    Missing(AuthError),
}

impl Known {
    /// What the user can come in with now.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        match self {
            Self::Secret(secret) => Lookup::Found(secret),
            Self::Said(credential) => credential.at(clock::wall()),
            Self::Missing(error) => Lookup::Missing(*error),
        }
    }

    /// Its secret, for servers.
    pub(super) fn secret(&self) -> Option<Arc<Secret>> {
        match self {
            Self::Secret(secret) => Some(Arc::clone(secret)),
            Self::Said(credential) => credential.secret().cloned().map(Arc::new),
            Self::Missing(_) => None,
        }
    }
}

impl Users {
    /// Reads what the configuration names. Prepares plain passwords for SCRAM, which takes a millisecond or two each.
    pub(super) fn new(config: &AuthConfig, path: &str, key: [u8; 32]) -> Result<Self, BuildError> {
        let mut file = Userlist::default();
        if let Some(name) = &config.userlist {
            file = read_userlist(name)
                .map_err(|reason| BuildError::new(format!("{path}.auth.userlist"), reason))?;
        }
        let mut listed: HashMap<String, Secret, RandomState> = HashMap::default();
        for (name, user) in &config.users {
            if let Some(password) = &user.password {
                let secret = Secret::parse(password.expose().as_bytes()).map_err(|error| {
                    BuildError::new(
                        format!("{path}.auth.users.{name}.password"),
                        error.to_string(),
                    )
                })?;
                listed.insert(name.clone(), secret);
            }
        }
        let form = match listed.values().next() {
            Some(secret) => secret.form(),
            None if config.userlist.is_some() => file.form(),
            None => Form::Scram,
        };
        let iterations = NonZeroU32::MIN.saturating_add(4095);
        let mock = Mock::new(key, form, iterations);
        file.prepare(&mock);
        for (name, secret) in &mut listed {
            secret.prepare(name.as_bytes(), &mock);
        }
        let listed = listed.into_iter();
        Ok(Self {
            listed: listed
                .map(|(name, secret)| (name, Arc::new(secret)))
                .collect(),
            file,
            mock,
        })
    }

    /// What is known of a user without asking anybody.
    pub(super) fn find(&self, name: &str) -> Known {
        if let Some(secret) = self.listed.get(name) {
            return Known::Secret(Arc::clone(secret));
        }
        match self.file.find(name.as_bytes()) {
            Lookup::Found(secret) => Known::Secret(Arc::new(secret.clone())),
            Lookup::Missing(error) => Known::Missing(error),
        }
    }
}

/// Reports what [`Users::new`] would refuse.
pub(super) fn check(config: &AuthConfig, errors: &mut Diagnostics) {
    // One without a name was reported when it was read.
    let named = config.userlist.as_ref().filter(|name| !name.is_empty());
    if let Some(name) = named
        && let Err(reason) = read_userlist(name)
    {
        errors.error(name.span, reason);
    }
    for (name, user) in &config.users {
        if let Some(password) = &user.password
            && let Err(error) = Secret::parse(password.expose().as_bytes())
        {
            errors.error(password.span, format!("user '{name}': {error}"));
        }
    }
}

fn read_userlist(name: &Located<String>) -> Result<Userlist, String> {
    let wrong = |reason: String| format!("{}: {reason}", name.value);
    let text = std::fs::read(Path::new(&name.value))
        .map_err(|error| wrong(format!("cannot read it: {error}")))?;
    Userlist::parse(&text).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        wrong(errors.join("; "))
    })
}

/// What servers have said of users, common to all workers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    answers: Mutex<HashMap<(String, String), Answer, RandomState>>,
}

#[derive(Debug, Clone)]
struct Answer {
    known: Known,
    until: Instant,
}

/// One question to a server.
pub(super) struct Question<'a> {
    pub(super) config: &'a AuthQueryConfig,
    pub(super) cluster: &'a Cluster,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
    pub(super) options: OpenOptions,
    pub(super) worker: usize,
    pub(super) random: u64,
    pub(super) mock: &'a Mock,
}

impl Asked {
    /// What a server says of a user.
    ///
    /// # Errors
    /// The label of what went wrong.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Known, &'static str> {
        let database = question
            .config
            .database
            .as_deref()
            .unwrap_or(question.database);
        let key = (database.to_owned(), question.user.to_owned());
        let now = clock::now();
        if let Some(answer) = self.lock().get(&key).filter(|answer| now < answer.until) {
            return Ok(answer.known.clone());
        }
        let known = query(&question, database).await?;
        let mut answers = self.lock();
        if answers.len() >= REMEMBERED {
            answers.retain(|_, answer| now < answer.until);
        }
        if answers.len() < REMEMBERED
            && let Some(until) = now.checked_add(question.config.ttl.get())
        {
            let known = known.clone();
            answers.insert(key, Answer { known, until });
        }
        Ok(known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Answer, RandomState>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn query(question: &Question<'_>, database: &str) -> Result<Known, &'static str> {
    let cx = PickContext {
        now: clock::now(),
        random: question.random,
        hash: None,
        tried: &[],
        accept: None,
    };
    let picked = question
        .cluster
        .pick(&cx)
        .map_err(portcullis_cluster::PickError::label)?;
    let password = question.config.password.as_ref();
    let secret = password.and_then(|password| Secret::parse(password.expose().as_bytes()).ok());
    let credentials = Credentials {
        user: question.config.user.clone(),
        secret: secret.map(Arc::new),
        keys: None,
    };
    let parameters: Vec<(&[u8], &[u8])> = PARAMETERS
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let opened = open::open(open::Request {
        cluster: question.cluster.shared(),
        endpoint: picked.endpoint().endpoint(),
        database,
        credentials: &credentials,
        options: question.options,
        parameters: &parameters,
        worker: question.worker,
    });
    let mut connection = opened.await.map_err(|_| "auth_query_connect")?;
    let mut messages = BytesMut::new();
    encoder::parse(b"", question.config.query.as_bytes(), &[], &mut messages);
    let bind = encoder::Bind {
        parameters: &[Some(question.user.as_bytes())],
        ..encoder::Bind::default()
    };
    encoder::bind(&bind, &mut messages);
    // Two would be one too many.
    encoder::execute(b"", 2, &mut messages);
    encoder::sync(&mut messages);
    let mut rows: Vec<Result<Credential, &'static str>> = Vec::new();
    let user = question.user.as_bytes();
    let answered = connection
        .send(&messages, |body| {
            if let Ok(row) = DataRow::parse(body) {
                let columns: Vec<Option<&[u8]>> = row.values.iter().collect();
                rows.push(
                    Credential::from_row(user, &columns)
                        .map_err(super::super::auth::query::RowError::label),
                );
            }
        })
        .await;
    connection.goodbye();
    match answered {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err("auth_query_error"),
        Err(_) => return Err("auth_query_lost"),
    }
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => {
            let mut credential = row?;
            credential.prepare(user, question.mock);
            Ok(Known::Said(Arc::new(credential)))
        }
        (None, _) => Ok(Known::Missing(AuthError::UnknownUser)),
        (Some(_), false) => Err("auth_query_rows"),
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::process;

    use portcullis_config::{Source, load};
    use portcullis_filter::ReadContext;

    use super::*;
    use crate::PostgresConfig;

    #[test]
    fn secrets_that_cannot_be_used_are_found_when_they_are_read() {
        let file = |name: &str, text: &str| {
            let path = env::temp_dir().join(format!("users-{}-{name}", process::id()));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = file("good", "\"app\" \"secret\"\n");
        let bad = file("bad", "\"app\" secret\n");
        let rows: [(&str, String, &[&str]); 6] = [
            ("a list", format!("userlist: {good}"), &[]),
            (
                "none",
                format!("userlist: {good}.none"),
                &["cannot read it: No such file"],
            ),
            (
                "a line that is wrong",
                format!("userlist: {bad}"),
                &["line 1: expected a password"],
            ),
            (
                "a password",
                "users: { app: { password: a } }".to_owned(),
                &[],
            ),
            (
                "no verifier",
                "users: { app: { password: 'SCRAM-SHA-256$bogus' } }".to_owned(),
                &["user 'app': the SCRAM verifier is malformed"],
            ),
            (
                "both",
                format!("userlist: {bad}, users: {{ app: {{ password: SCRAM-SHA-256$ }} }}"),
                &["line 1", "user 'app'"],
            ),
        ];
        for (name, auth, expected) in rows {
            let text = format!("cluster: a\nauth: {{ {auth} }}");
            let source = Source::new("test.yaml", text);
            let mut errors = Diagnostics::new(&source);
            let raw = load(&source, &|_| None, &mut errors).unwrap();
            let mut cx = ReadContext {
                diagnostics: &mut errors,
                clusters: &["a".to_owned()],
                path: "listeners.db",
            };
            let config = PostgresConfig::read(&raw, &mut cx);
            let config = config.unwrap_or_else(|| panic!("{name}: {}", errors.render(false)));
            check(&config.auth, &mut errors);
            let found: Vec<String> = errors
                .sorted()
                .iter()
                .map(|it| it.message().clone())
                .collect();
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.contains(expected), "{name}: {found}");
            }
            let built = Users::new(&config.auth, "listeners.db", [0; 32]);
            assert_eq!(built.is_err(), !expected.is_empty(), "{name}");
        }
        for path in [good, bad] {
            fs::remove_file(path).unwrap();
        }
    }
}
