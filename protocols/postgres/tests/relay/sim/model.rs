//! A server's side of the protocol, as PostgreSQL keeps it, over [`State`].
//!
//! It takes whole messages, holds back what nobody has asked it to flush, skips to the Sync after an error, reads COPY data, and
//! reports parameters before ReadyForQuery. As a twin it also refuses what the gateway's filters refuse. Start at
//! [`Server::take`].

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use bytes::{Buf as _, BytesMut};
use portcullis_postgres::encoder;
use portcullis_postgres::frame::{Tag, backend};
use portcullis_postgres::message::Format;
use portcullis_postgres::message::backend::{Field, TransactionStatus};
use portcullis_postgres::message::frontend::{Message, Target};
use portcullis_postgres::sqlstate::SqlState;

use super::state::{Failure, Outcome, State, has_rows, unknown_statement};

/// What filters refuse.
pub const DENIED: &str = "denied";

/// Settings that are reported, with the spelling that is used for them.
const REPORTED: [&str; 2] = ["timezone", "application_name"];

/// How often texts were run, and which of those runs a cancel request has hit.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    counts: BTreeMap<String, usize>,
    hit: HashSet<(String, usize)>,
}

/// Of all servers but twins.
pub type Cancelled = Rc<RefCell<Runs>>;

#[derive(Debug, Clone)]
struct Portal {
    sql: String,
    /// What is left of its rows, once it has begun.
    left: Option<Vec<String>>,
}

/// COPY data is read.
#[derive(Debug)]
struct Copy {
    /// What is left of the text, in the simple protocol.
    rest: Option<Vec<String>>,
    messages: usize,
}

/// One session of a server.
#[derive(Debug, Default)]
pub struct Server {
    pub input: BytesMut,
    pub state: State,
    pub skipping: bool,
    extended: bool,
    copy: Option<Copy>,
    portals: BTreeMap<Vec<u8>, Portal>,
    reported: BTreeMap<String, String>,
    held: BytesMut,
    /// What is on its way.
    pub output: BytesMut,
    pub dead: bool,
    /// A cancel request has come.
    pub cancel: bool,
    cancelled: Cancelled,
    /// Of a twin: how often it has run what.
    counts: BTreeMap<String, usize>,
    /// Of a client: its private one.
    pub is_twin: bool,
    /// Does not look whether a transaction has failed when a statement is prepared.
    pub lenient: bool,
}

