//! What a client says: batches of messages, most of which make sense.
//!
//! Every value carries the client's number, so that a stray one shows whose it is. Names of SQL's own statements differ from those of
//! the protocol, which the gateway keeps apart and a server does not. Start at [`Script::batch`].

use bytes::BytesMut;
use portcullis_postgres::encoder::{self, Bind, FunctionCall};
use portcullis_postgres::message::Format;

use super::model::DENIED;
use portcullis_testkit::Choices;

/// Texts that all clients prepare.
const SHARED: [&str; 6] = [
    "SELECT 'shared'",
    "SHOW work_mem",
    "SHOW timezone",
    "SELECT 'three' FROM three",
    "BEGIN",
    "COMMIT",
];

/// What one client says.
#[derive(Debug)]
pub struct Script {
    id: usize,
    serial: usize,
    /// Whether anything is sent that filters refuse.
    pub denies: bool,
}

impl Script {
    pub const fn new(id: usize, denies: bool) -> Self {
        Self {
            id,
            serial: 0,
            denies,
        }
    }

    fn tag(&mut self) -> String {
        self.serial += 1;
        format!("c{}n{}", self.id, self.serial)
    }

    /// Some messages, each for itself.
    pub fn batch(&mut self, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
        match choices.below(12) {
            0..4 => self.simple(choices),
            4 => self.copy(choices),
            5 => vec![one(|dst| {
                let call = FunctionCall {
                    function: self.id as u32,
                    formats: &[],
                    arguments: &[],
                    result_format: Format::TEXT,
                };
                encoder::function_call(&call, dst);
            })],
            6 => self.usual(choices),
            _ => self.segment(choices),
        }
    }

    /// What ends whatever may be open.
    pub fn ending() -> Vec<Vec<u8>> {
        vec![
            one(|dst| encoder::copy_fail(b"over", dst)),
            one(encoder::sync),
            query("ROLLBACK"),
            query("DISCARD ALL"),
        ]
    }

    fn simple(&mut self, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
        let count = choices.of(&[1, 1, 1, 2, 3]);
        let mut texts: Vec<String> = (0..count).map(|_| self.statement(choices)).collect();
        if texts.iter().any(|text| text.contains("RESET")) {
            // Inside one text it goes back to what the server has; the gateway comes behind its end.
            // So that it is done in the transaction of what follows, and goes back with that.
            let ends = ["SHOW", "BEGIN", "COMMIT", "ROLLBACK"];
            texts.retain(|text| !ends.iter().any(|end| text.starts_with(end)));
        }
        if count == 1 && choices.once_in(8) {
            texts = vec![
                choices
                    .of(&["EXECUTE a", "EXECUTE b", "DEALLOCATE a", "DEALLOCATE b"])
                    .to_owned(),
            ];
        }
        vec![query(&texts.join(";"))]
    }

    fn statement(&mut self, choices: &mut Choices<'_>) -> String {
        let tag = self.tag();
        let temporary = choices.of(&["t1", "t2"]);
        match choices.below(30) {
            0..4 => format!("SELECT '{tag}'"),
            4 => format!("SELECT '{tag}' FROM three"),
            5 => format!("SELECT '{tag}' FROM large"),
            6 => format!("SELECT '{tag}' FROM noisy"),
            7 => format!("SELECT '{tag}' FROM failing"),
            8 => format!("SELEC '{tag}'"),
            9 => "BEGIN".into(),
            10..12 => "COMMIT".into(),
            12 => "ROLLBACK".into(),
            13 => format!("SET work_mem TO '{tag}'"),
            14 => format!("SET timezone TO '{tag}'"),
            15 => format!("SET LOCAL work_mem TO '{tag}'"),
            16 => choices
                .of(&["RESET work_mem", "RESET timezone", "RESET ALL"])
                .into(),
            17 => "SHOW work_mem".into(),
            18 => "SHOW timezone".into(),
            19 => format!("CREATE TEMP TABLE {temporary} (v text)"),
            20 => format!("SELECT '{tag}' FROM {temporary}"),
            21 => "LISTEN news".into(),
            22 => "UNLISTEN *".into(),
            23 => format!("PREPARE sa AS SELECT '{tag}'"),
            24 => "EXECUTE sa".into(),
            25 => choices.of(&["DEALLOCATE sa", "DEALLOCATE ALL"]).into(),
            26 => "DISCARD ALL".into(),
            27 => format!("SELECT spoil('{tag}')"),
            28 if self.denies => format!("SELECT '{tag}' FROM {DENIED}"),
            29 => format!("COPY {tag} TO STDOUT"),
            _ => String::new(),
        }
    }

