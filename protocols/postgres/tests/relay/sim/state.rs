//! What a server's session remembers, and what statements do to it: as much SQL as the clients of the simulator speak.
//!
//! Start at [`State::run`].

use std::collections::{BTreeMap, BTreeSet};

use portcullis_postgres::message::backend::TransactionStatus;

/// An error: its SQLSTATE and words.
pub type Failure = (&'static str, String);

/// What a statement gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was asked.
    Empty,
    /// Rows of one column, an error behind them perhaps, and what is said when all is done.
    Rows {
        rows: Vec<String>,
        notice: Option<String>,
        fails: Option<Failure>,
    },
    /// Only this is said.
    Done(String),
    /// The client has to send data.
    CopyIn,
    /// This is sent as data.
    CopyOut(String),
}

/// What goes back with a transaction that fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undoable {
    /// What was set.
    pub settings: BTreeMap<String, String>,
    /// Temporary tables.
    pub temporary: BTreeSet<String>,
    /// Channels that are listened to.
    pub listens: BTreeSet<String>,
}

/// A session.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// What RESET goes back to.
    pub defaults: BTreeMap<String, String>,
    pub now: Undoable,
    /// As it was before the transaction.
    pub before: Option<Undoable>,
    /// Settings of this transaction only, as they were before.
    pub local: BTreeMap<String, Option<String>>,
    /// What a function has left behind where no text shows it.
    pub hidden: Option<String>,
    /// Prepared statements by name, of SQL and of the protocol.
    pub statements: BTreeMap<Vec<u8>, String>,
    pub status: TransactionStatus,
}

/// The value of a setting that nobody has set.
const UNSET: &str = "unset";

impl State {
    /// The value of a setting.
    pub fn value(&self, name: &str) -> &str {
        let own = self.now.settings.get(name);
        own.or_else(|| self.defaults.get(name))
            .map_or(UNSET, String::as_str)
    }

