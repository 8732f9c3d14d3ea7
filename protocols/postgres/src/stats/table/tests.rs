//! What stays in a table that is too small, and that its numbers are right.

use std::time::{Instant, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::filters::testing::{context, request};
use crate::sqlstate::SqlState;

fn table(top: usize) -> StatementTable {
    StatementTable::new(TableLimits { top, text: 40 })
}

fn record(sql: &str, now: Instant) -> Record {
    let mut record = Record::new(request(sql), UNIX_EPOCH, now);
    record.reason = Record::COMPLETED;
    record
}

#[test]
fn numbers_add_up() {
    let now = context("192.0.2.1").now;
    let mut table = table(10);
    for value in 1..=3_u64 {
        let mut record = record(
            &format!("select {value} from t where name = 'x{value}'"),
            now,
        );
        record.duration = Duration::from_millis(value);
        record.rows = value;
        record.bytes_up = 10;
        record.bytes_down = 100 * value;
        record.waited = Duration::from_micros(value);
        record.started_at = UNIX_EPOCH + Duration::from_secs(value);
        if value == 2 {
            record.sqlstate = SqlState::new(b"40001");
            record.reason = Record::SERVER_ERROR;
        }
        table.record(&record);
    }
    let mut refused = record("select 9 from t where name = ''", now);
    refused.reason = "denied";
    refused.sqlstate = SqlState::new(b"42501");
    table.record(&refused);
    table.record(&record("delete from t", now));
    let [select, delete] = table.statements() else {
        panic!("{:?}", table.statements());
    };
    assert_eq!(
        (select.calls, select.errors, select.rejected, select.unseen),
        (4, 1, 1, 0)
    );
    assert_eq!(
        (select.rows, select.bytes_up, select.bytes_down),
        (6, 30, 600)
    );
    assert_eq!(select.waited, Duration::from_micros(6));
    assert_eq!(select.times.max(), 3_000);
    assert_eq!(select.last_seen, UNIX_EPOCH + Duration::from_secs(3));
    assert_eq!((select.verb, select.class), (Verb::Select, Class::Read));
    assert!(
        !select.text.contains("x1") && select.text.len() <= 40,
        "{}",
        select.text
    );
    assert_eq!(
        (delete.verb, delete.class, delete.calls),
        (Verb::Delete, Class::Write, 1)
    );
}

#[test]
fn no_table_keeps_nothing() {
    let mut table = table(0);
    table.record(&record("select 1", context("192.0.2.1").now));
    assert!(table.statements().is_empty());
}

#[test]
fn a_newcomer_takes_the_lightest_place() {
    let now = context("192.0.2.1").now;
    let mut table = table(2);
    for sql in [
        "select a", "select a", "select a", "select b", "select c", "select a",
    ] {
        table.record(&record(sql, now));
    }
    let mut found: Vec<_> = table
        .statements()
        .iter()
        .map(|s| (&*s.text, s.calls, s.unseen))
        .collect();
    found.sort_unstable();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].1, found[0].2), (4, 0), "{found:?}");
    assert_eq!((found[1].1, found[1].2), (1, 1), "{found:?}");
    table.clear();
    assert!(table.statements().is_empty());
    table.record(&record("select d", now));
    assert_eq!(table.statements().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Counts are never too high, never too low by more than `unseen`, and whatever is heavy is there.
    #[test]
    fn heavy_statements_stay(calls in prop::collection::vec(0_u8..30, 1..400), top in 1_usize..12) {
        let now = context("192.0.2.1").now;
        let mut table = table(top);
        let records: Vec<Record> = (0..30).map(|name| record(&format!("select c{name}"), now)).collect();
        let mut exact = [0_u64; 30];
        for &name in &calls {
            exact[usize::from(name)] += 1;
            table.record(&records[usize::from(name)]);
        }
        prop_assert!(table.statements().len() <= top);
        for (count, record) in exact.iter().zip(&records) {
            let fingerprint = record.request.fingerprint();
            let found = table.statements().iter().find(|found| found.fingerprint == fingerprint);
            match found {
                Some(found) => {
                    prop_assert!(found.calls <= *count);
                    prop_assert!(found.calls + found.unseen >= *count);
                }
                None => prop_assert!(*count <= calls.len() as u64 / top as u64),
            }
        }
    }
}
