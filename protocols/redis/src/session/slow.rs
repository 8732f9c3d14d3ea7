//! The slow log of a listener, common to its workers, and the page that shows it.
//!
//! A lock is taken for commands that were slow, and for nothing else. Start at [`Slow::note`].

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use portcullis_filter::{Connection, SharedStore};
use portcullis_net::clock;
use portcullis_proxy::{AdminAnswer, of_listeners};
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::cell::Flight;
use crate::command::handling::{Handling, Pin};
use crate::machine::{Call, Client, Finished};
use crate::slow_log::{Noted, SlowCommand, SlowLog, SlowLogConfig};

/// What all workers have noted.
#[derive(Debug, Default)]
pub(super) struct Noticed(Mutex<SlowLog>);

/// One worker's way to it.
pub(super) struct Slow {
    noticed: Arc<Noticed>,
    config: Option<SlowLogConfig>,
}

impl Slow {
    pub(super) const fn new(noticed: Arc<Noticed>, config: Option<SlowLogConfig>) -> Self {
        Self { noticed, config }
    }

    /// What has to be known of a command if it turns out to be slow. Those that wait for something are not.
    #[inline]
    pub(super) fn note(
        &self,
        call: &Call<'_>,
        client: &Client<Flight>,
        connection: &Connection,
    ) -> Option<Noted> {
        let config = self.config.as_ref()?;
        note(config, call, client, connection)
    }

    /// A command is over.
    #[inline]
    pub(super) fn on_command(&self, noted: Option<Noted>, took: Duration, finished: &Finished) {
        let (Some(config), Some(noted)) = (&self.config, noted) else {
            return;
        };
        if took < config.threshold.get() {
            return;
        }
        let command = SlowCommand {
            id: 0,
            at: clock::wall(),
            took,
            noted,
            error: finished.error.map(crate::machine::ErrorPrefix::label),
        };
        let log = &self.noticed.0;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.record(command, config.entries);
    }
}

#[cold]
fn note(
    config: &SlowLogConfig,
    call: &Call<'_>,
    client: &Client<Flight>,
    connection: &Connection,
) -> Option<Noted> {
    let waits = Pin::Blocking;
    if call.id.handling() == Handling::Pin(waits) {
        return None;
    }
    let mut found = SmallVec::new();
    let key = match call.keys(&call.command, &mut found) {
        Ok(()) => found.first(),
        Err(_) => None,
    };
    let key = key.and_then(|index| call.command.argument(*index as usize));
    Some(Noted {
        command: call.name().into(),
        key: key.and_then(|key| config.keys.text(key)),
        client: connection.id,
        address: connection.client_ip(),
        user: Arc::clone(client.user_name()),
        database: client.database(),
    })
}

/// The page of slow commands, the latest first.
pub(super) fn page(shared: &SharedStore, is_json: bool) -> AdminAnswer {
    let logs = of_listeners::<Noticed>(shared).into_iter();
    if is_json {
        let logs = logs.map(|(listener, noticed)| {
            let log = noticed.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entries: Vec<Value> = log.entries().map(entry).collect();
            json!({ "of": listener, "total": log.total(), "commands": entries })
        });
        return AdminAnswer::Json(json!({ "slow": logs.collect::<Vec<_>>() }));
    }
    let mut text = String::new();
    for (listener, noticed) in logs {
        let log = noticed.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = writeln!(text, "# {listener}: {} slow commands", log.total());
        for it in log.entries() {
            let _ = writeln!(
                text,
                "{:>8} {:>13.3} {:>9}us {} {} client={} {} user={} db={}{}",
                it.id,
                seconds(it.at),
                it.took.as_micros(),
                it.noted.command,
                it.noted.key.as_deref().unwrap_or("-"),
                it.noted.client,
                it.noted.address,
                it.noted.user.escape_ascii(),
                it.noted.database,
                it.error
                    .map_or_else(String::new, |error| format!(" {error}")),
            );
        }
    }
    AdminAnswer::Text(text)
}

fn entry(it: &SlowCommand) -> Value {
    json!({
        "id": it.id,
        "at": seconds(it.at),
        "micros": u64::try_from(it.took.as_micros()).unwrap_or(u64::MAX),
        "command": it.noted.command,
        "key": it.noted.key,
        "client": it.noted.client,
        "address": it.noted.address.to_string(),
        "user": it.noted.user.escape_ascii().to_string(),
        "database": it.noted.database,
        "error": it.error,
    })
}

/// Since 1970.
fn seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
