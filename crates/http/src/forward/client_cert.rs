//! `x-forwarded-client-cert`: who the client proved to be, in the form that Envoy writes it.
//!
//! What clients themselves send under that name is removed before (see [`super::identify`]); what a trusted proxy sends
//! stays in front. Start at [`append`].

use std::io::Write as _;

use portcullis_filter::{AlternativeName, ClientCertificate, Context};

use super::append_to_list;
use crate::fields::Fields;
use crate::name::KnownField;

/// What all names together may take. A certificate may have more names than upstreams take fields.
const LONGEST: usize = 4 * 1024;

/// Adds an element for the certificate that the client of this connection has shown, if it has.
pub(super) fn append(fields: &mut Fields, cx: &Context) {
    if let Some(certificate) = cx.connection.client_certificate() {
        append_to_list(fields, KnownField::XForwardedClientCert, |value| {
            write(value, certificate);
        });
    }
}

/// `Hash=…;Subject="…";URI=…;DNS=…`: keys and their order are Envoy's.
fn write(value: &mut Vec<u8>, certificate: &ClientCertificate) {
    // Writing to memory cannot fail. A distinguished name has no quote, and no backslash at its end or before another.
    let _ = write!(
        value,
        "Hash={};Subject=\"{}\"",
        certificate.fingerprint, certificate.subject
    );
    let start = value.len();
    let is_uri = |name: &&AlternativeName| matches!(name, AlternativeName::Uri(_));
    let is_dns = |name: &&AlternativeName| matches!(name, AlternativeName::Dns(_));
    let uris = certificate.names.iter().filter(is_uri);
    let names = uris.map(|name| ("URI", name));
    let dns = certificate.names.iter().filter(is_dns);
    for (key, name) in names.chain(dns.map(|name| ("DNS", name))) {
        let name = name.as_str();
        // No URI and no host name has these; a reader might take them for the end of a quoted value.
        if name.contains(['"', '\\']) || value.len() - start + name.len() > LONGEST {
            continue;
        }
        let quote = if name.contains([',', ';', '=']) {
            "\""
        } else {
            ""
        };
        let _ = write!(value, ";{key}={quote}{name}{quote}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_envoy_s() {
        use AlternativeName as N;
        let long: Box<str> = "l".repeat(LONGEST + 1).into();
        for (row, names, expected) in [
            ("no names", vec![], ""),
            (
                "URIs first, others left out",
                vec![
                    N::Dns("a.corp".into()),
                    N::Email("a@corp".into()),
                    N::Uri("spiffe://corp/a".into()),
                ],
                ";URI=spiffe://corp/a;DNS=a.corp",
            ),
            (
                "separators are quoted",
                vec![N::Uri("spiffe://corp/a,Hash=0".into())],
                ";URI=\"spiffe://corp/a,Hash=0\"",
            ),
            (
                "quotes are left out",
                vec![
                    N::Uri("x://a\";URI=x://b".into()),
                    N::Uri("x://a\\".into()),
                    N::Dns("a".into()),
                ],
                ";DNS=a",
            ),
            ("too long", vec![N::Dns(long), N::Dns("a".into())], ";DNS=a"),
        ] {
            let certificate = ClientCertificate {
                subject: "CN=alice,O=Acme\\, Inc".into(),
                names,
                ..ClientCertificate::default()
            };
            let mut value = Vec::new();
            write(&mut value, &certificate);
            let text = String::from_utf8(value).unwrap();
            let start = format!("Hash={};Subject=\"CN=alice,O=Acme\\, Inc\"", "0".repeat(64));
            assert_eq!(text, start + expected, "{row}");
        }
    }
}
