//! Keys of a rule that would do nothing, given what the rule takes and what it does.
//!
//! Each is a mistake: whoever wrote it expects something of it. Not what is wrong in itself; that is found where it is
//! read. Start at [`Reader::check_needless`].

use portcullis_config::{Node, Span};
use portcullis_route::MethodSet;

use super::Reader;
use crate::route::config::RouteRule;

/// What concerns only requests that go upstream.
const OF_FORWARDING: [&str; 7] = [
    "rewrite",
    "timeout",
    "idle_timeout",
    "retry",
    "request_headers",
    "max_body",
    "upgrade",
];

/// Those of them that a tunnel has no use for: it has one attempt, and nothing in it is read.
const OF_MESSAGES: [&str; 6] = [
    "rewrite",
    "timeout",
    "retry",
    "request_headers",
    "max_body",
    "upgrade",
];

/// What a CONNECT does not have.
const OF_TARGETS: [&str; 3] = ["path", "query", "grpc"];

/// Why something of a request that goes nowhere is a mistake.
const OF_NO_USE: &str = "does nothing where requests are answered here";

impl Reader<'_, '_> {
    /// Reports what could be left out of a rule, and was not.
    pub(super) fn check_needless(&mut self, item: &Node, rule: &RouteRule) {
        self.check_method(item, rule);
        if rule.redirect.is_some() || rule.respond.is_some() {
            self.refuse(item, &OF_FORWARDING, OF_NO_USE);
            self.check_answer(item);
        } else if rule.connect.is_some() {
            self.refuse(item, &OF_MESSAGES, "does nothing for a CONNECT");
        }
        self.check_tries(item, rule);
    }

    fn refuse(&mut self, block: &Node, keys: &[&str], why: &str) {
        for key in keys {
            if let Some((written, _)) = block.entry(key) {
                self.error(written.span, format!("`{key}` {why}"));
            }
        }
    }

    /// An answer has the type of its body, and reads none.
    fn check_answer(&mut self, item: &Node) {
        if let Some(answer) = item.get("respond")
            && answer.get("body").is_none()
            && let Some((written, _)) = answer.entry("content_type")
        {
            let message = "`content_type` says what the body is, and there is no `body`";
            self.error(written.span, message);
        }
        let filters = item.get("filters").and_then(Node::as_sequence);
        for filter in filters.unwrap_or_default() {
            let written = filter.entry("buffer").map(|(key, _)| key.span);
            if let Some(span) = written {
                self.error(span, format!("`buffer` {OF_NO_USE}"));
            }
        }
    }

    /// A rule takes CONNECT and nothing else, or everything else.
    fn check_method(&mut self, item: &Node, rule: &RouteRule) {
        let Some(condition) = item.get("match") else {
            return;
        };
        let methods: Vec<&str> = rule
            .condition
            .method
            .iter()
            .flat_map(MethodSet::iter)
            .collect();
        let span = condition.get("method").map_or(Span::NONE, |node| node.span);
        let has = |method: &str| methods.contains(&method);
        if rule.connect.is_some() {
            self.refuse(condition, &OF_TARGETS, "is nothing that a CONNECT has");
            if !methods.is_empty() && methods != ["CONNECT"] {
                self.error(span, "a rule with `connect` takes nothing but CONNECT");
            }
        } else if has("CONNECT") {
            self.cx
                .diagnostics
                .error(span, "no CONNECT comes to a rule without `connect`")
                .help("`connect: [\"git.example.com:22\"]` takes them, to these places");
        } else if !rule.condition.grpc.is_empty()
            && !methods.is_empty()
            && !has("POST")
            && !has("OPTIONS")
        {
            self.error(span, "gRPC calls are POST requests");
        }
    }

