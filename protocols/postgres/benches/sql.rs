//! What an analysis costs: the statement of pgbench, a query as an ORM writes it, and a fat INSERT.
//!
//! Wall clock on shared machines wanders, so count instructions:
//! `valgrind --tool=callgrind --toggle-collect='sql::*analyse_once*' <bench binary> --once pgbench` (a thousand rounds).
//! Without `--once` it prints nanoseconds, good for comparing within one run. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use portcullis_postgres::sql::{Analysis, Options, analyse, normalise};

const PGBENCH: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 42;";

#[inline(never)]
fn analyse_once(sql: &[u8], options: &Options, analysis: &mut Analysis) {
    analyse(sql, options, analysis);
}

#[inline(never)]
fn normalise_once(sql: &[u8], options: &Options, text: &mut Vec<u8>) {
    text.clear();
    normalise(sql, options, text, 4096);
}

/// About 2 KB: twenty columns, five joins, a list of forty values.
fn orm() -> String {
    let columns: Vec<String> = (0..20)
        .map(|n| format!("\"orders\".\"column_{n}\" AS \"t0_r{n}\""))
        .collect();
    let joins: Vec<String> = (0..5)
        .map(|n| {
            format!(
                "LEFT OUTER JOIN \"line_items_{n}\" ON \"line_items_{n}\".\"order_id\" = \"orders\".\"id\" AND \"line_items_{n}\".\"deleted\" = FALSE"
            )
        })
        .collect();
    let values: Vec<String> = (1000..1040).map(|n| n.to_string()).collect();
    format!(
        "SELECT {} FROM \"orders\" {} WHERE \"orders\".\"customer_id\" IN ({}) AND lower(\"orders\".\"state\") = 'open' ORDER BY \"orders\".\"created_at\" DESC LIMIT 50",
        columns.join(", "),
        joins.join(" "),
        values.join(", ")
    )
}

fn insert() -> String {
    let rows: Vec<String> = (0..100)
        .map(|n| format!("({n}, 'name {n}', now())"))
        .collect();
    format!(
        "INSERT INTO events (id, name, at) VALUES {}",
        rows.join(", ")
    )
}

fn run(name: &str, sql: &str, rounds: u32) {
    let options = Options::default();
    let mut analysis = Analysis::new();
    let mut text = Vec::new();
    let start = now();
    for _ in 0..rounds {
        analyse_once(black_box(sql.as_bytes()), &options, &mut analysis);
        black_box(&analysis);
    }
    let analysed = now();
    for _ in 0..rounds {
        normalise_once(black_box(sql.as_bytes()), &options, &mut text);
        black_box(&text);
    }
    let normalised = now();
    println!(
        "{name:8} {:5} bytes: analyse {:6} ns, normalise {:6} ns",
        sql.len(),
        (analysed - start).as_nanos() / u128::from(rounds),
        (normalised - analysed).as_nanos() / u128::from(rounds)
    );
}

#[allow(clippy::disallowed_methods)] // a bench measures
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let texts = [
        ("pgbench", PGBENCH.to_owned()),
        ("orm", orm()),
        ("insert", insert()),
    ];
    let arguments: Vec<String> = std::env::args().collect();
    let once = arguments.iter().position(|argument| argument == "--once");
    let chosen = once.and_then(|position| arguments.get(position + 1));
    for (name, sql) in &texts {
        match chosen {
            Some(chosen) if chosen == name => run(name, sql, 1000),
            Some(_) => {}
            None => run(name, sql, 50_000),
        }
    }
}
