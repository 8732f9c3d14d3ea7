//! What hostile servers send.

use super::*;

/// Name, TLS, what we want, what is offered, and what is chosen with which header.
type Offer<'a> = (
    &'a str,
    bool,
    ChannelBinding,
    &'a [u8],
    Result<(&'a str, &'a str), ServerAuthError>,
);

#[test]
fn mechanisms() {
    use ChannelBinding::{Disable, Prefer, Require};
    use ServerAuthError::*;
    let plus_alone: &[u8] = b"SCRAM-SHA-256-PLUS\0\0";
    let plain = |flag| Ok((SCRAM_SHA_256, flag));
    let bound = Ok((SCRAM_SHA_256_PLUS, "p=tls-server-end-point,,"));
    let rows: &[Offer<'_>] = &[
        ("without TLS", false, Prefer, OFFER, plain("n,,")),
        ("TLS and PLUS", true, Prefer, OFFER_PLUS, bound),
        ("PLUS alone", true, Prefer, plus_alone, bound),
        ("TLS and no PLUS", true, Prefer, OFFER, plain("y,,")),
        (
            "binding switched off",
            true,
            Disable,
            OFFER_PLUS,
            plain("n,,"),
        ),
        (
            "switched off, PLUS alone",
            true,
            Disable,
            plus_alone,
            Err(MechanismUnknown),
        ),
        ("required", true, Require, OFFER_PLUS, bound),
        (
            "required, not offered",
            true,
            Require,
            OFFER,
            Err(BindingMissing),
        ),
        (
            "required, no TLS",
            false,
            Require,
            OFFER,
            Err(BindingMissing),
        ),
        (
            "PLUS without TLS",
            false,
            Prefer,
            OFFER_PLUS,
            Err(BindingWithoutTls),
        ),
        (
            "among others",
            false,
            Prefer,
            b"OAUTHBEARER\0SCRAM-SHA-256\0\0",
            plain("n,,"),
        ),
        (
            "others alone",
            false,
            Prefer,
            b"SCRAM-SHA-1\0\0",
            Err(MechanismUnknown),
        ),
        ("none", false, Prefer, b"\0", Err(Malformed)),
        ("empty", false, Prefer, b"", Err(Malformed)),
        (
            "an empty name",
            false,
            Prefer,
            b"\0SCRAM-SHA-256\0\0",
            Err(Malformed),
        ),
        ("no end", false, Prefer, b"SCRAM-SHA-256\0", Err(Malformed)),
        ("no NUL", false, Prefer, b"SCRAM-SHA-256", Err(Malformed)),
        (
            "too many",
            false,
            Prefer,
            &[b'x'; LONGEST_MESSAGE + 1],
            Err(TooLong),
        ),
    ];
    for (name, tls, binding, offer, expected) in rows {
        let setup = with_password(b"pencil");
        let setup = if *tls { over_tls(setup) } else { setup };
        let setup = ScramSetup {
            binding: *binding,
            ..setup
        };
        let initial = ScramClient::new(setup, THEIRS).on_mechanisms(offer);
        let initial = initial.map(|initial| {
            let text = String::from_utf8(initial.data).unwrap();
            let header = text.split("n=,").next().unwrap().to_owned();
            (initial.mechanism, header)
        });
        let expected = expected.map(|(mechanism, header)| (mechanism, header.to_owned()));
        assert_eq!(initial, expected, "{name}");
    }
}

#[test]
fn a_certificate_without_a_hash_is_not_bound_to() {
    let setup = ScramSetup {
        encrypted: true,
        ..with_password(b"pencil")
    };
    let initial = ScramClient::new(setup, THEIRS)
        .on_mechanisms(OFFER_PLUS)
        .unwrap();
    assert_eq!(initial.mechanism, SCRAM_SHA_256);
    assert!(initial.data.starts_with(b"n,,"));
}