impl Server {
    /// Whether nothing was asked that it has not answered.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty() && self.held.is_empty() && self.copy.is_none() && !self.skipping
    }

    /// Whether it reads COPY data.
    pub fn copies(&self) -> bool {
        self.copy.is_some()
    }

    /// What it last reported.
    pub fn reported(&self) -> &BTreeMap<String, String> {
        &self.reported
    }

    /// A session that has begun: what is reported then is known to whoever has opened it.
    pub fn new(state: State, cancelled: Cancelled) -> Self {
        let value = |name: &str| (name.to_owned(), state.value(name).to_owned());
        Self {
            reported: REPORTED.into_iter().map(value).collect(),
            state,
            cancelled,
            ..Self::default()
        }
    }

    /// Takes the whole messages of its input. A twin holds nothing back.
    pub fn take(&mut self) {
        while !self.dead {
            let Some(head) = self.input.first_chunk::<5>().copied() else {
                break;
            };
            let [tag, length @ ..] = head;
            let len = u32::from_be_bytes(length) as usize + 1;
            if self.input.len() < len {
                break;
            }
            let message = self.input.split_to(len);
            self.on_message(Tag(tag), &message[5..]);
            if self.is_twin {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let held = self.held.split();
        self.output.extend_from_slice(&held);
    }

    fn on_message(&mut self, tag: Tag, body: &[u8]) {
        if self.copy.is_none() && matches!(tag.0, b'd' | b'c' | b'f') {
            // What is left of a COPY that has ended.
            return;
        }
        let Ok(message) = Message::parse(tag, body) else {
            self.extended = !matches!(tag.0, b'Q' | b'F' | b'S');
            if !self.skipping {
                self.fail(("08P01", "invalid message format".into()));
            }
            return;
        };
        if self.copy.is_some() {
            return self.on_copy(&message);
        }
        match message {
            Message::Sync => self.skipping = false,
            Message::Terminate => self.dead = true,
            _ if self.skipping => return,
            _ => {}
        }
        self.extended = !matches!(
            message,
            Message::Query(_) | Message::FunctionCall(_) | Message::Sync
        );
        let answered = match message {
            Message::Query(query) => {
                let text = String::from_utf8_lossy(query.query).into_owned();
                let statements = text.split(';').map(str::to_owned).collect::<Vec<_>>();
                self.on_query(&text, statements)
            }
            Message::Parse(parse) => {
                self.on_parse(parse.statement, &String::from_utf8_lossy(parse.query))
            }
            Message::Bind(bind) => self.on_bind(bind.portal, bind.statement),
            Message::Describe(describe) => self.on_describe(describe.target, describe.name),
            Message::Execute(execute) => self.on_execute(execute.portal, execute.max_rows),
            Message::Close(close) => {
                match close.target {
                    Target::Statement => drop(self.state.statements.remove(close.name)),
                    Target::Portal => drop(self.portals.remove(close.name)),
                }
                encoder::close_complete(&mut self.held);
                Ok(())
            }
            Message::FunctionCall(call) => self.on_call(call.function),
            Message::Sync => {
                self.ready();
                Ok(())
            }
            Message::Flush => {
                self.flush();
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(failure) = answered {
            self.fail(failure);
        }
    }

    fn fail(&mut self, (code, text): Failure) {
        self.say_error("ERROR", code, &text);
        self.state.fail();
        self.copy = None;
        if self.extended {
            self.skipping = true;
            self.flush();
        } else {
            self.ready();
        }
    }

    fn say_error(&mut self, severity: &str, code: &str, text: &str) {
        let fields = [
            (b'S', severity.as_bytes()),
            (b'V', severity.as_bytes()),
            (b'C', code.as_bytes()),
            (b'M', text.as_bytes()),
        ];
        encoder::error_response(fields, &mut self.held);
    }

    /// Ends what was begun, and says so.
    fn ready(&mut self) {
        if self.state.status == TransactionStatus::Idle {
            self.state.end(true);
            self.portals.clear();
        }
        for name in REPORTED {
            let value = self.state.value(name).to_owned();
            if self.reported.get(name) != Some(&value) {
                encoder::parameter_status(name.as_bytes(), value.as_bytes(), &mut self.held);
                self.reported.insert(name.to_owned(), value);
            }
        }
        encoder::ready_for_query(self.state.status, &mut self.held);
        self.flush();
    }

    fn on_query(&mut self, text: &str, statements: Vec<String>) -> Result<(), Failure> {
        let named = text.strip_prefix("EXECUTE ").map(str::as_bytes);
        let named = named.and_then(|name| self.state.statements.get(name));
        let executed = named.map_or(text, String::as_str);
        if self.is_twin && executed.contains(DENIED) {
            return Err(("42501", "denied".into()));
        }
        self.state.statements.remove(&b""[..]);
        if statements.iter().all(|one| one.trim().is_empty()) {
            encoder::empty_query_response(&mut self.held);
            self.ready();
            return Ok(());
        }
        let alone = statements.len() == 1;
        self.go_on(statements, alone)
    }

    /// Carries out what is left of a text.
    fn go_on(&mut self, mut statements: Vec<String>, alone: bool) -> Result<(), Failure> {
        while !statements.is_empty() {
            let sql = statements.remove(0);
            match self.run(&sql, alone)? {
                Outcome::Empty => {}
                Outcome::CopyIn => {
                    self.begin_copy(Some(statements));
                    return Ok(());
                }
                Outcome::Rows {
                    rows,
                    notice,
                    fails,
                } => {
                    describe(&mut self.held);
                    self.say_rows(&rows, notice);
                    fails.map_or(Ok(()), Err)?;
                    let tag = format!("SELECT {}", rows.len());
                    encoder::command_complete(tag.as_bytes(), &mut self.held);
                }
                Outcome::Done(tag) => self.say_done(&tag),
                Outcome::CopyOut(data) => self.copy_out(&data),
            }
        }
        self.ready();
        Ok(())
    }

    fn run(&mut self, sql: &str, alone: bool) -> Result<Outcome, Failure> {
        if sql.contains("'c") && self.is_hit(sql) {
            return Err(("57014", "canceling statement due to user request".into()));
        }
        self.state.run(sql, alone)
    }

    /// Whether a cancel request hits this run.
    fn is_hit(&mut self, sql: &str) -> bool {
        let mut runs = self.cancelled.borrow_mut();
        let counts = if self.is_twin {
            &mut self.counts
        } else {
            &mut runs.counts
        };
        let count = counts.entry(sql.to_owned()).or_default();
        *count += 1;
        let run = (sql.to_owned(), *count);
        if std::mem::take(&mut self.cancel) {
            runs.hit.insert(run.clone());
        }
        runs.hit.contains(&run)
    }

    fn say_rows(&mut self, rows: &[String], notice: Option<String>) {
        if let Some(notice) = notice {
            let fields = [(b'S', &b"NOTICE"[..]), (b'M', notice.as_bytes())];
            encoder::notice_response(fields, &mut self.held);
        }
        for row in rows {
            encoder::data_row(&[Some(row.as_bytes())], &mut self.held);
        }
    }

    fn say_done(&mut self, tag: &str) {
        encoder::command_complete(tag.as_bytes(), &mut self.held);
        if tag == "COMMIT" || tag == "ROLLBACK" || tag == "DISCARD ALL" {
            self.portals.clear();
        }
    }

    fn copy_out(&mut self, data: &str) {
        encoder::copy_out_response(0, &[Format::TEXT], &mut self.held);
        for _ in 0..3 {
            encoder::copy_data(data.as_bytes(), &mut self.held);
        }
        encoder::copy_done(&mut self.held);
        encoder::command_complete(b"COPY 3", &mut self.held);
    }

    fn begin_copy(&mut self, rest: Option<Vec<String>>) {
        encoder::copy_in_response(0, &[Format::TEXT], &mut self.held);
        self.copy = Some(Copy { rest, messages: 0 });
        self.flush();
    }

    fn on_copy(&mut self, message: &Message<'_>) {
        let Some(copy) = &mut self.copy else { return };
        match message {
            Message::CopyData(data) if data.data.contains(&b'!') => {
                self.fail(("22P04", "bad data".into()));
            }
            Message::CopyData(_) => copy.messages += 1,
            Message::CopyFail(fail) => {
                let words = format!("COPY failed: {}", fail.message.escape_ascii());
                self.fail(("57014", words));
            }
            Message::CopyDone => {
                let tag = format!("COPY {}", copy.messages);
                let rest = copy.rest.take();
                self.copy = None;
                encoder::command_complete(tag.as_bytes(), &mut self.held);
                if let Some(rest) = rest
                    && let Err(failure) = self.go_on(rest, false)
                {
                    self.fail(failure);
                }
            }
            Message::Sync | Message::Flush => {}
            _ => {
                self.say_error("ERROR", "08P01", "unexpected message during COPY");
                self.say_error("FATAL", "08P01", "synchronization was lost");
                self.flush();
                self.dead = true;
            }
        }
    }

    fn aborted(&self, sql: &str) -> Result<(), Failure> {
        let ends = matches!(sql.trim(), "" | "COMMIT" | "ROLLBACK");
        if self.state.status == TransactionStatus::Failed && !ends && !self.lenient {
            return Err(("25P02", "current transaction is aborted".into()));
        }
        Ok(())
    }

    fn on_parse(&mut self, name: &[u8], sql: &str) -> Result<(), Failure> {
        if name.is_empty() {
            self.state.statements.remove(&b""[..]);
        }
        self.state.begin();
        if sql.starts_with("SELEC ") {
            return Err(("42601", format!("syntax error: {sql}")));
        }
        self.aborted(sql)?;
        self.state.prepare(name, sql)?;
        encoder::parse_complete(&mut self.held);
        Ok(())
    }

    fn on_bind(&mut self, portal: &[u8], statement: &[u8]) -> Result<(), Failure> {
        self.state.begin();
        let sql = self.state.statements.get(statement).cloned();
        if self.is_twin && sql.as_ref().is_some_and(|sql| sql.contains(DENIED)) {
            return Err(("42501", "denied".into()));
        }
        let sql = sql.ok_or_else(|| unknown_statement(statement))?;
        self.aborted(&sql)?;
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return Err(("42P03", "cursor already exists".into()));
        }
        self.portals
            .insert(portal.to_vec(), Portal { sql, left: None });
        encoder::bind_complete(&mut self.held);
        Ok(())
    }

    fn on_describe(&mut self, target: Target, name: &[u8]) -> Result<(), Failure> {
        self.state.begin();
        let sql = match target {
            Target::Statement => {
                let sql = self.state.statements.get(name).cloned();
                sql.ok_or_else(|| unknown_statement(name))?
            }
            Target::Portal => {
                let portal = self.portals.get(name).map(|portal| portal.sql.clone());
                portal.ok_or_else(|| unknown_portal(name))?
            }
        };
        // A server looks at the rows alone; the gateway may have to prepare it again first.
        self.aborted(&sql)?;
        if target == Target::Statement {
            encoder::parameter_description(&[], &mut self.held);
        }
        if has_rows(&sql) {
            describe(&mut self.held);
        } else {
            encoder::no_data(&mut self.held);
        }
        Ok(())
    }

    fn on_execute(&mut self, name: &[u8], most: i32) -> Result<(), Failure> {
        let portal = self.portals.get(name).cloned();
        let portal = portal.ok_or_else(|| unknown_portal(name))?;
        let rows = match portal.left {
            Some(rows) => {
                self.aborted("x")?;
                rows
            }
            None => match self.run(&portal.sql, true)? {
                Outcome::Empty => {
                    encoder::empty_query_response(&mut self.held);
                    return Ok(());
                }
                Outcome::Done(tag) => {
                    self.say_done(&tag);
                    return Ok(());
                }
                Outcome::CopyIn => {
                    self.begin_copy(None);
                    return Ok(());
                }
                Outcome::CopyOut(data) => {
                    self.copy_out(&data);
                    return Ok(());
                }
                Outcome::Rows {
                    rows,
                    notice,
                    fails,
                } => {
                    self.say_rows(&[], notice);
                    if let Some(failure) = fails {
                        self.say_rows(&rows, None);
                        return Err(failure);
                    }
                    rows
                }
            },
        };
        let count = match usize::try_from(most) {
            Ok(most) if most > 0 && most <= rows.len() => most,
            _ => rows.len(),
        };
        self.say_rows(&rows[..count], None);
        if most > 0 && count == most as usize {
            encoder::portal_suspended(&mut self.held);
        } else {
            let tag = format!("SELECT {count}");
            encoder::command_complete(tag.as_bytes(), &mut self.held);
        }
        if let Some(portal) = self.portals.get_mut(name) {
            portal.left = Some(rows[count..].to_vec());
        }
        Ok(())
    }

    fn on_call(&mut self, function: u32) -> Result<(), Failure> {
        self.aborted("x")?;
        let value = format!("called {function}");
        encoder::function_call_response(Some(value.as_bytes()), &mut self.held);
        self.ready();
        Ok(())
    }

    /// What was under way is lost, and what comes up to the next Sync if a segment `is_open`.
    pub fn lose(&mut self, state: State, is_open: bool) {
        self.state = state;
        self.state.end(false);
        self.portals.clear();
        self.skipping = is_open;
        self.counts = self.cancelled.borrow().counts.clone();
    }

    /// Somebody has notified a channel: said as soon as nothing else is going on.
    pub fn notify(&mut self) {
        let rests = self.is_idle() && self.state.status == TransactionStatus::Idle;
        if rests && !self.state.now.listens.is_empty() {
            encoder::notification_response(7, b"news", b"", &mut self.output);
        }
    }
}

fn unknown_portal(name: &[u8]) -> Failure {
    let name = name.escape_ascii();
    ("34000", format!("portal \"{name}\" does not exist"))
}

fn describe(dst: &mut BytesMut) {
    let field = Field {
        name: b"v",
        table: 0,
        column: 0,
        type_id: 25,
        type_size: -1,
        type_modifier: -1,
        format: Format::TEXT,
    };
    encoder::row_description(&[field], dst);
}

/// Takes the first whole message off, with its type.
pub fn take_message(bytes: &mut BytesMut) -> Option<(Tag, Vec<u8>)> {
    let [tag, length @ ..] = *bytes.first_chunk::<5>()?;
    let len = u32::from_be_bytes(length) as usize + 1;
    assert!(len >= 5, "no message: {}", bytes.escape_ascii());
    if bytes.len() < len {
        return None;
    }
    let message = bytes[..len].to_vec();
    bytes.advance(len);
    Some((Tag(tag), message))
}

/// A message for people who read failures.
pub fn show(message: &[u8]) -> String {
    let shown = message.escape_ascii().to_string();
    shown.chars().take(160).collect()
}

/// Whether this is a ReadyForQuery.
pub fn is_ready(message: &[u8]) -> bool {
    message.first() == Some(&backend::READY_FOR_QUERY.0)
}

/// The SQLSTATE of an ErrorResponse.
pub fn state_of(message: &[u8]) -> Option<SqlState> {
    use portcullis_postgres::message::backend::ErrorFields;
    ErrorFields::parse(message.get(5..)?).ok()?.sqlstate()
}
