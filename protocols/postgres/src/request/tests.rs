//! What a request says of itself, and the facts that limits are written in.

use portcullis_filter::facts::Descriptor;
use portcullis_limit::Seed;

use super::*;
use crate::filters::testing::{chain, context, passes, request};

#[test]
fn a_request_says_what_its_text_does() {
    let rows = [
        ("select 1", Verb::Select, Class::Read),
        ("", Verb::Other, Class::Read),
        ("select 1; delete from t", Verb::Select, Class::Write),
        ("delete from t", Verb::Delete, Class::Write),
        ("select 'open", Verb::Select, Class::Unknown),
    ];
    for (sql, verb, class) in rows {
        let request = request(sql);
        assert_eq!((request.verb(), request.class()), (verb, class), "{sql}");
        assert_eq!(request.sql(), sql.as_bytes());
    }
    let mut unknown = request("select 1");
    unknown.set_unknown();
    assert_eq!(
        (unknown.verb(), unknown.class()),
        (Verb::Other, Class::Unknown)
    );
    assert_eq!(unknown.fingerprint(), Fingerprint(0));
}

#[test]
fn values_are_left_out_however_the_server_reads_them() {
    let escaped = r"select 'a\'s3cret'";
    let mut request = request(escaped);
    request.reading.backslash_escapes = true;
    let mut text = Vec::new();
    request.write_sanitised(&mut text, 100);
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("select") && !text.contains("s3cret"),
        "{text}"
    );
}

#[derive(Debug)]
struct Prepared(&'static [u8], Analysis);

impl SharedText for Prepared {
    fn sql(&self) -> &[u8] {
        self.0
    }

    fn analysis(&self) -> &Analysis {
        &self.1
    }
}

#[test]
fn a_shared_text_is_as_good_as_an_own_one() {
    let mut shared = request("select 1");
    let own = request("delete from t");
    shared.set_shared(Arc::new(Prepared(b"delete from t", own.analysis().clone())));
    assert_eq!(
        (shared.sql(), shared.verb()),
        (&b"delete from t"[..], Verb::Delete)
    );
    shared.set_text(b"", |_, analysis| *analysis = Analysis::new());
    assert_eq!(shared.sql(), b"");
}

#[test]
fn facts_tell_requests_apart() {
    let other = |change: fn(&mut StatementRequest)| {
        let mut changed = request("select 1 from t");
        change(&mut changed);
        changed
    };
    let requests = [
        request("select 1 from t"),
        request("select 2 from t"),
        request("delete from t"),
        other(|request| request.user = "bob".into()),
        other(|request| request.database = "till".into()),
        other(|request| request.application = "".into()),
    ];
    let cx = context("192.0.2.1");
    for (name, expected) in [
        ("postgres.user", [0, 0, 0, 3, 0, 0]),
        ("postgres.database", [0, 0, 0, 0, 4, 0]),
        ("postgres.application", [0, 0, 0, 0, 0, 5]),
        ("postgres.statement", [0, 0, 2, 0, 0, 0]),
        ("postgres.class", [0, 0, 2, 0, 0, 0]),
        ("postgres.fingerprint", [0, 0, 2, 0, 0, 0]),
        ("postgres.tls", [0, 0, 0, 0, 0, 0]),
    ] {
        let descriptor = Descriptor::<PostgresMessages>::new([name], Seed::fixed(7)).unwrap();
        let keys = requests
            .each_ref()
            .map(|request| descriptor.key(request, &cx));
        let first = keys.map(|key| keys.iter().position(|other| *other == key).unwrap());
        assert_eq!(first, expected, "{name}");
    }
    for name in PostgresMessages::FACTS {
        assert!(PostgresMessages::fact(name).is_some(), "{name}");
    }
}

#[test]
fn the_shared_limits_count_statements() {
    let chain =
        chain("[{rate_limit: {per: [postgres.user, postgres.fingerprint], rate: 1/s, burst: 1}}]");
    let mut cx = context("192.0.2.1");
    let limited = Err("rate_limited 53400".to_owned());
    let rows = [
        ("select 1 from a", Ok(())),
        ("select 2 from a", limited),
        ("select 1 from b", Ok(())),
    ];
    for (sql, expected) in rows {
        assert_eq!(
            passes(&chain, &mut request(sql), &mut cx),
            expected,
            "{sql}"
        );
    }
}
