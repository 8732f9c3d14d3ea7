//! What clients do, and what they must then read.
//!
//! Start at [`Actor::one_act`].

use super::actor::{Actor, Broken};
use crate::postgres::wire::{
    Message, bind, execute, extended, field, message, parse, query, sync, tags, values,
};

type Done = Result<(), Broken>;

/// What an error or a notice says, and its SQLSTATE.
fn words(answer: &[Message], kind: u8) -> Option<(String, String)> {
    let found = answer.iter().find(|(tag, _)| *tag == kind)?;
    Some((field(&found.1, b'C'), field(&found.1, b'M')))
}

impl Actor {
    /// One thing, whichever comes.
    pub(super) fn one_act(&mut self) -> Done {
        match self.random.below(24) {
            0..=1 => self.simple(),
            2..=3 => self.pipeline(),
            4..=5 => self.split(),
            6..=8 => self.named(),
            9 => self.rows(),
            10 => self.setting(),
            11..=12 => self.look(),
            13 => self.temporary(),
            14..=15 => self.transaction(),
            16 => self.copy(),
            17 => self.noise(),
            18 => self.listen(),
            19 => self.timed_out(),
            20 => self.cut(),
            21 => self.forget(),
            22 => {
                self.cancel_somebody();
                Ok(())
            }
            _ => {
                self.violence();
                Ok(())
            }
        }
    }

    fn ask_value(&mut self, text: &str) -> Result<Vec<String>, Broken> {
        Ok(values(&self.ask(&query(text))?))
    }

    fn simple(&mut self) -> Done {
        self.harmless = true;
        let (one, two) = (self.tag(), self.tag());
        let seen = self.ask_value(&format!("SELECT '{one}'; SELECT '{two}'"))?;
        self.check(&seen, &vec![one, two]);
        Ok(())
    }

    fn rows(&mut self) -> Done {
        self.harmless = true;
        let tag = self.tag();
        let count = self.random.below(4_000);
        let text = format!("SELECT '{tag}' FROM generate_series(1, {count})");
        let seen = self.ask_value(&text)?;
        self.check(&seen, &vec![tag; count]);
        Ok(())
    }

    /// Several statements without waiting, each with its Sync; some fail.
    fn pipeline(&mut self) -> Done {
        let mut bytes = Vec::new();
        let mut wanted = Vec::new();
        for _ in 0..=self.random.below(6) {
            let tag = self.tag();
            if self.random.below(4) == 0 {
                bytes.extend(extended(&format!("SELECT nothing FROM \"{tag}\"")));
                wanted.push(Err(tag));
            } else {
                bytes.extend(extended(&format!("SELECT '{tag}'")));
                wanted.push(Ok(tag));
            }
        }
        let answers = self.ask_all(&bytes, wanted.len())?;
        for (answer, wanted) in answers.iter().zip(wanted) {
            match wanted {
                Ok(tag) => self.check(&values(answer), &vec![tag]),
                Err(tag) => {
                    let (state, text) = words(answer, b'E').unwrap_or_default();
                    self.check(&state.as_str(), &"42P01");
                    assert!(text.contains(&tag), "{}: {text}", self.place());
                }
            }
        }
        Ok(())
    }

    /// Parse, Bind and Execute in round trips of their own: the unnamed statement stays with its client.
    fn split(&mut self) -> Done {
        let tag = self.tag();
        let flush = message(b'H', b"");
        let text = parse("", &format!("SELECT '{tag}'"));
        if self.random.below(2) == 0 {
            let answer = self.ask(&[text, sync()].concat())?;
            self.check(&tags(&answer).as_str(), &"1Z");
        } else {
            self.send(&[text, flush].concat())?;
            let first = self.message()?;
            // An error is read to its end, so that it is seen for what it is.
            if first.0 != b'1' {
                self.send(&sync())?;
                self.answer()?;
                return Err(Broken::Interrupted);
            }
        }
        let seen = values(&self.ask(&[bind(""), execute(), sync()].concat())?);
        self.check(&seen, &vec![tag]);
        Ok(())
    }