    /// A transaction begins, if none has.
    pub fn begin(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.now.clone());
        }
    }

    /// The transaction is over.
    pub fn end(&mut self, keeps: bool) {
        let before = self.before.take();
        if keeps {
            for (name, value) in std::mem::take(&mut self.local) {
                match value {
                    Some(value) => self.now.settings.insert(name, value),
                    None => self.now.settings.remove(&name),
                };
            }
        } else if let Some(before) = before {
            self.now = before;
        }
        self.local.clear();
        self.status = TransactionStatus::Idle;
    }

    /// A statement has failed.
    pub fn fail(&mut self) {
        if self.status == TransactionStatus::Idle {
            return self.end(false);
        }
        if let Some(before) = &self.before {
            self.now.clone_from(before);
        }
        self.local.clear();
        self.status = TransactionStatus::Failed;
    }

    /// Carries out one statement. `alone`: it is not one of several in a text.
    pub fn run(&mut self, sql: &str, alone: bool) -> Result<Outcome, Failure> {
        let sql = sql.trim();
        if sql.is_empty() {
            return Ok(Outcome::Empty);
        }
        let words: Vec<&str> = sql.split_ascii_whitespace().collect();
        if self.status == TransactionStatus::Failed && !matches!(words[..], ["COMMIT" | "ROLLBACK"])
        {
            return Err(("25P02", "current transaction is aborted".into()));
        }
        self.begin();
        match words[..] {
            ["SET", name, "TO", _] | ["SET", "LOCAL", name, "TO", _] | ["RESET", name]
                if !is_parameter(name) =>
            {
                Err(("42601", format!("syntax error: {sql}")))
            }
            ["BEGIN"] => {
                self.status = TransactionStatus::InTransaction;
                done("BEGIN")
            }
            ["COMMIT"] => {
                let keeps = self.status != TransactionStatus::Failed;
                self.end(keeps);
                done(if keeps { "COMMIT" } else { "ROLLBACK" })
            }
            ["ROLLBACK"] => {
                self.end(false);
                done("ROLLBACK")
            }
            ["SET", "LOCAL", name, "TO", value] => {
                if self.status == TransactionStatus::InTransaction {
                    let name = parameter(name);
                    let old = self.now.settings.get(&name).cloned();
                    self.local.entry(name.clone()).or_insert(old);
                    self.now.settings.insert(name, text(value));
                }
                done("SET")
            }
            ["SET", name, "TO", value] => {
                self.set(name, value);
                done("SET")
            }
            ["RESET", "ALL"] => {
                self.now.settings.clear();
                self.local.clear();
                done("RESET")
            }
            ["RESET", name] => {
                self.now.settings.remove(&parameter(name));
                self.local.remove(&parameter(name));
                done("RESET")
            }
            ["SHOW", name] => rows(vec![self.value(name).to_owned()]),
            ["LISTEN", channel] => {
                self.now.listens.insert(channel.into());
                done("LISTEN")
            }
            ["UNLISTEN", "*"] => {
                self.now.listens.clear();
                done("UNLISTEN")
            }
            ["CREATE", "TEMP", "TABLE", name, ..] => {
                if !self.now.temporary.insert(name.into()) {
                    return Err(("42P07", format!("relation \"{name}\" already exists")));
                }
                done("CREATE TABLE")
            }
            ["DISCARD", "ALL"] if alone && self.status == TransactionStatus::Idle => {
                self.statements.retain(|name, _| name.is_empty());
                self.now = Undoable::default();
                self.end(true);
                self.hidden = None;
                done("DISCARD ALL")
            }
            ["DISCARD", "ALL"] => Err(("25001", "not inside a transaction block".into())),
            ["DEALLOCATE", "ALL"] => {
                self.statements.retain(|name, _| name.is_empty());
                done("DEALLOCATE ALL")
            }
            ["DEALLOCATE", name] => {
                let gone = self.statements.remove(name.as_bytes());
                gone.ok_or_else(|| unknown_statement(name.as_bytes()))?;
                done("DEALLOCATE")
            }
            ["PREPARE", name, "AS", ..] => {
                let (_, text) = sql.split_once(" AS ").unwrap_or_default();
                self.prepare(name.as_bytes(), text)?;
                done("PREPARE")
            }
            ["EXECUTE", name] => {
                let found = self.statements.get(name.as_bytes()).cloned();
                let found = found.ok_or_else(|| unknown_statement(name.as_bytes()))?;
                if found.is_empty() {
                    return Err(("42601", "nothing to execute".into()));
                }
                self.run(&found, alone)
            }
            ["COPY", _, "FROM", "STDIN"] => Ok(Outcome::CopyIn),
            ["COPY", name, "TO", "STDOUT"] => Ok(Outcome::CopyOut(name.into())),
            ["SELECT", ..] => self.select(sql),
            _ => Err(("42601", format!("syntax error: {sql}"))),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let name = parameter(name);
        self.local.remove(&name);
        self.now.settings.insert(name, text(value));
    }

    fn select(&mut self, sql: &str) -> Result<Outcome, Failure> {
        let words: Vec<&str> = sql.split('\'').collect();
        match words[..] {
            [
                "SELECT pg_catalog.set_config(E",
                name,
                ",E",
                value,
                ",false)",
            ] => {
                self.set(name, value);
                rows(vec![value.to_owned()])
            }
            ["SELECT spoil(", value, ")"] => {
                self.hidden = Some(value.to_owned());
                rows(vec![value.to_owned()])
            }
            ["SELECT ", tag, from] => {
                let mut outcome = vec![tag.to_owned()];
                let (mut notice, mut fails) = (None, None);
                match from.trim_start_matches(" FROM ") {
                    "" => {}
                    "three" => outcome = vec![tag.to_owned(); 3],
                    "large" => outcome = vec![tag.repeat(40)],
                    "noisy" => notice = Some(tag.to_owned()),
                    "failing" => fails = Some(("22012", format!("division by zero: {tag}"))),
                    table if self.now.temporary.contains(table) => {}
                    table => return Err(("42P01", format!("no relation {table}: {tag}"))),
                }
                Ok(Outcome::Rows {
                    rows: outcome,
                    notice,
                    fails,
                })
            }
            _ => Err(("42601", format!("syntax error: {sql}"))),
        }
    }

    /// Makes a prepared statement.
    pub fn prepare(&mut self, name: &[u8], sql: &str) -> Result<(), Failure> {
        if self.statements.contains_key(name) {
            let name = name.escape_ascii();
            return Err((
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.statements.insert(name.to_vec(), sql.to_owned());
        Ok(())
    }

    /// What another client must not find.
    pub fn traces(&self) -> String {
        let named = self.statements.keys();
        let strange: Vec<_> = named
            .filter(|name| !name.is_empty() && !name.starts_with(b"portcullis_"))
            .map(|name| name.escape_ascii().to_string())
            .collect();
        let mut traces = String::new();
        for (what, is) in [
            ("a transaction", self.status != TransactionStatus::Idle),
            ("an implicit transaction", self.before.is_some()),
            ("temporary tables", !self.now.temporary.is_empty()),
            ("channels", !self.now.listens.is_empty()),
            ("hidden state", self.hidden.is_some()),
            ("statements", !strange.is_empty()),
        ] {
            if is {
                traces += what;
                traces += " ";
            }
        }
        traces
    }
}

/// A parameter is the same in any case, and in quotes.
fn parameter(name: &str) -> String {
    name.trim_matches('"').to_ascii_lowercase()
}

fn is_parameter(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    parameter(name).bytes().all(is_letter)
}

/// There is none of this name.
pub fn unknown_statement(name: &[u8]) -> Failure {
    let name = name.escape_ascii();
    (
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}

/// Whether a statement has rows.
pub fn has_rows(sql: &str) -> bool {
    ["SELECT", "SHOW", "EXECUTE"]
        .iter()
        .any(|verb| sql.trim().starts_with(verb))
}

fn text(value: &str) -> String {
    value.trim_matches('\'').to_owned()
}

fn done(tag: &str) -> Result<Outcome, Failure> {
    Ok(Outcome::Done(tag.to_owned()))
}

fn rows(rows: Vec<String>) -> Result<Outcome, Failure> {
    Ok(Outcome::Rows {
        rows,
        notice: None,
        fails: None,
    })
}
