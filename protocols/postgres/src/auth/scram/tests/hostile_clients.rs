//! What hostile clients send.

use super::*;

fn first(tls: bool, mechanism: &str, data: &[u8]) -> Result<Vec<u8>, AuthError> {
    let end_point = tls.then(end_point);
    ScramServer::new(verifier(b"pencil"), end_point, OURS).on_initial(mechanism.as_bytes(), data)
}

#[test]
fn first_messages() {
    use AuthError::*;
    let long = |count: usize| format!("n,,n=,r={}", "x".repeat(count));
    let rows: &[(&str, &str, Option<AuthError>)] = &[
        ("as libpq", "n,,n=,r=abc", None),
        ("with a user", "n,,n=alice,r=abc", None),
        ("cannot know of TLS", "y,,n=,r=abc", None),
        ("an extension", "n,,n=,r=abc,x=y", None),
        ("the longest nonce", &long(LONGEST_NONCE), None),
        (
            "a longer nonce",
            &long(LONGEST_NONCE + 1),
            Some(NonceInvalid),
        ),
        ("an empty nonce", "n,,n=,r=", Some(NonceInvalid)),
        ("a blank in the nonce", "n,,n=,r=a b", Some(NonceInvalid)),
        ("DEL in the nonce", "n,,n=,r=a\x7f", Some(NonceInvalid)),
        ("no ASCII in the nonce", "n,,n=,r=é", Some(NonceInvalid)),
        (
            "too long",
            &format!("n,,n={},r=abc", "x".repeat(LONGEST_MESSAGE)),
            Some(TooLong),
        ),
        ("empty", "", Some(Malformed)),
        ("a NUL", "n,,n=,r=abc\0", Some(Malformed)),
        ("a NUL in the user", "n,,n=a\0b,r=abc", Some(Malformed)),
        ("no header", "n=,r=abc", Some(Malformed)),
        ("half a header", "n,n=,r=abc", Some(Malformed)),
        ("only a header", "n,,", Some(Malformed)),
        ("only a flag", "n", Some(Malformed)),
        ("an unknown flag", "z,,n=,r=abc", Some(Malformed)),
        ("a long flag", "nn,,n=,r=abc", Some(Malformed)),
        ("a binding without a name", "p=,,n=,r=abc", Some(Malformed)),
        ("a binding without =", "p,,n=,r=abc", Some(Malformed)),
        (
            "an identity",
            "n,a=root,n=,r=abc",
            Some(AuthorizationIdentity),
        ),
        ("a broken identity", "n,b=root,n=,r=abc", Some(Malformed)),
        (
            "a mandatory extension",
            "n,,m=x,n=,r=abc",
            Some(MandatoryExtension),
        ),
        (
            "a late mandatory extension",
            "n,,n=,r=abc,m=x",
            Some(Malformed),
        ),
        ("no user", "n,,r=abc", Some(Malformed)),
        ("no nonce", "n,,n=", Some(Malformed)),
        ("no nonce but a comma", "n,,n=,", Some(Malformed)),
        ("reordered", "n,,r=abc,n=", Some(Malformed)),
        ("two users", "n,,n=a,n=b,r=abc", Some(Malformed)),
        ("two nonces", "n,,n=,r=abc,r=def", Some(Malformed)),
        ("a comma in the user", "n,,n=a,b,r=abc", Some(Malformed)),
        ("an empty extension", "n,,n=,r=abc,x=", Some(Malformed)),
        (
            "an extension without a name",
            "n,,n=,r=abc,=y",
            Some(Malformed),
        ),
        (
            "an extension with a long name",
            "n,,n=,r=abc,xy=z",
            Some(Malformed),
        ),
        ("two commas", "n,,n=,r=abc,,x=y", Some(Malformed)),
        (
            "bound though not offered",
            "p=tls-server-end-point,,n=,r=abc",
            Some(BindingFlag),
        ),
    ];
    for (name, data, expected) in rows {
        let result = first(false, SCRAM_SHA_256, data.as_bytes());
        assert_eq!(result.err(), *expected, "{name}");
    }
}

#[test]
fn bindings_and_mechanisms() {
    use AuthError::*;
    let rows = [
        (
            "bound",
            true,
            SCRAM_SHA_256_PLUS,
            "p=tls-server-end-point",
            None,
        ),
        ("cannot bind", true, SCRAM_SHA_256, "n", None),
        (
            "offer taken away",
            true,
            SCRAM_SHA_256,
            "y",
            Some(BindingDowngrade),
        ),
        (
            "plain but bound",
            true,
            SCRAM_SHA_256,
            "p=tls-server-end-point",
            Some(BindingFlag),
        ),
        (
            "bound but unable",
            true,
            SCRAM_SHA_256_PLUS,
            "n",
            Some(BindingFlag),
        ),
        (
            "bound but not offered",
            true,
            SCRAM_SHA_256_PLUS,
            "y",
            Some(BindingFlag),
        ),
        (
            "bound to the exporter",
            true,
            SCRAM_SHA_256_PLUS,
            "p=tls-exporter",
            Some(BindingUnknown),
        ),
        (
            "bound in capitals",
            true,
            SCRAM_SHA_256_PLUS,
            "p=TLS-SERVER-END-POINT",
            Some(BindingUnknown),
        ),
        (
            "bound without TLS",
            false,
            SCRAM_SHA_256_PLUS,
            "p=tls-server-end-point",
            Some(MechanismUnknown),
        ),
        (
            "the older mechanism",
            true,
            "SCRAM-SHA-1",
            "n",
            Some(MechanismUnknown),
        ),
        (
            "in small letters",
            true,
            "scram-sha-256",
            "n",
            Some(MechanismUnknown),
        ),
        ("none", true, "", "n", Some(MechanismUnknown)),
        ("another", true, "PLAIN", "n", Some(MechanismUnknown)),
    ];
    for (name, tls, mechanism, flag, expected) in rows {
        let data = format!("{flag},,n=,r=abc");
        let result = first(tls, mechanism, data.as_bytes());
        assert_eq!(result.err(), expected, "{name}");
    }
}

