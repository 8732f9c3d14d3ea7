use super::*;

fn shape(settings: &[(&str, &str)]) -> Shape {
    let settings = settings.iter();
    Shape::new(
        settings
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect(),
    )
}

fn opening(parameters: &[(&str, &str)]) -> Result<Opening, OpeningError> {
    Opening::read(
        parameters
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

#[test]
fn openings_are_read() {
    let read = opening(&[
        ("user", "ann"),
        ("application_name", "shop"),
        (
            "options",
            r"-c geqo=off --work-mem=64MB -csearch_path=a,\ b",
        ),
        ("DateStyle", "ISO"),
        ("_pq_.new", "1"),
    ])
    .unwrap();
    assert_eq!(
        (&*read.user, &*read.database, &*read.application),
        ("ann", "ann", "shop")
    );
    assert_eq!(read.unknown_options, [b"_pq_.new"[..].into()]);
    let expected = shape(&[
        ("application_name", "shop"),
        ("geqo", "off"),
        ("work_mem", "64MB"),
        ("search_path", "a, b"),
        ("datestyle", "ISO"),
    ]);
    assert_eq!(*read.shape, expected);
}

#[test]
fn what_a_server_refuses_is_refused() {
    type Row = (
        &'static str,
        &'static [(&'static str, &'static str)],
        OpeningError,
    );
    let rows: [Row; 5] = [
        ("nobody", &[("database", "d")], OpeningError::NoUser),
        ("empty user", &[("user", "")], OpeningError::NoUser),
        (
            "replication",
            &[("user", "u"), ("replication", "maybe")],
            OpeningError::Replication,
        ),
        (
            "options",
            &[("user", "u"), ("options", "-d 5")],
            OpeningError::Options,
        ),
        (
            "options end",
            &[("user", "u"), ("options", "-c")],
            OpeningError::Options,
        ),
    ];
    for (name, parameters, error) in rows {
        assert_eq!(opening(parameters), Err(error), "{name}");
    }
}

#[test]
fn changes_set_what_differs_and_reset_the_rest() {
    let rows = [
        ("same", shape(&[("a", "1")]), shape(&[("a", "1")]), None),
        (
            "from nothing",
            shape(&[("a", "it's \\")]),
            Shape::default(),
            Some(r"SELECT pg_catalog.set_config(E'a',E'it''s \\',false);"),
        ),
        (
            "to nothing",
            Shape::default(),
            shape(&[("x.y", "1")]),
            Some(r#"RESET "x"."y";"#),
        ),
        (
            "both",
            shape(&[("b", "2")]),
            shape(&[("a", "1")]),
            Some(r#"RESET "a";SELECT pg_catalog.set_config(E'b',E'2',false);"#),
        ),
        (
            "later set",
            shape(&[("a", "1")]).with(b"A", b"'x', y"),
            shape(&[("a", "1")]),
            Some(r#"SET "a" TO 'x', y;"#),
        ),
    ];
    for (name, to, from, sql) in rows {
        let changes = to.changes(&from).map(|sql| String::from_utf8(sql).unwrap());
        assert_eq!(changes.as_deref(), sql, "{name}");
    }
}

#[test]
fn the_last_of_two_values_counts_and_order_does_not() {
    let one = shape(&[("b", "1"), ("a", "0"), ("a", "2")]);
    let other = shape(&[("a", "2"), ("b", "1")]);
    assert_eq!(one, other);
    assert_eq!(one.hash(), other.hash());
    assert_ne!(one.hash(), shape(&[("a", "0"), ("b", "1")]).hash());
    assert_eq!(Shape::default().hash(), 0);
}
