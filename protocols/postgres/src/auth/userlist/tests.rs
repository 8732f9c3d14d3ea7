//! Lists as PgBouncer reads them, and broken ones.

use super::*;

#[test]
fn users_are_found() {
    let text = b"\xef\xbb\xbf; users\r\n# more\n\n\"alice\" \"pencil\" rest is \"ignored\r\n  \"bo\"\"b\"\t\"a \"\"b\"\" ; c\"\n\"carol\" \"\"\n\"dave\"\"md5\"\n\"erin\" \"md5c1e03d321635aace32f430d55423d0f8\"";
    let rest = String::from_utf8_lossy(text).replace("\"dave\"\"md5\"\n", "");
    let list = Userlist::parse(rest.as_bytes()).unwrap();
    assert_eq!((list.len(), list.is_empty()), (4, false));
    let plain = |text: &[u8]| Secret::parse(text).unwrap();
    let rows: &[(&str, Result<Secret, AuthError>)] = &[
        ("alice", Ok(plain(b"pencil"))),
        ("bo\"b", Ok(plain(b"a \"b\" ; c"))),
        ("carol", Err(AuthError::NoPassword)),
        ("erin", Ok(plain(b"md5c1e03d321635aace32f430d55423d0f8"))),
        ("Alice", Err(AuthError::UnknownUser)),
        ("", Err(AuthError::UnknownUser)),
    ];
    for (user, expected) in rows {
        let found = match list.find(user.as_bytes()) {
            Lookup::Found(secret) => Ok(secret.clone()),
            Lookup::Missing(why) => Err(why),
        };
        assert_eq!(found, *expected, "{user}");
    }
}

#[test]
fn broken_lines_are_named() {
    use UserlistErrorKind::*;
    let long = format!("\"{}\" \"x\"", "u".repeat(128));
    let rows: &[(&str, UserlistErrorKind)] = &[
        ("alice \"pencil\"", User),
        ("'alice' 'pencil'", User),
        ("\"alice\"", Password),
        ("\"alice\" pencil", Password),
        ("\"alice\" \"pencil", Unclosed),
        ("\"alice", Unclosed),
        ("\"", Unclosed),
        ("\"alice\"\"pencil\"", Password),
        ("\"\" \"pencil\"", EmptyUser),
        (&long, LongUser),
        ("\"a\0b\" \"pencil\"", NulUser),
        ("\"first\" \"again\"", Duplicate),
        ("\"alice\" \"a\0b\"", Secret(SecretError::Nul)),
        (
            "\"alice\" \"SCRAM-SHA-256$oops\"",
            Secret(SecretError::BadVerifier),
        ),
    ];
    for (line, kind) in rows {
        let text = format!("\"first\" \"x\"\n{line}\n\"last\" \"x\"\n");
        let errors = Userlist::parse(text.as_bytes()).unwrap_err();
        assert_eq!(
            errors,
            [UserlistError {
                line: 2,
                kind: *kind
            }],
            "{line}"
        );
    }
    let errors = Userlist::parse("x\n".repeat(1000).as_bytes()).unwrap_err();
    assert_eq!(errors.len(), MOST_ERRORS);
    let text = errors.first().unwrap().to_string();
    assert_eq!(text, "line 1: expected a user in double quotes");
}

#[test]
fn the_commonest_form() {
    let hash = "md5c1e03d321635aace32f430d55423d0f8";
    let rows = [
        ("none", String::new(), Form::Scram),
        ("plain", "\"a\" \"x\"\n".to_owned(), Form::Plain),
        (
            "hashes",
            format!("\"a\" \"{hash}\"\n\"b\" \"{hash}\"\n\"c\" \"x\""),
            Form::Md5,
        ),
    ];
    for (name, text, expected) in rows {
        let list = Userlist::parse(text.as_bytes()).unwrap();
        assert_eq!(list.form(), expected, "{name}");
    }
}
