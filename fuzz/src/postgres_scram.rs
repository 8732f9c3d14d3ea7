//! SCRAM of Postgres: hostile clients against our server's side, hostile servers against our client's.
//!
//! The first byte says who is hostile; the rest is its messages, one to a line. In them `NONCE` stands for our part of the
//! nonce, which no fuzzer would find. Law: nobody gets in without the password, and no server is believed that does not know it.
//! Start at [`session`].

use std::num::NonZeroU32;

use portcullis_postgres::auth::scram::{
    LONGEST_MESSAGE, Nonce, ScramClient, ScramServer, ScramSetup,
};
use portcullis_postgres::auth::server::{
    Answer, ServerAuth, ServerPolicy, ServerRequest, ServerSetup,
};
use portcullis_postgres::auth::{
    AuthError, CertificateMatch, ClientAuth, ClientSetup, Entropy, Form, Lookup, Method, Mock,
    PlainPassword, ScramVerifier, Secret, Step,
};

/// Ours; as base64 it is [`OURS_TEXT`].
const OURS: Nonce = *b"ours, eighteen of ";
const OURS_TEXT: &[u8] = b"b3VycywgZWlnaHRlZW4gb2Yg";
const PASSWORD: &[u8] = b"pencil";
const MOST_ITERATIONS: u32 = 16;

/// One side's messages against the other's machine.
pub fn session(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let messages: Vec<Vec<u8>> = rest.split(|byte| *byte == b'\n').map(filled).collect();
    match kind % 4 {
        0 => hostile_client(&messages),
        1 => hostile_server(&messages),
        2 => hostile_passwords(&messages, *kind),
        _ => secrets(rest),
    }
}

/// The message with our nonce where it says so.
fn filled(message: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"NONCE";
    let mut filled = Vec::new();
    let mut rest = message;
    while let Some((first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(MARK) {
            filled.extend_from_slice(OURS_TEXT);
            rest = behind;
        } else {
            filled.push(*first);
            rest = behind;
        }
    }
    filled
}

fn verifier() -> ScramVerifier {
    ScramVerifier::derive(PASSWORD, b"salt", NonZeroU32::MIN)
}

fn hostile_client(messages: &[Vec<u8>]) {
    let mut server = ScramServer::new(verifier(), None, OURS);
    let mut messages = messages.iter();
    let mechanism = messages.next().map(Vec::as_slice).unwrap_or_default();
    let first = messages.next().map(Vec::as_slice).unwrap_or_default();
    if let Ok(answer) = server.on_initial(mechanism, first) {
        assert!(
            answer.len() < 2 * LONGEST_MESSAGE,
            "a bounded message has no bounded answer"
        );
        assert!(answer.starts_with(b"r="), "the answer begins otherwise");
    }
    for message in messages {
        // Proofs for this nonce and this password are not among the bytes that a fuzzer makes.
        assert!(
            server.on_response(message).is_err(),
            "a wrong proof is accepted"
        );
    }
}

fn hostile_server(messages: &[Vec<u8>]) {
    let setup = ScramSetup {
        password: Some(PlainPassword::new(PASSWORD)),
        iterations: 1..=MOST_ITERATIONS,
        ..ScramSetup::default()
    };
    let mut client = ScramClient::new(setup, OURS);
    let initial = client.on_mechanisms(b"SCRAM-SHA-256\0\0");
    assert!(initial.is_ok(), "the offer is good");
    let mut messages = messages.iter();
    if let Some(first) = messages.next()
        && let Ok(response) = client.on_continue(first)
    {
        assert!(
            response.len() < 2 * LONGEST_MESSAGE,
            "a bounded message has no bounded answer"
        );
        let ours = [b"r=", OURS_TEXT].concat();
        assert!(
            first.starts_with(&ours),
            "another exchange's nonce is answered"
        );
    }
    for message in messages {
        assert!(
            client.on_final(message).is_err(),
            "a wrong signature is believed"
        );
    }
}

/// Bodies of password messages by every method, and requests of servers in any order.
fn hostile_passwords(messages: &[Vec<u8>], kind: u8) {
    let mock = Mock::new([7; 32], Form::Scram, NonZeroU32::MIN);
    let method = [Method::Cleartext, Method::Md5, Method::Scram][usize::from(kind / 4) % 3];
    let secret = Secret::Plain(PlainPassword::new(PASSWORD));
    for lookup in [
        Lookup::Found(&secret),
        Lookup::Missing(AuthError::UnknownUser),
    ] {
        let mut auth = ClientAuth::new(&ClientSetup {
            method,
            user: b"alice",
            lookup,
            mock: &mock,
            encrypted: true,
            end_point: None,
            certificate: CertificateMatch::Absent,
            entropy: Entropy {
                nonce: OURS,
                salt: [1, 2, 3, 4],
            },
        });
        assert!(matches!(auth.start(), Step::Ask(_)), "nothing is asked");
        for message in messages {
            let is_password =
                method == Method::Cleartext && message.strip_suffix(b"\0") == Some(PASSWORD);
            let may = is_password && matches!(lookup, Lookup::Found(_));
            let step = auth.on_password(message);
            assert!(
                may || !matches!(step, Step::Accepted { .. }),
                "accepted: {step:?}"
            );
        }
    }
    let policy = ServerPolicy::default();
    let mut auth = ServerAuth::new(ServerSetup {
        policy: &policy,
        user: b"alice",
        secret: Some(&secret),
        keys: None,
        encrypted: false,
        end_point: None,
        nonce: OURS,
    });
    for (index, message) in messages.iter().enumerate() {
        let (code, body) = message.split_first().unwrap_or((&0, &[]));
        let request = match code % 7 {
            0 => ServerRequest::Ok,
            1 => ServerRequest::Cleartext,
            2 => ServerRequest::SaslFinal(body),
            3 => ServerRequest::Sasl { mechanisms: body },
            4 => ServerRequest::SaslContinue(body),
            5 => ServerRequest::Sasl {
                mechanisms: b"SCRAM-SHA-256\0\0",
            },
            _ => ServerRequest::Unsupported(i32::from(*code)),
        };
        let answer = auth.on_request(request);
        // Nobody asked for MD5: a server is in only by asking for nothing at all.
        let is_first = index == 0 && matches!(request, ServerRequest::Ok);
        assert!(
            is_first || !matches!(answer, Ok(Answer::Done { .. } | Answer::Password(_))),
            "a server that proved nothing is believed"
        );
    }
}

/// What is read as a verifier is written as it was.
fn secrets(text: &[u8]) {
    if let Ok(Secret::Scram(verifier)) = Secret::parse(text) {
        assert_eq!(
            verifier.to_text().as_bytes(),
            text,
            "a verifier is written otherwise"
        );
    }
    let _ = portcullis_postgres::auth::Userlist::parse(text);
    let _ = portcullis_postgres::auth::timestamp::Timestamp::parse(text);
    let _ = portcullis_postgres::auth::EndPointHash::of(text);
}
