//! Lists of fields: what is read, edited and written.

use super::*;

fn sample() -> Fields {
    let block = Bytes::from_static(b"Host: a\r\nX-Tenant: t1\r\nx-tenant: t2\r\n");
    let mut fields = Fields::with_block(block);
    fields.push_span(0..4, 6..7, Some(KnownField::Host));
    fields.push_span(9..17, 19..21, None);
    fields.push_span(23..31, 33..35, None);
    fields
}

fn text(fields: &Fields) -> String {
    fields.iter().fold(String::new(), |text, field| {
        let name = String::from_utf8_lossy(field.name);
        let value = String::from_utf8_lossy(field.value);
        format!("{text}{name}={value};")
    })
}

#[test]
fn edits_keep_order_and_spelling() {
    let mut fields = sample();
    assert_eq!(fields.get(KnownField::Host), Some(&b"a"[..]));
    assert_eq!(fields.get_named("X-TENANT"), Some(&b"t1"[..]));
    fields.set("x-tenant", b"t3");
    fields.append(KnownField::Via, b"1.1 p");
    assert_eq!(text(&fields), "Host=a;X-Tenant=t3;via=1.1 p;");
    assert!(fields.remove(KnownField::Host));
    assert!(!fields.remove(KnownField::Host));
    assert_eq!(fields.get(KnownField::Host), None);
    fields.retain(|field| field.known != Some(KnownField::Via));
    assert!(!fields.contains(KnownField::Via));
    assert_eq!(text(&fields), "X-Tenant=t3;");
    assert_eq!(fields.len(), 1);
}

#[test]
fn runs_are_whole_lines_in_order() {
    let block = Bytes::from_static(b"Host: a\r\nX-A:b\r\nVia: 1.1 x\r\nAccept: c\r\n\r\n");
    let mut fields = Fields::with_block(block);
    fields.push_line(0..4, 6..7, Some(KnownField::Host), true);
    fields.push_line(9..12, 13..14, None, false);
    fields.push_line(16..19, 21..26, Some(KnownField::Via), true);
    fields.push_line(28..34, 36..37, Some(KnownField::Accept), true);
    let runs = |fields: &Fields, skipped: &[KnownField]| {
        let mut runs = Vec::new();
        let put = |run: Run<'_>| {
            runs.push(match run {
                Run::Lines(lines) => String::from_utf8_lossy(lines).into_owned(),
                Run::Field(field) => format!("field {:?}", String::from_utf8_lossy(field.name)),
            });
            Ok::<(), ()>(())
        };
        let skipped = skipped.iter().fold(0, |bits, known| bits | known.bit());
        fields.try_for_each_run(skipped, put).unwrap();
        runs
    };
    assert_eq!(
        runs(&fields, &[]),
        [
            "Host: a\r\n",
            "field \"X-A\"",
            "Via: 1.1 x\r\nAccept: c\r\n"
        ]
    );
    assert_eq!(
        runs(&fields, &[KnownField::Via]),
        ["Host: a\r\n", "field \"X-A\"", "Accept: c\r\n"]
    );
    fields.remove("x-a");
    fields.set(KnownField::Host, b"b");
    fields.append(KnownField::Date, b"d");
    fields.append_with(KnownField::Server, |value| value.extend_from_slice(b"s"));
    assert_eq!(
        runs(&fields, &[]),
        [
            "Host: b\r\n",
            "Via: 1.1 x\r\nAccept: c\r\n",
            "date: d\r\nserver: s\r\n"
        ]
    );
    assert!(runs(&Fields::new(), &[]).is_empty());
}

#[test]
fn lists_are_split_and_trimmed() {
    let members: Vec<_> = list_members(b" close ,, Upgrade,\t").collect();
    assert_eq!(members, [&b"close"[..], b"Upgrade"]);
}

/// What is written without looking at each line is what looking at each would give.
#[test]
fn untouched_lines_are_written_as_one_run() {
    let written = |fields: &Fields, skipped: u64| {
        let mut runs = Vec::new();
        let put = |run: Run<'_>| {
            match run {
                Run::Lines(lines) => runs.push(String::from_utf8_lossy(lines).into_owned()),
                Run::Field(field) => panic!("{field:?} is no whole line"),
            }
            Ok::<(), ()>(())
        };
        fields.try_for_each_run(skipped, put).unwrap();
        runs
    };
    let block = Bytes::from_static(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n");
    let mut fields = Fields::new();
    fields.begin();
    fields.push_line(16..20, 22..23, Some(KnownField::Host), true);
    fields.push_line(25..31, 33..34, Some(KnownField::Accept), true);
    fields.place(block);
    let heads = "Host: a\r\nAccept: b\r\n";
    assert_eq!(written(&fields, 0), [heads]);
    fields.append_line(KnownField::Via, b"via: 1.1 p\r\n");
    fields.append("x-b", b"c");
    assert_eq!(written(&fields, 0), [heads, "via: 1.1 p\r\nx-b: c\r\n"]);
    let skipped = KnownField::Host.bit() | KnownField::Server.bit();
    assert_eq!(
        written(&fields, skipped),
        ["Accept: b\r\n", "via: 1.1 p\r\nx-b: c\r\n"]
    );
    fields.set(KnownField::Via, b"1.1 q");
    assert_eq!(written(&fields, 0), [heads, "via: 1.1 q\r\n", "x-b: c\r\n"]);
    fields.retain(|field| field.known != Some(KnownField::Accept));
    assert_eq!(
        written(&fields, 0),
        ["Host: a\r\n", "via: 1.1 q\r\n", "x-b: c\r\n"]
    );
    assert!(!fields.contains(KnownField::Accept));
    assert_eq!(written(&Fields::new(), 0), [""; 0]);
}
