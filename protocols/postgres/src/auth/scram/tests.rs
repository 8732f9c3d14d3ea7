//! The exchanges against the RFC's example, PostgreSQL's verifiers, another client, each other, and hostile peers.

mod hostile_clients;
mod hostile_servers;

use std::num::NonZeroU32;

use postgres_protocol::authentication::sasl;
use proptest::prelude::*;

use super::*;
use crate::auth::crypto::{decode64, encode64};
use crate::auth::error::{AuthError, ServerAuthError};
use crate::auth::secret::{Form, Mock, PlainPassword, ScramVerifier};
use crate::auth::{EndPointHash, certificate};

const SALT: &[u8] = b"sixteen bytes of";
const OURS: Nonce = *b"server's randomness".first_chunk().expect("long enough");
const THEIRS: Nonce = *b"client's randomness".first_chunk().expect("long enough");
const OFFER: &[u8] = b"SCRAM-SHA-256\0\0";
const OFFER_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

fn rounds(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn verifier(password: &[u8]) -> ScramVerifier {
    ScramVerifier::derive(password, SALT, rounds(2))
}

fn mock() -> Mock {
    Mock::new([7; 32], Form::Scram, rounds(2))
}

fn end_point() -> EndPointHash {
    certificate::tests::hash_of_ecdsa()
}

fn with_password(password: &[u8]) -> ScramSetup {
    ScramSetup {
        password: Some(PlainPassword::new(password)),
        ..ScramSetup::default()
    }
}

fn over_tls(setup: ScramSetup) -> ScramSetup {
    ScramSetup {
        encrypted: true,
        end_point: Some(end_point()),
        ..setup
    }
}

/// What both sides say at the end of an exchange.
type Ends = (
    Result<Verified, AuthError>,
    Option<Result<ScramKeys, ServerAuthError>>,
);

fn run(server: &mut ScramServer, client: &mut ScramClient, offer: &[u8]) -> Ends {
    let initial = client.on_mechanisms(offer).unwrap();
    let first = server.on_initial(initial.mechanism.as_bytes(), &initial.data);
    let first = match first {
        Ok(first) => first,
        Err(error) => return (Err(error), None),
    };
    let response = client.on_continue(&first).unwrap();
    let verified = server.on_response(&response);
    let end = match &verified {
        Ok(verified) => Some(client.on_final(&verified.server_final)),
        Err(_) => None,
    };
    (verified, end)
}

#[test]
fn the_example_of_rfc_7677() {
    let salt = decode64(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = ScramKeys::derive(b"pencil", &salt, rounds(4096));
    let message = AuthMessage {
        client_first_bare: b"n=user,r=rOprNGfwEbeRWgbNEkqO",
        server_first: b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final_bare: b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    };
    let client = keys.client_key();
    let proof = message.signed_by(&client.hashed()).xor(client);
    assert_eq!(
        encode64(proof.as_bytes()),
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let signature = message.signed_by(keys.server_key());
    assert_eq!(
        encode64(signature.as_bytes()),
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}

#[test]
fn another_client_gets_in() {
    let hash = || end_point().as_bytes().to_vec();
    let plain = || sasl::ChannelBinding::unsupported();
    let rows = [
        (
            "without TLS",
            plain(),
            false,
            SCRAM_SHA_256,
            "pencil",
            Ok(()),
        ),
        (
            "TLS, cannot bind",
            plain(),
            true,
            SCRAM_SHA_256,
            "pencil",
            Ok(()),
        ),
        (
            "y without offer",
            sasl::ChannelBinding::unrequested(),
            false,
            SCRAM_SHA_256,
            "pencil",
            Ok(()),
        ),
        (
            "bound",
            sasl::ChannelBinding::tls_server_end_point(hash()),
            true,
            SCRAM_SHA_256_PLUS,
            "pencil",
            Ok(()),
        ),
        (
            "bound elsewhere",
            sasl::ChannelBinding::tls_server_end_point(vec![0; 32]),
            true,
            SCRAM_SHA_256_PLUS,
            "pencil",
            Err(AuthError::BindingMismatch),
        ),
        (
            "offer taken away",
            sasl::ChannelBinding::unrequested(),
            true,
            SCRAM_SHA_256,
            "pencil",
            Err(AuthError::BindingDowngrade),
        ),
        (
            "wrong password",
            plain(),
            false,
            SCRAM_SHA_256,
            "pencils",
            Err(AuthError::WrongPassword),
        ),
    ];
    for (name, binding, tls, mechanism, password, expected) in rows {
        let mut client = sasl::ScramSha256::new(password.as_bytes(), binding);
        let mut server = ScramServer::new(verifier(b"pencil"), tls.then(end_point), OURS);
        let verified = server
            .on_initial(mechanism.as_bytes(), client.message())
            .and_then(|first| {
                client.update(&first).unwrap();
                server.on_response(client.message())
            });
        if let Ok(verified) = &verified {
            client.finish(&verified.server_final).expect(name);
        }
        assert_eq!(verified.map(|_| ()), expected, "{name}");
    }
}

#[test]
fn keys_go_through_without_a_password() {
    let stored = verifier(b"pencil");
    let mut server = ScramServer::new(stored.clone(), None, OURS);
    let (verified, _) = run(
        &mut server,
        &mut ScramClient::new(with_password(b"pencil"), THEIRS),
        OFFER,
    );
    let keys = verified.unwrap().keys;
    let setup = || ScramSetup {
        keys: Some(keys.clone()),
        ..ScramSetup::default()
    };
    for (name, setup, tls) in [
        ("plain", setup(), false),
        ("bound", over_tls(setup()), true),
    ] {
        let mut behind = ScramServer::new(stored.clone(), tls.then(end_point), OURS);
        let offer = if tls { OFFER_PLUS } else { OFFER };
        let (verified, end) = run(&mut behind, &mut ScramClient::new(setup, THEIRS), offer);
        assert_eq!(verified.unwrap().keys, keys, "{name}");
        assert_eq!(end, Some(Ok(keys.clone())), "{name}");
    }
    // Another verifier of the same password is another door.
    let other = ScramVerifier::derive(b"pencil", b"another salt", rounds(2));
    let mut behind = ScramServer::new(other.clone(), None, OURS);
    let mut client = ScramClient::new(setup(), THEIRS);
    let initial = client.on_mechanisms(OFFER).unwrap();
    let first = behind.on_initial(SCRAM_SHA_256.as_bytes(), &initial.data);
    assert_eq!(
        client.on_continue(&first.unwrap()),
        Err(ServerAuthError::KeysStale)
    );
    // With the password beside them, stale keys cost the work and nothing else.
    let both = ScramSetup {
        keys: Some(keys),
        ..with_password(b"pencil")
    };
    let mut behind = ScramServer::new(other, None, OURS);
    let (verified, _) = run(&mut behind, &mut ScramClient::new(both, THEIRS), OFFER);
    assert!(verified.is_ok());
}

#[test]
fn unknown_users_look_like_known_ones() {
    let known = verifier(b"pencil");
    let doomed = |user: &[u8]| {
        ScramServer::doomed(
            mock().verifier(user),
            AuthError::UnknownUser,
            Some(end_point()),
            OURS,
        )
    };
    let mut server = ScramServer::new(known, Some(end_point()), OURS);
    let mut unknown = doomed(b"nobody");
    assert_eq!(server.mechanisms(), unknown.mechanisms());
    let mut client = ScramClient::new(with_password(b"pencil"), THEIRS);
    let initial = client.on_mechanisms(OFFER).unwrap();
    let first = |server: &mut ScramServer| {
        let first = server.on_initial(SCRAM_SHA_256.as_bytes(), &initial.data);
        String::from_utf8(first.unwrap()).unwrap()
    };
    let shape = |text: &str| text.split(',').map(str::len).collect::<Vec<_>>();
    let made_up = first(&mut unknown);
    assert_eq!(shape(&first(&mut server)), shape(&made_up));
    assert_eq!(first(&mut doomed(b"nobody")), made_up, "stable");
    assert_ne!(first(&mut doomed(b"somebody")), made_up, "of this user");
    let response = client.on_continue(made_up.as_bytes()).unwrap();
    assert_eq!(unknown.on_response(&response), Err(AuthError::UnknownUser));
}

#[test]
fn a_right_proof_for_a_made_up_verifier_opens_nothing() {
    // As if somebody had found a password for it.
    let mut server = ScramServer::doomed(
        mock().verifier(b"nobody"),
        AuthError::PasswordExpired,
        None,
        OURS,
    );
    server.verifier = verifier(b"pencil");
    let mut client = ScramClient::new(with_password(b"pencil"), THEIRS);
    let (verified, _) = run(&mut server, &mut client, OFFER);
    assert_eq!(verified, Err(AuthError::PasswordExpired));
}

#[test]
fn nothing_is_printed() {
    let keys = ScramKeys::derive(b"pencil", SALT, rounds(2));
    let server = ScramServer::new(verifier(b"pencil"), None, OURS);
    let client = ScramClient::new(with_password(b"pencil"), THEIRS);
    let text = format!("{keys:?} {server:?} {client:?} {:?}", keys.client_key());
    let key = format!("{:?}", keys.client_key().as_bytes());
    assert!(
        !text.contains("pencil") && !text.contains(key.trim_matches(['[', ']'])),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_sides_agree(
        password in proptest::collection::vec(any::<u8>(), 0..40),
        text in "\\PC{0,12}",
        salt in proptest::collection::vec(any::<u8>(), 1..40),
        count in 1_u32..20,
        nonces in any::<(Nonce, Nonce)>(),
        tls in any::<bool>(),
        bind in any::<bool>(),
    ) {
        for password in [password.as_slice(), text.as_bytes()] {
            let verifier = ScramVerifier::derive(password, &salt, rounds(count));
            let again = ScramVerifier::parse(verifier.to_text().as_bytes());
            prop_assert_eq!(again.as_ref(), Some(&verifier));
            let mut server = ScramServer::new(verifier, tls.then(end_point), nonces.0);
            let setup = with_password(password);
            let setup = if tls { over_tls(setup) } else { setup };
            let binding = if bind { ChannelBinding::Prefer } else { ChannelBinding::Disable };
            let mut client = ScramClient::new(ScramSetup { binding, ..setup }, nonces.1);
            let (verified, end) = run(&mut server, &mut client, if tls { OFFER_PLUS } else { OFFER });
            prop_assert_eq!(Some(Ok(verified.unwrap().keys)), end);
        }
    }

    #[test]
    fn a_changed_message_opens_nothing(at in any::<prop::sample::Index>(), bit in 0_u32..8, which in 0..4) {
        let mut server = ScramServer::new(verifier(b"pencil"), Some(end_point()), OURS);
        let mut client = ScramClient::new(over_tls(with_password(b"pencil")), THEIRS);
        let change = |message: &mut Vec<u8>, number| {
            if number == which {
                let index = at.index(message.len());
                message[index] ^= 1 << bit;
            }
        };
        let mut initial = client.on_mechanisms(OFFER_PLUS).unwrap();
        change(&mut initial.data, 0);
        let Ok(mut first) = server.on_initial(initial.mechanism.as_bytes(), &initial.data) else {
            return Ok(());
        };
        change(&mut first, 1);
        let Ok(mut response) = client.on_continue(&first) else {
            return Ok(());
        };
        change(&mut response, 2);
        let verified = server.on_response(&response);
        // What the server says last is not signed by the client: that it was changed, the client finds.
        prop_assert_eq!(verified.is_ok(), which == 3);
        if let Ok(mut verified) = verified {
            change(&mut verified.server_final, 3);
            prop_assert!(client.on_final(&verified.server_final).is_err());
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut server = ScramServer::new(verifier(b"pencil"), None, OURS);
        let _ = server.on_initial(SCRAM_SHA_256.as_bytes(), &bytes);
        prop_assert!(server.on_response(&bytes).is_err());
        let mut client = ScramClient::new(with_password(b"pencil"), THEIRS);
        let _ = client.on_mechanisms(&bytes);
        let _ = client.on_continue(&bytes);
        prop_assert!(client.on_final(&bytes).is_err());
    }
}
