//! Who may come in: users of the configuration, of a file, or of a server that is asked.
//!
//! How they prove it is [`crate::auth`]'s. A server is asked on a connection of the gateway's own that no parameter of any
//! client reaches (CVE-2025-12819), and what it says of a password's end counts (CVE-2025-2291). Start at [`Users::find`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::BytesMut;
use foldhash::fast::RandomState;
use portcullis_cluster::{Cluster, PickContext};
use portcullis_config::BuildError;
use portcullis_net::clock;

use super::open::{self, Credentials};
use super::pools::OpenOptions;
use crate::auth::{self, Proof, Secret};
use crate::config::{AuthQueryConfig, Password, PostgresConfig};
use crate::encoder;
use crate::message::backend::DataRow;

/// Answers of a server that are remembered at most, unknown users included.
const REMEMBERED: usize = 10_000;

/// The users of a listener.
#[derive(Debug, Default)]
pub(super) struct Users {
    listed: HashMap<String, Arc<Secret>, RandomState>,
}

/// What servers have said of users, common to all workers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    answers: Mutex<HashMap<(String, String), Answer, RandomState>>,
}

#[derive(Debug, Clone)]
struct Answer {
    secret: Option<Arc<Secret>>,
    until: Instant,
}

impl Users {
    /// Reads what the configuration names.
    pub(super) fn new(config: &PostgresConfig, path: &str) -> Result<Self, BuildError> {
        let mut listed = HashMap::default();
        if let Some(file) = &config.auth.userlist {
            let text = std::fs::read_to_string(Path::new(file.as_str())).map_err(|error| {
                BuildError::new(format!("{path}.auth.userlist"), format!("{}: {error}", file.as_str()))
            })?;
            let users = auth::userlist::parse(&text).map_err(|error| {
                BuildError::new(format!("{path}.auth.userlist"), format!("{}: {error}", file.as_str()))
            })?;
            for user in users {
                listed.insert(user.name, Arc::new(user.secret));
            }
        }
        for (name, user) in &config.auth.users {
            if let Some(password) = &user.password {
                let secret = secret_of(password).map_err(|error| {
                    BuildError::new(format!("{path}.auth.users.{name}.password"), error.to_string())
                })?;
                listed.insert(name.clone(), Arc::new(secret));
            }
        }
        Ok(Self { listed })
    }

    /// What is known of a user without asking anybody.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Secret>> {
        self.listed.get(name).cloned()
    }
}

fn secret_of(password: &Password) -> Result<Secret, auth::SecretError> {
    Secret::parse(password.expose())
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
}

impl Asked {
    /// What a server says of a user: `Ok(None)` if it does not know it or lets it in no more.
    ///
    /// # Errors
    /// The label of what went wrong.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
    ) -> Result<Option<Arc<Secret>>, &'static str> {
        let database = question.config.database.as_deref().unwrap_or(question.database);
        let key = (database.to_owned(), question.user.to_owned());
        let now = clock::now();
        if let Some(answer) = self.lock().get(&key).filter(|answer| now < answer.until) {
            return Ok(answer.secret.clone());
        }
        let secret = query(&question, database).await?.map(Arc::new);
        let mut answers = self.lock();
        if answers.len() >= REMEMBERED {
            answers.retain(|_, answer| now < answer.until);
        }
        if answers.len() < REMEMBERED
            && let Some(until) = now.checked_add(question.config.ttl.get())
        {
            let secret = secret.clone();
            answers.insert(key, Answer { secret, until });
        }
        Ok(secret)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Answer, RandomState>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn query(question: &Question<'_>, database: &str) -> Result<Option<Secret>, &'static str> {
    let cx = PickContext {
        now: clock::now(),
        random: question.random,
        hash: None,
        tried: &[],
        accept: None,
    };
    let picked = question.cluster.pick(&cx).map_err(|error| error.label())?;
    let password = question.config.password.as_ref();
    let credentials = Credentials {
        user: question.config.user.clone(),
        proof: password.map_or(Proof::None, |password| Proof::password(password.expose())),
    };
    let mut connection = open::open(open::Request {
        cluster: question.cluster.shared(),
        endpoint: picked.endpoint().endpoint(),
        database,
        credentials: &credentials,
        options: question.options,
        parameters: &[],
        worker: question.worker,
    })
    .await
    .map_err(|_| "auth_query_connect")?;
    let mut messages = BytesMut::new();
    // Nobody's settings are here, and no name is looked for but in the catalog.
    encoder::parse(b"", question.config.query.as_bytes(), &[], &mut messages);
    encoder::bind_text(b"", b"", &[question.user.as_bytes()], &mut messages);
    encoder::execute(b"", 2, &mut messages);
    encoder::sync(&mut messages);
    let mut rows: Vec<Vec<Option<Vec<u8>>>> = Vec::new();
    let answered = connection
        .send(&messages, |body| {
            if let Ok(row) = DataRow::parse(body) {
                rows.push(row.values().map(|value| value.map(<[u8]>::to_vec)).collect());
            }
        })
        .await;
    connection.goodbye();
    match answered {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err("auth_query_error"),
        Err(_) => return Err("auth_query_lost"),
    }
    let [row] = &*rows else {
        return Ok(None);
    };
    let columns: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
    Ok(auth::query::secret(question.user, &columns, clock::wall()))
}
