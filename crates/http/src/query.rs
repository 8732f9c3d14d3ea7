//! Parameters of a query (`a=1&b=2`), looked at without changing it.
//!
//! Names and values are compared decoded; the query itself goes upstream as it came. Not a form parser.
//! Start at [`values`].

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The values of the parameters with this (decoded) name, decoded, in order. A parameter without `=` has an empty
/// value. Allocates only for a value with escapes.
pub(crate) fn values<'a>(
    query: Option<&'a [u8]>,
    name: &'a str,
) -> impl Iterator<Item = Cow<'a, [u8]>> {
    query
        .unwrap_or_default()
        .split(|&byte| byte == b'&')
        .filter(|parameter| !parameter.is_empty())
        .filter_map(move |parameter| {
            let (written, value) = match memchr::memchr(b'=', parameter) {
                Some(at) => {
                    let (name, value) = parameter.split_at(at);
                    (name, value.get(1..).unwrap_or_default())
                }
                None => (parameter, &[][..]),
            };
            is_name(written, name).then(|| decode(value))
        })
}

fn is_name(written: &[u8], name: &str) -> bool {
    written == name.as_bytes()
        || (written.iter().any(|byte| matches!(byte, b'%' | b'+'))
            && *decode(written) == *name.as_bytes())
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let spaced: Vec<u8> = text
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn parameters_are_compared_decoded() {
        let rows: [(&str, Option<&str>, &[&str]); 9] = [
            ("no query", None, &[]),
            ("empty", Some(""), &[]),
            ("one", Some("a=1"), &["1"]),
            ("several", Some("a=1&b=2&a=3"), &["1", "3"]),
            ("no value", Some("b&a"), &[""]),
            ("escaped value", Some("a=x%20y+z"), &["x y z"]),
            ("escaped name", Some("%61=1"), &["1"]),
            ("longer name", Some("aa=1"), &[]),
            ("equals in value", Some("a=b=c"), &["b=c"]),
        ];
        for (name, query, expected) in rows {
            let found: Vec<_> = values(query.map(str::as_bytes), "a")
                .map(|value| String::from_utf8_lossy(&value).into_owned())
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
