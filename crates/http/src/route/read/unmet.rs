//! Conditions of a rule that no request meets as its listener settles requests, and fields that are named twice.
//!
//! Not patterns that no listener could match: those are refused where they are read. Start at [`Reader::check_unmet`].

use std::collections::HashMap;

use portcullis_config::{Node, Span};

use super::Reader;
use crate::normalize::Underscores;

impl Reader<'_, '_> {
    /// Reports what could never be met, and fields of which only one would count.
    pub(super) fn check_unmet(&mut self, item: &Node) {
        if let Some(condition) = item.get("match") {
            self.check_paths(condition);
            self.check_fields(condition);
        }
        let answer = item.get("respond").and_then(|answer| answer.get("headers"));
        let edits = ["request_headers", "response_headers"]
            .iter()
            .filter_map(|key| item.get(key))
            .flat_map(|edit| [edit.get("set"), edit.get("add")]);
        for fields in edits.chain([answer]).flatten() {
            self.check_twice(fields);
        }
    }

    fn check_paths(&mut self, condition: &Node) {
        if !self.normalize.merge_slashes {
            return;
        }
        for path in listed(condition.get("path")) {
            let text = path.as_str().unwrap_or_default();
            // An expression may mean something else by it.
            if text.starts_with('/') && text.contains("//") {
                self.cx
                    .diagnostics
                    .error_at(path, format!("no path has '//' here, as '{text}' does"))
                    .help(
                        "`normalize: { merge_slashes: true }` of the listener makes it '/' before",
                    );
            }
        }
    }

    fn check_fields(&mut self, condition: &Node) {
        let Some(fields) = condition.get("headers") else {
            return;
        };
        self.check_twice(fields);
        let help = match self.normalize.underscores {
            Underscores::Keep => return,
            Underscores::Drop => {
                "`normalize: { underscores: drop }`, which is the default, leaves such fields out before"
            }
            Underscores::Reject => {
                "`normalize: { underscores: reject }` refuses requests with such fields before"
            }
        };
        for (key, _) in fields.entries().filter(|(key, _)| key.name.contains('_')) {
            self.cx
                .diagnostics
                .error(
                    key.span,
                    format!("no request has a field '{}' here", key.name),
                )
                .help(help);
        }
    }

    /// Names of fields are the same in either case (RFC 9110 section 5.1), and keys of a block are not.
    fn check_twice(&mut self, fields: &Node) {
        let mut first: HashMap<String, Span> = HashMap::new();
        for (key, _) in fields.entries() {
            let name = key.name.to_ascii_lowercase();
            if let Some(earlier) = first.get(&name) {
                self.cx
                    .diagnostics
                    .error(key.span, format!("the field '{name}' is given twice"))
                    .also(*earlier, "the first one");
            } else {
                first.insert(name, key.span);
            }
        }
    }
}

/// The elements of what may be one or a list.
fn listed(node: Option<&Node>) -> impl Iterator<Item = &Node> {
    node.into_iter().flat_map(|node| {
        node.as_sequence()
            .unwrap_or_else(|| std::slice::from_ref(node))
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::read;

    #[test]
    fn what_no_request_meets_is_a_mistake() {
        const MERGED: &str = "normalize: { merge_slashes: true, underscores: keep }";
        const REFUSED: &str = "normalize: { underscores: reject }";
        let rows: &[(&str, &str, &[&str])] = &[
            ("", "match: { path: [/a//b, /a] }", &[]),
            (
                MERGED,
                "match: { path: [/a//b, /a, '/c//*', '~a//'] }",
                &[
                    "no path has '//' here, as '/a//b' does",
                    "no path has '//' here, as '/c//*' does",
                ],
            ),
            (
                MERGED,
                "match: { path: //a }",
                &["no path has '//' here, as '//a' does"],
            ),
            (MERGED, "match: { headers: { x_a: b } }", &[]),
            (
                "",
                "match: { headers: { x_a: b, x-b: c } }",
                &["no request has a field 'x_a' here"],
            ),
            (
                REFUSED,
                "match: { headers: { x_a: '!' } }",
                &["no request has a field 'x_a' here"],
            ),
            (
                "",
                "match: { headers: { x-a: b, X-A: c, x-b: d } }",
                &["the field 'x-a' is given twice"],
            ),
            (
                "",
                "request_headers: { set: { A: b, a: c }, add: { a: d } }, response_headers: { add: { b: c, B: d } }",
                &[
                    "the field 'a' is given twice",
                    "the field 'b' is given twice",
                ],
            ),
        ];
        for (listener, rule, expected) in rows {
            let (_, found) = read(&format!(
                "routes:\n  - {{ cluster: a, {rule} }}\n{listener}\n"
            ));
            let expected: Vec<String> = expected.iter().map(|text| format!("2: {text}")).collect();
            assert_eq!(found, expected, "{rule}");
        }
        let (_, found) =
            read("routes:\n  - { respond: { status: 200, headers: { x-a: b, X-a: c } } }");
        assert_eq!(found, ["2: the field 'x-a' is given twice"]);
    }
}