    /// Prepared statements under names that all clients use.
    fn named(&mut self) -> Done {
        let number = self.random.below(6);
        let name = format!("s{number}");
        let Some(text) = self.held.statements.get(&number).cloned() else {
            return self.prepare(number, &name);
        };
        if self.random.below(5) == 0 {
            let close = message(b'C', format!("S{name}\0").as_bytes());
            let answer = self.ask(&[close, sync()].concat())?;
            self.check(&tags(&answer).as_str(), &"3Z");
            self.held.statements.remove(&number);
            return Ok(());
        }
        if self.random.below(8) == 0 {
            let again = self.ask(&[parse(&name, "SELECT 'again'"), sync()].concat())?;
            let state = words(&again, b'E').unwrap_or_default().0;
            self.check(&state.as_str(), &"42P05");
        }
        let seen = values(&self.ask(&[bind(&name), execute(), sync()].concat())?);
        self.check(&seen, &vec![text]);
        Ok(())
    }

    fn prepare(&mut self, number: usize, name: &str) -> Done {
        let unknown = self.ask(&[bind(name), execute(), sync()].concat())?;
        let state = words(&unknown, b'E').unwrap_or_default().0;
        self.check(&state.as_str(), &"26000");
        let tag = self.tag();
        let text = format!("SELECT '{tag}'");
        let answer = self.ask(&[parse(name, &text), sync()].concat())?;
        self.check(&tags(&answer).as_str(), &"1Z");
        self.held.statements.insert(number, tag);
        Ok(())
    }

    fn setting(&mut self) -> Done {
        if self.held.setting.is_empty() {
            let tag = self.tag();
            self.ask(&query(&format!("SET portcullis.tag = '{tag}'")))?;
            self.held.setting = tag;
        } else {
            self.ask(&query("RESET portcullis.tag"))?;
            self.held.setting.clear();
        }
        self.look()
    }

    /// Everything that the session holds, asked of the server.
    fn look(&mut self) -> Done {
        let text = "SELECT concat_ws(' ', current_setting('application_name'), current_setting('statement_timeout'), \
                    to_regclass('pg_temp.mine') IS NOT NULL, coalesce(current_setting('portcullis.tag', true), ''))";
        let seen = match self.random.below(2) {
            0 => self.ask_value(text)?,
            _ => values(&self.ask(&extended(text))?),
        };
        let temporary = if self.held.temporary.is_some() {
            "t"
        } else {
            "f"
        };
        let wanted = format!("{} 0 {temporary} {}", self.name, self.held.setting);
        self.check(&seen, &vec![wanted]);
        Ok(())
    }

    fn temporary(&mut self) -> Done {
        let Some(tag) = self.held.temporary.clone() else {
            let tag = self.tag();
            self.ask(&query(&format!(
                "CREATE TEMP TABLE mine AS SELECT '{tag}' AS tag"
            )))?;
            self.held.temporary = Some(tag);
            return self.look();
        };
        let seen = self.ask_value("SELECT tag FROM mine")?;
        self.check(&seen, &vec![tag]);
        if self.random.below(2) == 0 {
            self.ask(&query("DROP TABLE mine"))?;
            self.held.temporary = None;
        }
        Ok(())
    }

    fn transaction(&mut self) -> Done {
        let tag = self.tag();
        self.ask(&query("BEGIN"))?;
        self.ask(&extended(&format!("INSERT INTO t VALUES ('{tag}')")))?;
        let seen = self.ask_value("SELECT count(*) FROM t WHERE tag LIKE '%never'")?;
        self.check(&seen, &vec!["0".to_owned()]);
        let seen = self.ask_value(&format!("SELECT tag FROM t WHERE tag = '{tag}'"))?;
        self.check(&seen, &vec![tag.clone()]);
        match self.random.below(3) {
            0 => {
                self.stage.never.lock().unwrap().push(tag);
                self.ask(&query("ROLLBACK"))?;
            }
            1 => {
                self.stage.never.lock().unwrap().push(tag);
                let failed = self.ask(&query("SELECT 1/0"))?;
                self.check(
                    &words(&failed, b'E').unwrap_or_default().0.as_str(),
                    &"22012",
                );
                let ended = self.ask(&query("COMMIT"))?;
                self.check(&ended[0].1, &b"ROLLBACK\0".to_vec());
            }
            _ => {
                self.ask(&query("COMMIT"))?;
                self.stage.committed.lock().unwrap().push(tag);
            }
        }
        Ok(())
    }

