//! Clients by every method, with every form of secret.

use std::num::NonZeroU32;

use super::*;
use crate::auth::error::Refusal;
use crate::auth::scram::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS};
use crate::auth::secret::ScramVerifier;
use crate::auth::{ServerAuth, ServerPolicy, ServerRequest, ServerSetup, certificate, server};

const USER: &[u8] = b"alice";
const ENTROPY: Entropy = Entropy {
    nonce: [1; 18],
    salt: [2, 0, 4, 5],
};

fn mock(form: Form) -> Mock {
    Mock::new([9; 32], form, NonZeroU32::new(2).unwrap())
}

fn secrets() -> [(Form, Secret); 3] {
    let plain = Secret::parse(b"pencil").unwrap();
    let verifier = ScramVerifier::derive(b"pencil", b"salt", NonZeroU32::new(2).unwrap());
    [
        (Form::Plain, plain),
        (Form::Md5, Secret::Md5(Md5Hash::derive(b"pencil", USER))),
        (Form::Scram, Secret::Scram(verifier)),
    ]
}

fn setup<'a>(method: Method, lookup: Lookup<'a>, mock: &'a Mock) -> ClientSetup<'a> {
    ClientSetup {
        method,
        user: USER,
        lookup,
        mock,
        encrypted: false,
        end_point: None,
        certificate: CertificateMatch::Absent,
        entropy: ENTROPY,
    }
}

fn sasl_initial(mechanism: &str, data: Option<&[u8]>) -> Vec<u8> {
    let length = data.map_or(-1, |data| i32::try_from(data.len()).unwrap());
    let rest = data.unwrap_or_default();
    [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), rest].concat()
}

/// Logs in as our own side towards servers does; yields the end and how it was asked.
fn log_in(setup: &ClientSetup<'_>, password: &[u8]) -> (Step, &'static str) {
    let secret = Secret::parse(password).unwrap();
    let policy = ServerPolicy {
        cleartext: server::CleartextPolicy::Always,
        ..ServerPolicy::default()
    };
    let mut client = ServerAuth::new(ServerSetup {
        policy: &policy,
        user: USER,
        secret: Some(&secret),
        keys: None,
        encrypted: setup.encrypted,
        end_point: setup.end_point,
        nonce: [3; 18],
    });
    let mut auth = ClientAuth::new(setup);
    let mut step = auth.start();
    let mut asked = "";
    loop {
        let Step::Ask(request) = &step else {
            if let Step::Accepted {
                last: Some(Request::SaslFinal(data)),
                ..
            } = &step
            {
                client.on_request(ServerRequest::SaslFinal(data)).unwrap();
                client.on_request(ServerRequest::Ok).unwrap();
            }
            return (step, asked);
        };
        let answer = client.on_request(match request {
            Request::Cleartext => ServerRequest::Cleartext,
            Request::Md5 { salt } => ServerRequest::Md5 { salt: *salt },
            Request::Sasl { mechanisms: [_] } => ServerRequest::Sasl {
                mechanisms: b"SCRAM-SHA-256\0\0",
            },
            Request::Sasl { .. } => ServerRequest::Sasl {
                mechanisms: b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
            },
            Request::SaslContinue(data) => ServerRequest::SaslContinue(data),
            Request::SaslFinal(_) => panic!("asked to answer the end"),
        });
        let (kind, body) = match answer.unwrap() {
            server::Answer::Password(body) if body.starts_with(b"md5") => ("md5", body.to_vec()),
            server::Answer::Password(body) => ("cleartext", body.to_vec()),
            server::Answer::SaslInitial { mechanism, data } => {
                (mechanism, sasl_initial(mechanism, Some(&data)))
            }
            server::Answer::SaslResponse(data) => (asked, data),
            other => panic!("{other:?}"),
        };
        asked = kind;
        step = auth.on_password(&body);
    }
}