#[test]
fn first_messages() {
    use ServerAuthError::*;
    let nonce = encode64(&THEIRS);
    let fill = |text: &str| text.replace("NONCE", &nonce);
    let long = |count: usize| format!("r=NONCE{},s=QUJD,i=2", "x".repeat(count));
    let rows: &[(&str, &str, Option<ServerAuthError>)] = &[
        ("well-formed", "r=NONCEabc,s=QUJD,i=2", None),
        ("an extension", "r=NONCEabc,s=QUJD,i=2,x=y", None),
        ("the longest nonce", &long(LONGEST_NONCE), None),
        (
            "a longer nonce",
            &long(LONGEST_NONCE + 1),
            Some(NonceInvalid),
        ),
        ("a megabyte of nonce", &long(1 << 20), Some(TooLong)),
        (
            "our nonce and no more",
            "r=NONCE,s=QUJD,i=2",
            Some(NonceInvalid),
        ),
        (
            "another nonce",
            "r=abcabcabcabcabcabcabcabcabc,s=QUJD,i=2",
            Some(NonceInvalid),
        ),
        (
            "our nonce behind",
            "r=abcNONCE,s=QUJD,i=2",
            Some(NonceInvalid),
        ),
        (
            "a NUL in the nonce",
            "r=NONCEa\0b,s=QUJD,i=2",
            Some(NonceInvalid),
        ),
        ("the least count", "r=NONCEabc,s=QUJD,i=1", None),
        ("the most", "r=NONCEabc,s=QUJD,i=1000", None),
        ("more", "r=NONCEabc,s=QUJD,i=1001", Some(Iterations)),
        ("a bomb", "r=NONCEabc,s=QUJD,i=2147483647", Some(Iterations)),
        (
            "an overflow",
            "r=NONCEabc,s=QUJD,i=4294967297",
            Some(Iterations),
        ),
        (
            "a huge number",
            "r=NONCEabc,s=QUJD,i=99999999999999999999999999",
            Some(Iterations),
        ),
        ("zero", "r=NONCEabc,s=QUJD,i=0", Some(Iterations)),
        (
            "a leading zero",
            "r=NONCEabc,s=QUJD,i=010",
            Some(Iterations),
        ),
        ("negative", "r=NONCEabc,s=QUJD,i=-1", Some(Malformed)),
        ("a sign", "r=NONCEabc,s=QUJD,i=+2", Some(Malformed)),
        ("no number", "r=NONCEabc,s=QUJD,i=x", Some(Malformed)),
        ("a NUL behind", "r=NONCEabc,s=QUJD,i=2\0", Some(Malformed)),
        ("no count", "r=NONCEabc,s=QUJD", Some(Malformed)),
        ("an empty count", "r=NONCEabc,s=QUJD,i=", Some(Malformed)),
        ("no salt", "r=NONCEabc,i=2", Some(Malformed)),
        ("an empty salt", "r=NONCEabc,s=,i=2", Some(Malformed)),
        (
            "no base64 in the salt",
            "r=NONCEabc,s=!!!!,i=2",
            Some(Malformed),
        ),
        (
            "a salt without padding",
            "r=NONCEabc,s=QQ,i=2",
            Some(Malformed),
        ),
        ("no nonce", "s=QUJD,i=2", Some(Malformed)),
        ("reordered", "s=QUJD,r=NONCEabc,i=2", Some(Malformed)),
        (
            "two nonces",
            "r=NONCEabc,r=NONCEabc,s=QUJD,i=2",
            Some(Malformed),
        ),
        ("two counts", "r=NONCEabc,s=QUJD,i=2,i=3", Some(Malformed)),
        (
            "a mandatory extension",
            "m=x,r=NONCEabc,s=QUJD,i=2",
            Some(Malformed),
        ),
        ("an error", "e=other-error", Some(Malformed)),
        ("empty", "", Some(Malformed)),
        ("commas", ",,,", Some(Malformed)),
    ];
    for (name, text, expected) in rows {
        let setup = ScramSetup {
            iterations: 1..=1000,
            ..with_password(b"pencil")
        };
        let mut client = ScramClient::new(setup, THEIRS);
        client.on_mechanisms(OFFER).unwrap();
        let result = client.on_continue(fill(text).as_bytes());
        assert_eq!(result.err(), *expected, "{name}");
    }
}

#[test]
fn final_messages() {
    use ServerAuthError::*;
    let other = encode64(&[0; 32]);
    let rows: &[(&str, &str, ServerAuthError)] = &[
        ("another signature", &format!("v={other}"), SignatureWrong),
        ("an error", "e=invalid-proof", Refused),
        ("an empty error", "e=", Refused),
        ("empty", "", Malformed),
        ("no value", "v=", Malformed),
        ("no base64", "v=!!!!", Malformed),
        ("short", "v=AAAA", Malformed),
        ("a NUL behind", &format!("v={other}\0"), Malformed),
        ("two", &format!("v={other},v={other}"), Malformed),
        ("another attribute", &format!("p={other}"), Malformed),
        ("long", &"v".repeat(LONGEST_MESSAGE + 1), TooLong),
    ];
    for (name, text, expected) in rows {
        let mut client = ScramClient::new(with_password(b"pencil"), THEIRS);
        client.on_mechanisms(OFFER).unwrap();
        let first = format!("r={}abc,s=QUJD,i=2", encode64(&THEIRS));
        client.on_continue(first.as_bytes()).unwrap();
        assert_eq!(client.on_final(text.as_bytes()), Err(*expected), "{name}");
        assert_eq!(client.on_final(b""), Err(Unexpected), "{name}: again");
    }
}

#[test]
fn nothing_to_answer_with() {
    let mut client = ScramClient::new(ScramSetup::default(), THEIRS);
    client.on_mechanisms(OFFER).unwrap();
    let first = format!("r={}abc,s=QUJD,i=2", encode64(&THEIRS));
    let result = client.on_continue(first.as_bytes());
    assert_eq!(result, Err(ServerAuthError::NoCredential));
    assert_eq!(
        client.on_mechanisms(OFFER),
        Err(ServerAuthError::Unexpected)
    );
}