    fn copy(&mut self) -> Done {
        let tag = self.tag();
        let count = self.random.below(500);
        let text = format!("COPY (SELECT '{tag}' FROM generate_series(1, {count})) TO STDOUT");
        let answer = self.ask(&query(&text))?;
        let lines = answer.iter().filter(|(kind, _)| *kind == b'd');
        let lines: Vec<Vec<u8>> = lines.map(|(_, body)| body.clone()).collect();
        self.check(&lines, &vec![format!("{tag}\n").into_bytes(); count]);

        let one = self.tag();
        let data = message(b'd', format!("{one}\n").as_bytes());
        let end = message(b'c', b"");
        let answer = self.ask(&[query("COPY t FROM STDIN"), data, end].concat())?;
        self.check(&tags(&answer).as_str(), &"GCZ");
        self.stage.committed.lock().unwrap().push(one);
        Ok(())
    }

    /// Errors and notices with this one's name in them.
    fn noise(&mut self) -> Done {
        for (level, kind) in [("NOTICE", b'N'), ("EXCEPTION", b'E')] {
            let tag = self.tag();
            let answer = self.ask(&query(&format!(
                "DO $$ BEGIN RAISE {level} '{tag}'; END $$"
            )))?;
            let (_, text) = words(&answer, kind).unwrap_or_default();
            self.check(&text, &tag);
        }
        Ok(())
    }

    fn listen(&mut self) -> Done {
        if self.held.listens && self.random.below(2) == 0 {
            self.ask(&query("UNLISTEN *"))?;
            self.held.listens = false;
            self.heard.clear();
            return Ok(());
        }
        if !self.held.listens {
            self.held.listens = true;
            let text = format!("LISTEN {}", self.name);
            self.ask(&query(&text))?;
        }
        let tag = self.tag();
        let other = self.random.below(super::CLIENTS);
        let text = format!(
            "SELECT pg_notify('{}', '{tag}'), pg_notify('c{other}', 'a neighbour')",
            self.name
        );
        self.ask(&query(&text))?;
        // A server sends a session's own notifications before it is ready again.
        let heard = self.heard.contains(&tag);
        self.check(&heard, &true);
        Ok(())
    }

    /// A bound that would end everybody's statements if it went from hand to hand.
    fn timed_out(&mut self) -> Done {
        self.ask(&query("SET statement_timeout = 30"))?;
        self.send(&query("SELECT pg_sleep(60)"))?;
        let mut state = String::new();
        loop {
            let (tag, body) = self.message()?;
            match tag {
                b'E' => state = field(&body, b'C'),
                b'Z' => break,
                _ => {}
            }
        }
        if state != "57014" {
            return Err(Broken::Interrupted);
        }
        // On a busy machine this one may take too long, too.
        let reset = self.ask(&query("RESET statement_timeout"))?;
        if words(&reset, b'E').is_some() {
            return Err(Broken::Interrupted);
        }
        self.look()
    }

    /// Leaves at any byte of a conversation that never commits.
    fn cut(&mut self) -> Done {
        let tag = format!("{}-never", self.tag());
        let insert = format!("INSERT INTO t VALUES ('{tag}')");
        let bytes = match self.random.below(3) {
            0 => [
                query("BEGIN"),
                query(&insert),
                query("SET portcullis.tag = 'left'"),
            ]
            .concat(),
            1 => [
                query("BEGIN"),
                extended(&insert),
                parse("s1", "SELECT 'left'"),
                bind("s1"),
            ]
            .concat(),
            _ => {
                let data = message(b'd', format!("{tag}\n").as_bytes());
                [query("COPY t FROM STDIN"), data].concat()
            }
        };
        self.stage.never.lock().unwrap().push(tag);
        let cut = self.random.below(bytes.len() + 1);
        self.send(&bytes[..cut])?;
        if self.random.below(2) == 0 {
            self.reset();
        } else {
            self.leave();
        }
        Ok(())
    }

    /// Gives up everything that the session holds.
    fn forget(&mut self) -> Done {
        let answer = self.ask(&query("DISCARD ALL"))?;
        self.check(&tags(&answer).as_str(), &"CZ");
        self.held = super::actor::Held::default();
        self.heard.clear();
        self.look()
    }

    /// A backend is ended now and then, the whole server rarely.
    fn violence(&mut self) {
        match self.random.below(12) {
            0 => self.stage.servers.lock().unwrap().crash(),
            1..=4 => self.kill_a_backend(),
            _ => {}
        }
    }
}