#[test]
fn every_method_with_every_secret() {
    let end_point = certificate::tests::hash_of_ecdsa();
    let mock = mock(Form::Scram);
    let rows = [
        (Method::Cleartext, ["cleartext"; 3], true),
        (Method::Md5, ["md5", "md5", SCRAM_SHA_256_PLUS], true),
        (Method::Md5, ["md5", "md5", SCRAM_SHA_256], false),
        (Method::Scram, [SCRAM_SHA_256_PLUS; 3], true),
        (Method::Scram, [SCRAM_SHA_256; 3], false),
    ];
    for (method, kinds, tls) in rows {
        for ((form, secret), kind) in secrets().into_iter().zip(kinds) {
            let name = format!("{method:?} {form:?} {tls}");
            let setup = ClientSetup {
                encrypted: tls,
                end_point: tls.then_some(&end_point),
                ..setup(method, Lookup::Found(&secret), &mock)
            };
            let (step, asked) = log_in(&setup, b"pencil");
            assert_eq!(asked, kind, "{name}");
            if method == Method::Scram && form == Form::Md5 {
                assert_eq!(step, Step::Rejected(AuthError::SecretUnusable), "{name}");
                continue;
            }
            let Step::Accepted { keys, .. } = step else {
                panic!("{name}: {step:?}");
            };
            let has_verifier = kind.starts_with("SCRAM") || form == Form::Scram;
            assert_eq!(keys.is_some(), has_verifier, "{name}");
            let (step, _) = log_in(&setup, b"pencils");
            assert_eq!(step, Step::Rejected(AuthError::WrongPassword), "{name}");
        }
    }
}

#[test]
fn whoever_is_missing_is_asked_as_if_there() {
    for why in [
        AuthError::UnknownUser,
        AuthError::PasswordExpired,
        AuthError::NoPassword,
    ] {
        let rows = [
            (Method::Cleartext, Form::Plain, "cleartext"),
            (Method::Cleartext, Form::Md5, "cleartext"),
            (Method::Cleartext, Form::Scram, "cleartext"),
            (Method::Md5, Form::Plain, "md5"),
            (Method::Md5, Form::Md5, "md5"),
            (Method::Md5, Form::Scram, SCRAM_SHA_256),
            (Method::Scram, Form::Plain, SCRAM_SHA_256),
            (Method::Scram, Form::Md5, SCRAM_SHA_256),
            (Method::Scram, Form::Scram, SCRAM_SHA_256),
        ];
        for (method, form, kind) in rows {
            let mock = mock(form);
            let setup = ClientSetup {
                encrypted: method == Method::Cleartext,
                ..setup(method, Lookup::Missing(why), &mock)
            };
            let (step, asked) = log_in(&setup, b"pencil");
            assert_eq!(asked, kind, "{method:?} {form:?}");
            assert_eq!(step, Step::Rejected(why), "{method:?} {form:?}");
            assert_eq!(why.refusal(), Refusal::InvalidPassword);
        }
    }
}

#[test]
fn methods_that_ask_nothing() {
    use CertificateMatch::{Absent, Fits, Other};
    let accepted = || Step::Accepted {
        last: None,
        keys: None,
    };
    let rows = [
        ("trust", Method::Trust, false, Absent, accepted()),
        ("a certificate", Method::Certificate, true, Fits, accepted()),
        (
            "another's",
            Method::Certificate,
            true,
            Other,
            Step::Rejected(AuthError::CertificateOther),
        ),
        (
            "none",
            Method::Certificate,
            true,
            Absent,
            Step::Rejected(AuthError::CertificateMissing),
        ),
        (
            "no TLS",
            Method::Certificate,
            false,
            Fits,
            Step::Rejected(AuthError::CertificateMissing),
        ),
        (
            "in the clear",
            Method::Cleartext,
            false,
            Absent,
            Step::Rejected(AuthError::CleartextWithoutTls),
        ),
    ];
    let mock = mock(Form::Scram);
    let [(_, secret), ..] = secrets();
    for (name, method, encrypted, certificate, expected) in rows {
        let setup = ClientSetup {
            encrypted,
            certificate,
            ..setup(method, Lookup::Found(&secret), &mock)
        };
        let mut auth = ClientAuth::new(&setup);
        assert_eq!(auth.start(), expected, "{name}");
        let unasked = Step::Rejected(AuthError::Unexpected);
        assert_eq!(auth.on_password(b"pencil\0"), unasked, "{name}");
        assert_eq!(auth.start(), unasked, "{name}");
    }
}

#[test]
fn bodies_of_passwords() {
    use AuthError::*;
    let long = vec![b'x'; LONGEST_SECRET + 1];
    let rows: &[(&str, &[u8], AuthError)] = &[
        ("wrong", b"pencils\0", WrongPassword),
        ("a front", b"penci\0", WrongPassword),
        ("empty", b"\0", EmptyPassword),
        ("nothing", b"", Malformed),
        ("no NUL", b"pencil", Malformed),
        ("two NULs", b"pencil\0\0", Malformed),
        ("a NUL inside", b"pencil\0x\0", Malformed),
        ("too long", &long, TooLong),
    ];
    let mock = mock(Form::Scram);
    for (form, secret) in secrets() {
        for (method, encrypted) in [(Method::Cleartext, true), (Method::Md5, false)] {
            if (method, form) == (Method::Md5, Form::Scram) {
                continue;
            }
            for (name, body, expected) in rows {
                let setup = ClientSetup {
                    encrypted,
                    ..setup(method, Lookup::Found(&secret), &mock)
                };
                let mut auth = ClientAuth::new(&setup);
                auth.start();
                let step = auth.on_password(body);
                assert_eq!(
                    step,
                    Step::Rejected(*expected),
                    "{method:?} {form:?} {name}"
                );
                let again = auth.on_password(b"pencil\0");
                assert_eq!(again, Step::Rejected(Unexpected), "{name}: a second try");
            }
        }
    }
}

