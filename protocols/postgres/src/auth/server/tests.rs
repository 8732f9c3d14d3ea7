//! Servers that ask for what they may have, and for what they may not.

use std::num::NonZeroU32;

use super::*;
use crate::auth::md5::Md5Hash;
use crate::auth::secret::ScramVerifier;
use crate::auth::{certificate, scram};

const SALT: [u8; 4] = [1, 2, 0, 4];
const OFFER: &[u8] = b"SCRAM-SHA-256\0\0";
const OFFER_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

fn plain() -> Secret {
    Secret::parse(b"pencil").unwrap()
}

fn verifier() -> ScramVerifier {
    ScramVerifier::derive(b"pencil", b"salt", NonZeroU32::new(2).unwrap())
}

fn setup<'a>(policy: &'a ServerPolicy, secret: Option<&'a Secret>) -> ServerSetup<'a> {
    ServerSetup {
        policy,
        user: b"alice",
        secret,
        keys: None,
        encrypted: false,
        end_point: None,
        nonce: [3; 18],
    }
}

/// The first answer in a word, or why there is none.
fn first(setup: ServerSetup<'_>, request: ServerRequest<'_>) -> Result<String, ServerAuthError> {
    let answer = ServerAuth::new(setup).on_request(request)?;
    Ok(match answer {
        Answer::Password(body) => String::from_utf8(body.to_vec()).unwrap(),
        Answer::SaslInitial { mechanism, .. } => mechanism.to_owned(),
        other => format!("{other:?}"),
    })
}

#[test]
fn what_is_required_is_required() {
    use ServerAuthError::{CleartextRefused, TooWeak};
    let md5 = Md5Hash::derive(b"pencil", b"alice").answer(SALT);
    let md5 = format!("{}\0", std::str::from_utf8(&*md5).unwrap());
    let requests = [
        ServerRequest::Ok,
        ServerRequest::Cleartext,
        ServerRequest::Md5 { salt: SALT },
        ServerRequest::Sasl { mechanisms: OFFER },
        ServerRequest::Sasl {
            mechanisms: OFFER_PLUS,
        },
    ];
    let done = || Ok("Done(..)".to_owned());
    let text = |text: &str| Ok(text.to_owned());
    let scram = || text(scram::SCRAM_SHA_256);
    let plus = || text(SCRAM_SHA_256_PLUS);
    let rows = [
        (
            Strength::None,
            [done(), text("pencil\0"), text(&md5), scram(), plus()],
        ),
        (
            Strength::Cleartext,
            [Err(TooWeak), text("pencil\0"), text(&md5), scram(), plus()],
        ),
        (
            Strength::Md5,
            [Err(TooWeak), Err(TooWeak), text(&md5), scram(), plus()],
        ),
        (
            Strength::Scram,
            [Err(TooWeak), Err(TooWeak), Err(TooWeak), scram(), plus()],
        ),
        (
            Strength::ScramPlus,
            [
                Err(TooWeak),
                Err(TooWeak),
                Err(TooWeak),
                Err(TooWeak),
                plus(),
            ],
        ),
    ];
    let hash = certificate::tests::hash_of_ecdsa();
    let secret = plain();
    for (require, expected) in rows {
        let policy = ServerPolicy {
            require,
            ..ServerPolicy::default()
        };
        let setup = ServerSetup {
            encrypted: true,
            end_point: Some(&hash),
            ..setup(&policy, Some(&secret))
        };
        for (request, expected) in requests.into_iter().zip(expected) {
            assert_eq!(first(setup, request), expected, "{require:?} {request:?}");
        }
    }
    use CleartextPolicy::{Always, Never, OverTls};
    let rows = [
        (OverTls, false, Err(CleartextRefused)),
        (OverTls, true, text("pencil\0")),
        (Never, true, Err(CleartextRefused)),
        (Always, false, text("pencil\0")),
    ];
    for (cleartext, encrypted, expected) in rows {
        let policy = ServerPolicy {
            cleartext,
            ..ServerPolicy::default()
        };
        let setup = ServerSetup {
            encrypted,
            ..setup(&policy, Some(&secret))
        };
        assert_eq!(
            first(setup, ServerRequest::Cleartext),
            expected,
            "{cleartext:?} {encrypted}"
        );
    }
    assert_eq!(CleartextPolicy::default(), OverTls);
}

#[test]
fn required_binding_is_required_of_every_method() {
    use ServerAuthError::BindingMissing;
    let policy = ServerPolicy {
        binding: ChannelBinding::Require,
        ..ServerPolicy::default()
    };
    let secret = plain();
    let setup = ServerSetup {
        encrypted: true,
        ..setup(&policy, Some(&secret))
    };
    for request in [
        ServerRequest::Ok,
        ServerRequest::Cleartext,
        ServerRequest::Md5 { salt: SALT },
        ServerRequest::Sasl { mechanisms: OFFER },
        ServerRequest::Sasl {
            mechanisms: OFFER_PLUS,
        },
    ] {
        assert_eq!(first(setup, request), Err(BindingMissing), "{request:?}");
    }
}

