//! Which rule takes which client and which text.

use portcullis_config::{Diagnostics, Source, load};
use portcullis_filter::ReadContext;

use super::*;
use crate::config::PostgresConfig;
use crate::sql::{Options, analyse};

fn routes(yaml: &str) -> Routes {
    let yaml = format!("auth: {{method: trust}}\npool: {{mode: transaction}}\nroutes:\n{yaml}");
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let config = PostgresConfig::read(
        &node,
        &mut ReadContext {
            diagnostics: &mut diagnostics,
            clusters: &["a".to_owned(), "b".to_owned(), "c".to_owned()],
            path: "listeners.db",
        },
    );
    assert_eq!(diagnostics.render(false), "");
    Routes::new(&config.unwrap().routes)
}

const ANN: Client<'_> = Client {
    database: "shop",
    user: "ann",
    application: "web",
    server_name: None,
    address: IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)),
};

fn cluster<'a>(routes: &'a Routes, client: &Client<'_>, sql: &str) -> Option<&'a str> {
    let mut analysis = Analysis::new();
    analyse(sql.as_bytes(), &Options::default(), &mut analysis);
    let text = Text {
        sql: sql.as_bytes(),
        analysis: &analysis,
    };
    let found = routes.find(&routes.of_client(client), Some(&text));
    found.map(|(_, rule)| rule.cluster.as_str())
}

#[test]
fn clients_are_told_apart() {
    let routes = routes(concat!(
        "- {match: {database: [shop, \"till_*\"], user: ann}, cluster: a}\n",
        "- {match: {network: 10.0.0.0/8, application: \"~^job\"}, cluster: b}\n",
        "- {match: {sni: \"*.db.example\"}, cluster: c}\n",
    ));
    let rows = [
        ("both", ANN, Some("a")),
        (
            "a pattern",
            Client {
                database: "till_3",
                ..ANN
            },
            Some("a"),
        ),
        ("another user", Client { user: "bob", ..ANN }, None),
        (
            "a job",
            Client {
                user: "bob",
                application: "job-7",
                ..ANN
            },
            Some("b"),
        ),
        (
            "from elsewhere",
            Client {
                user: "bob",
                application: "job-7",
                address: "192.0.2.1".parse().unwrap(),
                ..ANN
            },
            None,
        ),
        (
            "by name",
            Client {
                user: "bob",
                server_name: Some("x.db.example"),
                ..ANN
            },
            Some("c"),
        ),
    ];
    for (row, client, found) in rows {
        assert_eq!(cluster(&routes, &client, "select 1"), found, "{row}");
    }
}

#[test]
fn only_what_is_provably_a_read_is_one() {
    let routes = routes("- {match: {statement: read}, cluster: a}\n- {cluster: b}\n");
    let rows = [
        ("select 1", "a"),
        ("select 1; select 2", "a"),
        ("", "a"),
        ("select 1; delete from t", "b"),
        ("with x as (delete from t returning 1) select 1", "b"),
        ("select * from t for update", "b"),
        ("select my_function()", "b"),
        ("insert into t values (1)", "b"),
        ("select 'open", "b"),
        ("do $$ begin end $$", "b"),
    ];
    for (sql, found) in rows {
        assert_eq!(cluster(&routes, &ANN, sql), Some(found), "{sql}");
    }
    let of_client = routes.of_client(&ANN);
    assert!(routes.asks_statement(&of_client));
    let by_number = routes.find(&of_client, None).map(|(place, _)| place);
    assert_eq!(
        by_number,
        Some(1),
        "a call by number goes where everything goes"
    );
}

#[test]
fn a_rule_about_tables_takes_texts_about_nothing_else() {
    let routes = routes("- {match: {tables: [log, \"audit.*\"]}, cluster: a}\n- {cluster: b}\n");
    let rows = [
        ("insert into log values (1)", "a"),
        ("select * from audit.x join public.log on true", "a"),
        ("select * from log, orders", "b"),
        ("select 1", "b"),
        ("select * from log; select * from orders", "b"),
        ("select * from log where a = 'open", "b"),
    ];
    for (sql, found) in rows {
        assert_eq!(cluster(&routes, &ANN, sql), Some(found), "{sql}");
    }
}

#[test]
fn a_client_keeps_the_rules_up_to_the_first_that_takes_everything() {
    let routes = routes(concat!(
        "- {match: {database: other}, cluster: a}\n",
        "- {match: {statement: read}, cluster: a}\n",
        "- {match: {database: shop}, cluster: b}\n",
        "- {cluster: c}\n",
    ));
    assert_eq!(routes.of_client(&ANN)[..], [1, 2]);
    let other = Client {
        database: "other",
        ..ANN
    };
    assert_eq!(routes.of_client(&other)[..], [0]);
    assert!(!routes.asks_statement(&routes.of_client(&other)));
}