#[test]
fn final_messages() {
    use AuthError::*;
    let nonce = format!("abc{}", encode64(&OURS));
    let proof = encode64(&[0; 32]);
    let fill = |text: &str| text.replace("NONCE", &nonce).replace("PROOF", &proof);
    let rows: &[(&str, &str, AuthError)] = &[
        ("well-formed", "c=biws,r=NONCE,p=PROOF", WrongPassword),
        ("an extension", "c=biws,r=NONCE,x=y,p=PROOF", WrongPassword),
        ("another header", "c=eSws,r=NONCE,p=PROOF", BindingMismatch),
        (
            "a longer header",
            "c=biwsbiws,r=NONCE,p=PROOF",
            BindingMismatch,
        ),
        ("no base64 in c", "c=!!,r=NONCE,p=PROOF", BindingMismatch),
        (
            "only our nonce's front",
            "c=biws,r=abc,p=PROOF",
            NonceMismatch,
        ),
        ("a longer nonce", "c=biws,r=NONCEx,p=PROOF", NonceMismatch),
        ("empty", "", Malformed),
        ("a comma", ",", Malformed),
        ("no proof", "c=biws,r=NONCE", Malformed),
        ("only a proof", "p=PROOF", Malformed),
        ("nothing before the proof", ",p=PROOF", Malformed),
        ("an empty proof", "c=biws,r=NONCE,p=", Malformed),
        ("no base64 in the proof", "c=biws,r=NONCE,p=!!!!", Malformed),
        ("a short proof", "c=biws,r=NONCE,p=AAAA", Malformed),
        ("a long proof", "c=biws,r=NONCE,p=PROOFAAAA", Malformed),
        (
            "a proof without padding",
            "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            Malformed,
        ),
        (
            "a proof of loose bits",
            "c=biws,r=NONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
            Malformed,
        ),
        ("a NUL behind", "c=biws,r=NONCE,p=PROOF\0", Malformed),
        ("something behind", "c=biws,r=NONCE,p=PROOF,x=y", Malformed),
        ("no binding", "r=NONCE,p=PROOF", Malformed),
        ("no nonce", "c=biws,p=PROOF", Malformed),
        ("an empty binding", "c=,r=NONCE,p=PROOF", Malformed),
        ("an empty nonce", "c=biws,r=,p=PROOF", Malformed),
        ("reordered", "r=NONCE,c=biws,p=PROOF", Malformed),
        ("two bindings", "c=biws,c=biws,r=NONCE,p=PROOF", Malformed),
        ("two nonces", "c=biws,r=NONCE,r=NONCE,p=PROOF", Malformed),
        ("two proofs", "c=biws,r=NONCE,p=PROOF,p=PROOF", Malformed),
        (
            "a mandatory extension",
            "c=biws,r=NONCE,m=x,p=PROOF",
            Malformed,
        ),
    ];
    for (name, text, expected) in rows {
        let mut server = ScramServer::new(verifier(b"pencil"), None, OURS);
        server
            .on_initial(SCRAM_SHA_256.as_bytes(), b"n,,n=,r=abc")
            .unwrap();
        let result = server.on_response(fill(text).as_bytes());
        assert_eq!(result, Err(*expected), "{name}");
        assert_eq!(server.on_response(b""), Err(Unexpected), "{name}: again");
    }
    let mut server = ScramServer::new(verifier(b"pencil"), None, OURS);
    server
        .on_initial(SCRAM_SHA_256.as_bytes(), b"n,,n=,r=abc")
        .unwrap();
    let long = vec![b'x'; LONGEST_MESSAGE + 1];
    assert_eq!(server.on_response(&long), Err(TooLong));
}

#[test]
fn out_of_order() {
    let mut server = ScramServer::new(verifier(b"pencil"), None, OURS);
    assert_eq!(server.on_response(b"c=biws"), Err(AuthError::Unexpected));
    let again = server.on_initial(SCRAM_SHA_256.as_bytes(), b"n,,n=,r=abc");
    assert_eq!(again, Err(AuthError::Unexpected), "an error ends it");
    let mut server = ScramServer::new(verifier(b"pencil"), None, OURS);
    server
        .on_initial(SCRAM_SHA_256.as_bytes(), b"n,,n=,r=abc")
        .unwrap();
    let again = server.on_initial(SCRAM_SHA_256.as_bytes(), b"n,,n=,r=abc");
    assert_eq!(again, Err(AuthError::Unexpected), "twice");
}