    /// The time for one attempt is within the time for all that a request may wait.
    fn check_tries(&mut self, item: &Node, rule: &RouteRule) {
        let one = rule.retry.as_ref().and_then(|retry| retry.per_try_timeout);
        let all = match rule.timeout {
            Some(timeout) => timeout.get(),
            None => self.response_timeout,
        };
        let (Some(one), Some(all)) = (one, all) else {
            return;
        };
        if one.get() <= all {
            return;
        }
        let written = item
            .get("retry")
            .and_then(|retry| retry.get("per_try_timeout"));
        let span = written.map_or(Span::NONE, |node| node.span);
        let error = self.cx.diagnostics.error(
            span,
            "an attempt cannot take longer than requests of this rule may",
        );
        match item.entry("timeout") {
            Some((_, timeout)) => error.also(timeout.span, "which is this long"),
            None => error.help("`timeouts.response` of the listener is shorter; `timeout` of the rule goes before it"),
        };
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::read;

    #[test]
    fn keys_that_do_nothing_are_mistakes() {
        const ANSWERED: &str = "does nothing where requests are answered here";
        const TUNNEL: &str = "does nothing for a CONNECT";
        let rows: &[(&str, &[&str])] = &[
            (
                "respond: { status: 200 }, retry: { on: [503] }, timeout: 1s, idle_timeout: 1s",
                &[
                    &format!("`timeout` {ANSWERED}"),
                    &format!("`idle_timeout` {ANSWERED}"),
                    &format!("`retry` {ANSWERED}"),
                ],
            ),
            (
                "redirect: { path: /x }, rewrite: { path: /y }, request_headers: { remove: [a] }, max_body: 1B, upgrade: a",
                &[
                    &format!("`rewrite` {ANSWERED}"),
                    &format!("`request_headers` {ANSWERED}"),
                    &format!("`max_body` {ANSWERED}"),
                    &format!("`upgrade` {ANSWERED}"),
                ],
            ),
            (
                "respond: { status: 200 }, response_headers: { set: { a: b } }, filters: [], without: []",
                &[],
            ),
            (
                "respond: { status: 200, content_type: text/css }",
                &["`content_type` says what the body is, and there is no `body`"],
            ),
            (
                "respond: { status: 200, content_type: text/css, body: '' }",
                &[],
            ),
            (
                "redirect: { path: /x }, filters: [{ buffer: { max: 1B } }]",
                &[&format!("`buffer` {ANSWERED}")],
            ),
            ("cluster: a, filters: [{ buffer: { max: 1B } }]", &[]),
            ("cluster: a, rewrite: {}", &["the rewrite changes nothing"]),
            (
                "cluster: a, connect: ['a:1'], retry: { on: [503] }, timeout: 1s, idle_timeout: 1s",
                &[&format!("`timeout` {TUNNEL}"), &format!("`retry` {TUNNEL}")],
            ),
            (
                "cluster: a, connect: ['a:1'], match: { host: a, method: CONNECT, headers: { a: b } }",
                &[],
            ),
            (
                "cluster: a, connect: ['a:1'], match: { method: [CONNECT, GET] }",
                &["a rule with `connect` takes nothing but CONNECT"],
            ),
            (
                "cluster: a, connect: ['a:1'], match: { path: /a, query: { a: b } }",
                &[
                    "`path` is nothing that a CONNECT has",
                    "`query` is nothing that a CONNECT has",
                ],
            ),
            (
                "cluster: a, match: { method: CONNECT }",
                &["no CONNECT comes to a rule without `connect`"],
            ),
            (
                "cluster: a, match: { method: [GET, CONNECT] }",
                &["no CONNECT comes to a rule without `connect`"],
            ),
            (
                "cluster: a, match: { method: GET, grpc: a.B }",
                &["gRPC calls are POST requests"],
            ),
            ("cluster: a, match: { method: [POST, GET], grpc: a.B }", &[]),
            (
                "cluster: a, timeout: 1s, retry: { on: [timeout], per_try_timeout: 1001ms }",
                &["an attempt cannot take longer than requests of this rule may"],
            ),
            (
                "cluster: a, timeout: 1s, retry: { on: [timeout], per_try_timeout: 1s }",
                &[],
            ),
            (
                "cluster: a, timeout: off, retry: { on: [timeout], per_try_timeout: 1h }",
                &[],
            ),
            (
                "cluster: a, retry: { on: [timeout], per_try_timeout: 61s }",
                &["an attempt cannot take longer than requests of this rule may"],
            ),
        ];
        for (rule, expected) in rows {
            let (_, mut found) = read(&format!("routes:\n  - {{ {rule} }}\n"));
            let mut expected: Vec<String> =
                expected.iter().map(|text| format!("2: {text}")).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{rule}");
        }
    }
}
