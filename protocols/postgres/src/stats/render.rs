//! The table of statements for people and programs: JSON and text.
//!
//! Nothing is counted here. Start at [`to_json`] and [`to_text`].

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::StatementStats;

/// What comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// What took most time in all.
    #[default]
    Time,
    /// What was called most.
    Calls,
    /// What brought back most rows.
    Rows,
    /// What brought back most bytes.
    Bytes,
    /// What failed most.
    Errors,
    /// What is slowest by its 99th percentile.
    P99,
    /// What came last.
    LastSeen,
}

/// A word that is no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such order: expected time, calls, rows, bytes, errors, p99 or last_seen")]
pub struct UnknownOrder;

impl FromStr for Order {
    type Err = UnknownOrder;

    fn from_str(text: &str) -> Result<Self, UnknownOrder> {
        Ok(match text {
            "time" => Self::Time,
            "calls" => Self::Calls,
            "rows" => Self::Rows,
            "bytes" => Self::Bytes,
            "errors" => Self::Errors,
            "p99" => Self::P99,
            "last_seen" => Self::LastSeen,
            _ => return Err(UnknownOrder),
        })
    }
}

impl Order {
    /// Sorts, and keeps the first `most`.
    pub fn apply(self, statements: &mut Vec<StatementStats>, most: usize) {
        // The fingerprint, so that equals keep their order from one look to the next.
        statements
            .sort_by_cached_key(|statement| (Reverse(self.key(statement)), statement.fingerprint));
        statements.truncate(most);
    }

    fn key(self, statement: &StatementStats) -> u64 {
        match self {
            Self::Time => statement.times.sum(),
            Self::Calls => statement.calls,
            Self::Rows => statement.rows,
            Self::Bytes => statement.bytes_down,
            Self::Errors => statement.errors,
            Self::P99 => statement.times.percentile(99),
            Self::LastSeen => millis(statement.last_seen),
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A list of objects, in the order of `statements`.
#[must_use]
pub fn to_json(statements: &[StatementStats]) -> Value {
    let object = |statement: &StatementStats| {
        json!({
            "fingerprint": statement.fingerprint.to_string(),
            "statement": &*statement.text,
            "verb": statement.verb.label(),
            "class": statement.class.label(),
            "calls": statement.calls,
            "calls_unseen_at_most": statement.unseen,
            "errors": statement.errors,
            "rejected": statement.rejected,
            "rows": statement.rows,
            "bytes_received": statement.bytes_up,
            "bytes_sent": statement.bytes_down,
            "total_us": statement.times.sum(),
            "mean_us": statement.times.mean(),
            "p50_us": statement.times.percentile(50),
            "p99_us": statement.times.percentile(99),
            "max_us": statement.times.max(),
            "wait_us": micros(statement.waited),
            "last_seen_ms": millis(statement.last_seen),
        })
    };
    statements.iter().map(object).collect()
}

/// A table with a head, one line for each of `statements`, in their order.
#[must_use]
pub fn to_text(statements: &[StatementStats]) -> String {
    let mut text = format!(
        "{:>16} {:>10} {:>7} {:>8} {:>10} {:>12} {:>12} {:>9} {:>9} {:>9}  {}\n",
        "fingerprint",
        "calls",
        "errors",
        "rejected",
        "rows",
        "bytes",
        "total_ms",
        "mean_us",
        "p50_us",
        "p99_us",
        "statement"
    );
    for statement in statements {
        let times = &statement.times;
        let _ = writeln!(
            text,
            "{:>16} {:>10} {:>7} {:>8} {:>10} {:>12} {:>12} {:>9} {:>9} {:>9}  {}",
            statement.fingerprint,
            statement.calls,
            statement.errors,
            statement.rejected,
            statement.rows,
            statement.bytes_down,
            times.sum() / 1000,
            times.mean(),
            times.percentile(50),
            times.percentile(99),
            // A name in double quotes can hold anything, a terminal's codes too.
            statement.text.escape_debug(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{StatementTable, TableLimits};
    use super::*;
    use crate::filters::testing::{context, request};
    use crate::request::Record;

    fn statements() -> Vec<StatementStats> {
        let mut table = StatementTable::new(TableLimits { top: 9, text: 99 });
        let now = context("192.0.2.1").now;
        for (sql, calls, millis) in [("select a", 3, 1), ("select \"\u{1b}[2J\"", 1, 20)] {
            for _ in 0..calls {
                let mut record = Record::new(request(sql), UNIX_EPOCH, now);
                record.duration = Duration::from_millis(millis);
                record.reason = Record::COMPLETED;
                table.record(&record);
            }
        }
        table.statements().to_vec()
    }

    #[test]
    fn the_order_is_the_one_asked_for() {
        for (order, first) in [("time", 1), ("calls", 3), ("p99", 1)] {
            let mut found = statements();
            order.parse::<Order>().unwrap().apply(&mut found, 1);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].calls, first, "{order}");
        }
        assert_eq!("times".parse::<Order>(), Err(UnknownOrder));
    }

    #[test]
    fn both_forms_say_the_same() {
        let mut found = statements();
        Order::Calls.apply(&mut found, 10);
        let json = to_json(&found);
        assert_eq!(json[0]["calls"], 3);
        assert_eq!(json[0]["total_us"], 3000);
        assert_eq!(json[0]["verb"], "select");
        assert_eq!(json.as_array().map(Vec::len), Some(2));
        let text = to_text(&found);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().nth(1).unwrap().contains("select a"), "{text}");
        assert!(!text.contains('\u{1b}'), "no terminal is told anything");
    }
}
