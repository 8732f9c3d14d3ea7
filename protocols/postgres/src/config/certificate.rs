//! Which users a client's certificate may be.
//!
//! Only what is already known to be a verified certificate's comes here. Start at [`CertificateConfig::permits`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use portcullis_config::{Diagnostics, Span};
use portcullis_filter::{ClientCertificate, SanPattern};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a client's certificate names a user.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateConfig {
    /// Which of its names counts. Default `common_name`, as PostgreSQL.
    pub name: CertificateName,
    /// Users by that name, such as `{ "spiffe://corp/billing": [billing] }`. Default: the user of the same name only.
    pub map: BTreeMap<String, Vec<String>>,
}

/// Which name of a certificate counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The common name of the subject.
    #[default]
    CommonName,
    /// Any alternative name. In the map, `*.corp` and `spiffe://corp/*` are patterns.
    San,
}

impl CertificateConfig {
    /// Whether a certificate with this name may be this user.
    #[must_use]
    pub fn permits(&self, certificate: &ClientCertificate, user: &str) -> bool {
        match self.name {
            CertificateName::CommonName => {
                let name = common_name(&certificate.subject);
                name.is_some_and(|name| self.names(&name, user))
            }
            CertificateName::San if self.map.is_empty() => {
                certificate.names.iter().any(|name| name.as_str() == user)
            }
            CertificateName::San => self.map.iter().any(|(pattern, users)| {
                users.iter().any(|name| name == user)
                    && pattern
                        .parse::<SanPattern>()
                        .is_ok_and(|pattern| certificate.is_named(&[pattern]))
            }),
        }
    }

    fn names(&self, name: &str, user: &str) -> bool {
        if self.map.is_empty() {
            return name == user;
        }
        let users = self.map.get(name);
        users.is_some_and(|users| users.iter().any(|name| name == user))
    }

    pub(super) fn check(&self, span: Span, diagnostics: &mut Diagnostics) {
        if self.name != CertificateName::San {
            return;
        }
        for name in self.map.keys() {
            if let Err(error) = name.parse::<SanPattern>() {
                diagnostics.error(span, error.to_string());
            }
        }
    }
}

/// The first common name of a distinguished name in the form of RFC 4514, unescaped. `None` if there is none, or one that
/// is not plain text.
fn common_name(subject: &str) -> Option<Cow<'_, str>> {
    let mut rest = subject;
    loop {
        let end = end_of_part(rest);
        let (part, behind) = rest.split_at_checked(end)?;
        if let Some(value) = part
            .strip_prefix("CN=")
            .or_else(|| part.strip_prefix("cn="))
        {
            return unescape(value);
        }
        rest = behind.get(1..)?;
    }
}

/// Where a `,` or `+` ends the first part; a backslash takes what follows it along.
fn end_of_part(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' | b'+' => return at,
            _ => {}
        }
    }
    text.len()
}

/// RFC 4514 section 2.4: `\` before a special character or two hexadecimal digits; `#` begins what is no text.
fn unescape(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('#') {
        return None;
    }
    if !value.contains('\\') {
        return Some(Cow::Borrowed(value));
    }
    let mut bytes = value.bytes();
    let mut plain = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let next = bytes.next()?;
        let high = char::from(next).to_digit(16);
        plain.push(match high {
            Some(high) => {
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            None => next,
        });
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_found_as_they_are_meant() {
        let rows = [
            ("only one", "CN=alice", Some("alice")),
            ("behind others", "O=Corp+OU=x,CN=alice", Some("alice")),
            ("a comma in it", r"CN=Doe\, John,O=Corp", Some("Doe, John")),
            ("a comma before it", r"O=A\,CN=eve,CN=alice", Some("alice")),
            ("hexadecimal", r"CN=\c3\a9va", Some("éva")),
            ("no text", "CN=#0403", None),
            ("none", "O=Corp", None),
            ("empty", "", None),
            ("broken escape", r"CN=a\", None),
        ];
        for (row, subject, name) in rows {
            assert_eq!(common_name(subject).as_deref(), name, "{row}");
        }
    }
}