    fn copy(&mut self, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
        let sql = format!("COPY {} FROM STDIN", self.tag());
        let extended = choices.once_in(2);
        let mut messages = if extended {
            vec![parse("", &sql), bind("", ""), execute("", 0)]
        } else if choices.once_in(4) {
            vec![query(&format!("{sql};{}", self.statement(choices)))]
        } else {
            vec![query(&sql)]
        };
        if extended && choices.once_in(2) {
            messages.push(one(encoder::sync));
        }
        for _ in 0..choices.below(4) {
            messages.push(match choices.below(8) {
                0 => one(|dst| encoder::copy_data(b"bad!", dst)),
                1 if extended => one(encoder::sync),
                2 => one(encoder::flush),
                3 => one(|dst| encoder::copy_data(&[b'x'; 200], dst)),
                _ => one(|dst| encoder::copy_data(b"good", dst)),
            });
        }
        messages.push(if choices.once_in(4) {
            one(|dst| encoder::copy_fail(b"no more", dst))
        } else {
            one(encoder::copy_done)
        });
        if extended {
            messages.push(one(encoder::sync));
        }
        messages
    }

    fn text(&mut self, choices: &mut Choices<'_>) -> String {
        if choices.once_in(2) {
            return choices.of(&SHARED).into();
        }
        self.statement(choices)
    }

    /// As a driver does it.
    fn usual(&mut self, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
        let text = self.text(choices);
        vec![
            parse("", &text),
            one(|dst| encoder::describe_statement(b"", dst)),
            bind("", ""),
            execute("", 0),
            one(encoder::sync),
        ]
    }

    fn segment(&mut self, choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for _ in 0..choices.below(7) {
            let name = choices.of(&["", "a", "b"]);
            let portal = choices.of(&["", "", "p"]);
            messages.push(match choices.below(16) {
                0..4 => parse(name, &self.text(choices)),
                4..8 => bind(portal, name),
                8..11 => execute(portal, choices.of(&[0, 0, 1])),
                11 => one(|dst| encoder::describe_statement(name.as_bytes(), dst)),
                12 => one(|dst| encoder::describe_portal(portal.as_bytes(), dst)),
                13 => one(|dst| encoder::close_statement(name.as_bytes(), dst)),
                14 => one(|dst| encoder::close_portal(portal.as_bytes(), dst)),
                _ => one(encoder::flush),
            });
        }
        if !choices.once_in(6) {
            messages.push(one(encoder::sync));
        }
        messages
    }
}

fn one(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    write(&mut bytes);
    bytes.to_vec()
}

pub fn query(sql: &str) -> Vec<u8> {
    one(|dst| encoder::query(sql.as_bytes(), dst))
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    one(|dst| encoder::parse(name.as_bytes(), sql.as_bytes(), &[], dst))
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    let bind = Bind {
        portal: portal.as_bytes(),
        statement: statement.as_bytes(),
        ..Bind::default()
    };
    one(|dst| encoder::bind(&bind, dst))
}

fn execute(portal: &str, most: i32) -> Vec<u8> {
    one(|dst| encoder::execute(portal.as_bytes(), most, dst))
}
