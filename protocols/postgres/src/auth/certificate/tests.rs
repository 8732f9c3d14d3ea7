//! Hashes against OpenSSL's, and which names may be which users.

use portcullis_filter::AlternativeName;

use super::*;
use crate::auth::crypto::decode64;

/// Certificates of every kind of signature, with the hash that OpenSSL finds.
const END_POINTS: &str = include_str!("../../../tests/certificates/end_points.txt");

fn rows() -> impl Iterator<Item = (&'static str, &'static str, Vec<u8>)> {
    let lines = END_POINTS.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        (word(), word(), decode64(word().as_bytes()).unwrap())
    })
}

/// The hash of some certificate.
pub(in crate::auth) fn hash_of_ecdsa() -> EndPointHash {
    EndPointHash::of(&rows().next().unwrap().2).unwrap()
}

#[test]
fn hashes_are_openssls() {
    for (name, expected, der) in rows() {
        let hash = EndPointHash::of(&der).map(|hash| {
            let digits = hash.as_bytes().iter().map(|byte| format!("{byte:02x}"));
            digits.collect::<String>()
        });
        assert_eq!(hash.as_deref().unwrap_or("-"), expected, "{name}");
    }
}

#[test]
fn no_certificate_has_no_hash() {
    let (_, _, der) = rows().next().unwrap();
    for length in 0..der.len() {
        assert_eq!(EndPointHash::of(&der[..length]), None, "cut to {length}");
    }
    let longer = [der.as_slice(), b"x"].concat();
    assert_eq!(EndPointHash::of(&longer), None, "something behind");
    assert_eq!(EndPointHash::of(&vec![0x30; 1 << 20]), None, "a megabyte");
}

fn certificate(subject: &str, names: &[&str]) -> ClientCertificate {
    ClientCertificate {
        subject: subject.into(),
        names: names
            .iter()
            .map(|name| AlternativeName::Dns((*name).into()))
            .collect(),
        ..ClientCertificate::default()
    }
}

#[test]
fn without_a_map_the_common_name_is_the_user() {
    use CertificateMatch::{Fits, Other};
    let rows = [
        ("alone", "CN=alice", "alice", Fits),
        ("among others", "CN=alice,OU=a\\,CN=bob,O=x", "alice", Fits),
        (
            "an escaped comma is no cut",
            "CN=alice,OU=a\\,CN=bob,O=x",
            "bob",
            Other,
        ),
        ("an escaped backslash", "O=a\\\\,CN=alice", "alice", Fits),
        (
            "in one part with another",
            "UID=7+CN=alice,O=x",
            "alice",
            Fits,
        ),
        ("escaped bytes", "CN=Andr\\C3\\A9", "Andr\u{e9}", Fits),
        ("an escaped sign", "CN=a\\+b", "a+b", Fits),
        ("another case", "CN=Alice", "alice", Other),
        ("a front", "CN=alice", "ali", Other),
        ("two names", "CN=alice,CN=bob", "alice", Other),
        ("a NUL", "CN=alice\\00.evil", "alice", Other),
        ("binary", "CN=#616c696365", "alice", Other),
        ("empty", "CN=", "", Other),
        ("a broken escape", "CN=alice\\4", "alice", Other),
        ("none", "O=alice", "alice", Other),
        ("a kind that ends so", "XCN=alice", "alice", Other),
    ];
    for (name, subject, user, expected) in rows {
        let found = UserMap::default().check(Some(&certificate(subject, &[])), user.as_bytes());
        assert_eq!(found, expected, "{name}");
    }
    let found = UserMap::default().check(None, b"alice");
    assert_eq!(found, CertificateMatch::Absent);
    let found = UserMap::default().check(Some(&certificate("O=x", &["alice"])), b"alice");
    assert_eq!(found, Other, "alternative names need a map");
}

#[test]
fn a_map_says_who_may_be_whom() {
    use CertificateMatch::{Fits, Other};
    let entry = |name: &str, user: &str| UserMapEntry {
        name: name.into(),
        user: user.into(),
    };
    let map = UserMap::new(vec![
        entry("shop.example", "shop"),
        entry("shop.example", "report"),
        entry("alice", "*"),
    ]);
    let rows = [
        (
            "an alternative name",
            "CN=x",
            &["shop.example"][..],
            "shop",
            Fits,
        ),
        ("its other user", "CN=x", &["shop.example"], "report", Fits),
        ("a common name", "CN=shop.example", &[], "shop", Fits),
        ("not its user", "CN=x", &["shop.example"], "alice", Other),
        ("itself", "CN=alice", &[], "alice", Fits),
        ("itself is no other", "CN=alice", &[], "shop", Other),
        ("not in the map", "CN=bob", &[], "bob", Other),
        ("a user named *", "CN=alice", &[], "*", Other),
    ];
    for (name, subject, names, user, expected) in rows {
        let found = map.check(Some(&certificate(subject, names)), user.as_bytes());
        assert_eq!(found, expected, "{name}");
    }
}
