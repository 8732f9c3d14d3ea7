//! Secrets as PostgreSQL and PgBouncer keep them.

use super::*;

/// Passwords, and the verifiers that PostgreSQL 15 made of them. SASLprep has something to do in most.
const MADE_BY_POSTGRESQL: &[(&str, &str, &str)] = &[
    (
        "ASCII",
        "pencil",
        "SCRAM-SHA-256$4096:YOBTi0Gr5YqPfeKewx1VuQ==$uivIPWSIid7c73bqGo8wU/YmmJQ6Jj9TD5KiG3UN/gc=:/nWOdA1MnwOsTfS6nV0smeK+npUHcLPqPEqZ8HaU/nQ=",
    ),
    (
        "a blank",
        "with space",
        "SCRAM-SHA-256$4096:pOXTvHvD96EajYxl/SerpA==$CFV3xDpK5sgA5Drs3EJZgal5Lc+/w/ziFhFEvVnsI3s=:auZxYpdtqZO4OYHp36yg2+QjwEdadq6kOhAfVF0o9a8=",
    ),
    (
        "mapped to nothing",
        "I\u{ad}X",
        "SCRAM-SHA-256$4096:O8UQqvewO0n4Hj2VtGrmeg==$naZ2+A9/SYEK+uDyJ7wbTMo9MWd12ogQKCBozKlxiUc=:UxiY5muQ6R1AtjAlaxvLig3X6xct6q3cS13yklYl5jw=",
    ),
    (
        "a Roman number",
        "\u{2168}",
        "SCRAM-SHA-256$4096:/7c/AGrknmrmJPSr2c0bfw==$SSCOknyIoWIC8ZACH5ie9SWUbhE9ufDH82KhIQUGZik=:LTUhpjEdU3Gyh39WUfBZhv4Mrr3hL+gsA/6xGTSztbA=",
    ),
    (
        "an ordinal",
        "\u{aa}",
        "SCRAM-SHA-256$4096:EAoxWaroydoa0oTHaFOGTQ==$g28B5Ij5ODlu5kIQNpfFlZ7FrLRfxoJv1Pmnn+77o+w=:g7J54QPUfS5sVv2z51kDo+VzVy5wZSKxOx1bgAcsUHk=",
    ),
    (
        "both directions: as it is",
        "\u{627}1",
        "SCRAM-SHA-256$4096:V3wkOUNqYWJAl4zLifrh6A==$dAbma/dhYcndzzAJRhis7IglnWellClT75T9axBdaOs=:mqIZvUq7BzNg2hr9zFKnXyvPOuObBPpLVY3XPIx45GA=",
    ),
    (
        "nothing left: as it is",
        "\u{ad}",
        "SCRAM-SHA-256$4096:LDc9JJS57PdG9rHXYlNmgw==$2ilK0DvpXcR8G1wyEAxop0vD0h31koEYkQnUBLNxjwo=:6YkaDtC3ZdBjALE9nszh3gLNqukQzGWzrta8oYHhkCM=",
    ),
    (
        "a wide blank",
        "a\u{a0}b",
        "SCRAM-SHA-256$4096:glVTTUsHPmhVchPjSBgqxQ==$W+xSwuLDBwTfLKkNVbom8lLCUyktkeAsTHpHzCgATS4=:nEfLPW8PoWe5TV22fM2NpJ2lMAkKO6F2zpnPB3Is8Qw=",
    ),
    (
        "unassigned: as it is",
        "\u{221}",
        "SCRAM-SHA-256$4096:5X3GWimv5DkxaIhDInYE9A==$DyY60Pzb+TmBUxbALLoKikBl70OJkHACTAZyppiBAtw=:flAQWWcOmYnN7FQH9PTnJVup/L6jEjYP5ZJQrVkwkFs=",
    ),
    (
        "a control character: as it is",
        "tab\there",
        "SCRAM-SHA-256$4096:j8X0D9JzODWXVlXqW9XBcQ==$j7Cr6vT8FSEmeBkdpkooErBtZEqnShMMXN5Bn4zoLBE=:fNjD9doAJB3GST3dEv5uAH580zutPIUsrhvXUcBvfjM=",
    ),
    (
        "Hangul",
        "\u{d55c}\u{ad6d}",
        "SCRAM-SHA-256$4096:g2TGK2ySr8P78hsuocdciA==$lZNr4rWlBzSjMJuF1Ez4kHmBHX4W2cOoqNlDpteZO38=:V9f5J/AtFFUVv3Da/zTtc+Hj+Q+VOENoDvQ5hUYibcA=",
    ),
    (
        "one that becomes many",
        "\u{fdfa}",
        "SCRAM-SHA-256$4096:crnrM52wukfIyf4e7pTdBw==$QimWLxA1qNan2PKKgCr4OgkbDoNZjyK2OMVr2bEAPxc=:5ISUaSU2qH17OBSpkwbeLZ3okx/9bOUrT7DLGzch+ss=",
    ),
    (
        "a bell: as it is",
        "\u{212b}\u{7}",
        "SCRAM-SHA-256$4096:5jWRgsrcMWw5YVOXnmzUYg==$SHsNifJ1ucKPGQ5SLVK3bt1qlykUdH26Oc93ce51xZA=:yd3zQH7LWmFf8rhD8bhGD57+BeCvSKwIeWbQ4+yQwb0=",
    ),
];