#[test]
fn what_is_known_must_do() {
    use ServerAuthError::NoCredential;
    let policy = ServerPolicy {
        cleartext: CleartextPolicy::Always,
        ..ServerPolicy::default()
    };
    let (hash, stored) = (
        Secret::Md5(Md5Hash::derive(b"pencil", b"alice")),
        Secret::Scram(verifier()),
    );
    let requests = [
        ServerRequest::Cleartext,
        ServerRequest::Md5 { salt: SALT },
        ServerRequest::Sasl { mechanisms: OFFER },
    ];
    let rows = [
        ("nothing", None, [false; 3]),
        ("a hash", Some(&hash), [false, true, false]),
        ("a verifier", Some(&stored), [false; 3]),
    ];
    for (name, secret, expected) in rows {
        for (request, can) in requests.into_iter().zip(expected) {
            let answer = first(setup(&policy, secret), request);
            assert_eq!(answer.is_ok(), can, "{name} {request:?}");
            assert!(can || answer == Err(NoCredential), "{name} {request:?}");
        }
    }
    let keys = ScramKeys::derive(b"pencil", b"salt", NonZeroU32::new(2).unwrap());
    let setup = ServerSetup {
        keys: Some(&keys),
        ..setup(&policy, Some(&stored))
    };
    assert!(first(setup, ServerRequest::Sasl { mechanisms: OFFER }).is_ok());
}

#[test]
fn the_order_is_kept() {
    use ServerAuthError::{Premature, Unexpected, Unsupported};
    let (policy, secret) = (ServerPolicy::default(), plain());
    let unordered = [
        ServerRequest::SaslContinue(b"r=x"),
        ServerRequest::SaslFinal(b"v=x"),
    ];
    for request in unordered {
        assert_eq!(
            first(setup(&policy, Some(&secret)), request),
            Err(Unexpected),
            "{request:?}"
        );
    }
    for code in [2, 6, 7, 8, 9, -1, i32::MAX] {
        let request = ServerRequest::Unsupported(code);
        assert_eq!(
            first(setup(&policy, Some(&secret)), request),
            Err(Unsupported),
            "{code}"
        );
    }
    let started = || {
        let mut auth = ServerAuth::new(setup(&policy, Some(&secret)));
        auth.on_request(ServerRequest::Sasl { mechanisms: OFFER })
            .unwrap();
        auth
    };
    assert_eq!(
        started().on_request(ServerRequest::Ok),
        Err(Premature),
        "an impostor"
    );
    for request in [
        ServerRequest::Cleartext,
        ServerRequest::Md5 { salt: SALT },
        ServerRequest::Sasl { mechanisms: OFFER },
        ServerRequest::SaslFinal(b"v=x"),
    ] {
        let mut auth = started();
        assert_eq!(auth.on_request(request), Err(Unexpected), "{request:?}");
        assert_eq!(
            auth.on_request(ServerRequest::Ok),
            Err(Unexpected),
            "{request:?}: and then"
        );
    }
    // A password is given once.
    let mut auth = ServerAuth::new(setup(&policy, Some(&secret)));
    auth.on_request(ServerRequest::Md5 { salt: SALT }).unwrap();
    assert_eq!(
        auth.on_request(ServerRequest::Md5 { salt: SALT }),
        Err(Unexpected)
    );
}

#[test]
fn an_end_without_a_signature_is_refused() {
    let (policy, secret) = (ServerPolicy::default(), plain());
    let mut auth = ServerAuth::new(setup(&policy, Some(&secret)));
    let Ok(Answer::SaslInitial { mechanism, data }) =
        auth.on_request(ServerRequest::Sasl { mechanisms: OFFER })
    else {
        panic!("no first message");
    };
    let mut server = scram::ScramServer::new(verifier(), None, [5; 18]);
    let first = server.on_initial(mechanism.as_bytes(), &data).unwrap();
    auth.on_request(ServerRequest::SaslContinue(&first))
        .unwrap();
    assert_eq!(
        auth.on_request(ServerRequest::Ok),
        Err(ServerAuthError::Premature)
    );
}

#[test]
fn nothing_is_printed() {
    let (policy, secret) = (ServerPolicy::default(), plain());
    let setup = ServerSetup {
        encrypted: true,
        ..setup(&policy, Some(&secret))
    };
    let mut auth = ServerAuth::new(setup);
    let answer = auth.on_request(ServerRequest::Cleartext).unwrap();
    let text = format!("{setup:?} {auth:?} {answer:?}");
    assert!(
        !text.contains("pencil") && !text.contains("112, 101, 110"),
        "{text}"
    );
}