#[test]
fn bodies_of_initial_responses() {
    use AuthError::{Malformed, MechanismUnknown};
    let good = sasl_initial(SCRAM_SHA_256, Some(b"n,,n=,r=abc"));
    let with_length = |length: i32| {
        [
            b"SCRAM-SHA-256\0".as_slice(),
            &length.to_be_bytes(),
            b"n,,n=,r=abc",
        ]
        .concat()
    };
    let rows: &[(&str, Vec<u8>, Option<AuthError>)] = &[
        ("good", good.clone(), None),
        ("empty", vec![], Some(Malformed)),
        ("no NUL", b"SCRAM-SHA-256".to_vec(), Some(Malformed)),
        ("no length", b"SCRAM-SHA-256\0".to_vec(), Some(Malformed)),
        (
            "half a length",
            b"SCRAM-SHA-256\0\0\0".to_vec(),
            Some(Malformed),
        ),
        ("too short a length", with_length(10), Some(Malformed)),
        ("too long a length", with_length(12), Some(Malformed)),
        ("the longest length", with_length(i32::MAX), Some(Malformed)),
        ("a negative length", with_length(-2), Some(Malformed)),
        ("none, and data", with_length(-1), Some(Malformed)),
        (
            "another mechanism",
            sasl_initial("PLAIN", Some(b"x")),
            Some(MechanismUnknown),
        ),
        (
            "another and no data",
            sasl_initial("PLAIN", None),
            Some(MechanismUnknown),
        ),
        ("a password", b"pencil\0".to_vec(), Some(Malformed)),
    ];
    let mock = mock(Form::Scram);
    let [.., (_, secret)] = secrets();
    for (name, body, expected) in rows {
        let mut auth = ClientAuth::new(&setup(Method::Scram, Lookup::Found(&secret), &mock));
        auth.start();
        let step = auth.on_password(body);
        match expected {
            Some(error) => assert_eq!(step, Step::Rejected(*error), "{name}"),
            None => assert!(
                matches!(step, Step::Ask(Request::SaslContinue(_))),
                "{name}"
            ),
        }
    }
    // A mechanism alone is answered with nothing; then the first message comes by itself (PostgreSQL takes that too).
    let mut auth = ClientAuth::new(&setup(Method::Scram, Lookup::Found(&secret), &mock));
    auth.start();
    let step = auth.on_password(&sasl_initial(SCRAM_SHA_256, None));
    assert_eq!(step, Step::Ask(Request::SaslContinue(vec![])));
    let step = auth.on_password(b"n,,n=,r=abc");
    assert!(matches!(step, Step::Ask(Request::SaslContinue(data)) if data.starts_with(b"r=abc")));
}

#[test]
fn a_verifier_of_too_many_rounds_is_not_worked_for() {
    let text = ScramVerifier::derive(b"pencil", b"salt", NonZeroU32::new(2).unwrap()).to_text();
    let text = text.replace("$2:", "$2000000000:");
    let secret = Secret::parse(text.as_bytes()).unwrap();
    let mock = mock(Form::Scram);
    let setup = ClientSetup {
        encrypted: true,
        ..setup(Method::Cleartext, Lookup::Found(&secret), &mock)
    };
    let (step, _) = log_in(&setup, b"pencil");
    assert_eq!(step, Step::Rejected(AuthError::SecretUnusable));
}

#[test]
fn nothing_is_printed() {
    let mock = mock(Form::Scram);
    for (_, secret) in secrets() {
        for method in [Method::Cleartext, Method::Md5, Method::Scram] {
            let setup = ClientSetup {
                encrypted: true,
                ..setup(method, Lookup::Found(&secret), &mock)
            };
            let text = format!("{setup:?} {:?}", ClientAuth::new(&setup));
            assert!(
                !text.contains("pencil") && !text.contains("112, 101, 110"),
                "{text}"
            );
        }
    }
}