#[test]
fn verifiers_are_postgresqls() {
    for (name, password, text) in MADE_BY_POSTGRESQL {
        let Ok(Secret::Scram(verifier)) = Secret::parse(text.as_bytes()) else {
            panic!("{name}: no verifier");
        };
        assert_eq!(&*verifier.to_text(), text, "{name}");
        let again =
            ScramVerifier::derive(password.as_bytes(), verifier.salt(), verifier.iterations());
        assert_eq!(again, verifier, "{name}");
    }
}

#[test]
fn md5_is_postgresqls() {
    let stored = Secret::parse(b"md5c1e03d321635aace32f430d55423d0f8");
    assert_eq!(stored, Ok(Secret::Md5(Md5Hash::derive(b"pencil", b"l"))));
}

#[test]
fn forms_are_told_apart() {
    let good = MADE_BY_POSTGRESQL[0].2;
    let rows: &[(&str, &str, Result<Form, SecretError>)] = &[
        ("a verifier", good, Ok(Form::Scram)),
        (
            "a hash",
            "md5c1e03d321635aace32f430d55423d0f8",
            Ok(Form::Md5),
        ),
        (
            "a hash in capitals",
            "md5C1E03D321635AACE32F430D55423D0F8",
            Ok(Form::Plain),
        ),
        ("a short hash", "md5c1e03d", Ok(Form::Plain)),
        ("a password", "pencil", Ok(Form::Plain)),
        ("another mechanism", "SCRAM-SHA-1$x", Ok(Form::Plain)),
        ("empty", "", Err(SecretError::Empty)),
        ("a NUL", "a\0b", Err(SecretError::Nul)),
        (
            "too long",
            &"x".repeat(LONGEST_SECRET + 1),
            Err(SecretError::TooLong),
        ),
        ("the longest", &"x".repeat(LONGEST_SECRET), Ok(Form::Plain)),
    ];
    for (name, text, expected) in rows {
        let form = Secret::parse(text.as_bytes()).map(|secret| secret.form());
        assert_eq!(form, *expected, "{name}");
    }
}

#[test]
fn broken_verifiers_are_no_passwords() {
    let good = MADE_BY_POSTGRESQL[0].2;
    let rows = [
        ("only the prefix", "SCRAM-SHA-256$".to_owned()),
        ("no iterations", good.replace("4096", "")),
        ("no rounds", good.replace("4096", "0")),
        ("negative", good.replace("4096", "-1")),
        ("overflowing", good.replace("4096", "4294967297")),
        ("beyond int", good.replace("4096", "2147483648")),
        ("no salt", good.replace("YOBTi0Gr5YqPfeKewx1VuQ==", "")),
        ("a salt that is none", good.replace("YOBT", "!!!!")),
        (
            "a short key",
            good.replace("/nWOdA1MnwOsTfS6nV0smeK+npUHcLPqPEqZ8HaU/nQ=", "AAAA"),
        ),
        (
            "no key",
            good.replace(":/nWOdA1MnwOsTfS6nV0smeK+npUHcLPqPEqZ8HaU/nQ=", ""),
        ),
        ("something behind", format!("{good}x")),
        ("one more field", format!("{good}:x")),
        ("a huge salt", good.replace("YOBT", &"YOBT".repeat(1000))),
    ];
    for (name, text) in rows {
        let secret = Secret::parse(text.as_bytes());
        assert_eq!(secret, Err(SecretError::BadVerifier), "{name}");
    }
}

#[test]
fn prepared_passwords_keep_their_verifier() {
    let mock = Mock::new([1; 32], Form::Scram, NonZeroU32::new(2).unwrap());
    let mut secret = Secret::parse(b"pencil").unwrap();
    secret.prepare(b"alice", &mock);
    let Secret::Plain(password) = &secret else {
        panic!("no password");
    };
    let stored = password.verifier.as_deref().unwrap();
    assert_eq!(*stored, password.derive(b"alice", &mock));
    // What is shown of it is what is shown of somebody unknown.
    assert_eq!(stored.salt(), mock.verifier(b"alice").salt());
    assert_eq!(stored.iterations(), mock.verifier(b"alice").iterations());
}

#[test]
fn nothing_is_printed() {
    let mock = Mock::new([1; 32], Form::Scram, DEFAULT_ITERATIONS);
    for text in [
        "pencil",
        "md5c1e03d321635aace32f430d55423d0f8",
        MADE_BY_POSTGRESQL[0].2,
    ] {
        let secret = Secret::parse(text.as_bytes()).unwrap();
        let printed = format!("{secret:?} {mock:?}");
        for part in text.split(['$', ':']).skip(1).chain([text]) {
            assert!(part == "4096" || !printed.contains(part), "{printed}");
        }
        assert!(
            !printed.contains("112, 101") && !printed.contains("99, 49"),
            "{printed}"
        );
    }
}
