//! What a rule does with requests: exactly one action, and what is rewritten on the way.
//!
//! Start at [`Reader::read_action`].

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use portcullis_config::{Located, Node};
use portcullis_route::{AnyOf, PathPattern};

use super::Reader;
use crate::edit::FieldValue;
use crate::head::Status;
use crate::normalize::{check_authority, has_dot_segment, is_target_path};
use crate::route::config::{
    ActionConfig, RedirectRule, RespondRule, RewriteRule, RouteRule, WeightedCluster,
};
use crate::route::reply::{Redirect, ReplyAction, Respond};
use crate::route::rewrite::{PathRewrite, PrefixRewrite, RegexRewrite, Rewrite};

impl Reader<'_, '_> {
    /// Exactly one of the four.
    pub(super) fn read_action(
        &mut self,
        item: &Node,
        rule: &RouteRule,
        paths: Option<&AnyOf<PathPattern>>,
    ) -> Option<ActionConfig> {
        const ACTIONS: &str = "exactly one of cluster, clusters, redirect and respond";
        let written = [
            rule.cluster.as_ref().map(|found| found.span),
            rule.clusters.as_ref().map(|found| found.span),
            rule.redirect.as_ref().map(|found| found.span),
            rule.respond.as_ref().map(|found| found.span),
        ];
        let mut written = written.into_iter().flatten();
        let Some(first) = written.next() else {
            self.cx
                .diagnostics
                .error_at(item, "the route does not say what happens to its requests")
                .expected(ACTIONS);
            return None;
        };
        if let Some(second) = written.next() {
            self.cx
                .diagnostics
                .error(second, "the route says twice what happens to its requests")
                .expected(ACTIONS)
                .also(first, "the first one");
            return None;
        }
        if rule.connect.is_some() && (rule.redirect.is_some() || rule.respond.is_some()) {
            self.error(first, "a route for CONNECT needs a cluster to connect to");
        }
        match rule {
            RouteRule {
                cluster: Some(cluster),
                ..
            } => {
                self.cx.check_cluster(cluster);
                Some(ActionConfig::Forward(vec![(cluster.as_str().into(), 1)]))
            }
            RouteRule {
                clusters: Some(clusters),
                ..
            } => self.read_clusters(clusters),
            RouteRule {
                redirect: Some(redirect),
                ..
            } => self
                .read_redirect(redirect, paths)
                .map(|redirect| ActionConfig::Reply(ReplyAction::Redirect(redirect))),
            RouteRule { respond, .. } => self
                .read_respond(respond.as_ref()?)
                .map(|respond| ActionConfig::Reply(ReplyAction::Respond(respond))),
        }
    }

    fn read_clusters(&mut self, clusters: &Located<Vec<WeightedCluster>>) -> Option<ActionConfig> {
        for entry in &clusters.value {
            self.cx.check_cluster(&entry.cluster);
        }
        if clusters.iter().all(|entry| entry.weight == 0) {
            self.error(clusters.span, "no cluster has a weight above 0");
            return None;
        }
        Some(ActionConfig::Forward(
            clusters
                .iter()
                .map(|entry| (Arc::from(entry.cluster.as_str()), entry.weight))
                .collect(),
        ))
    }

    fn read_redirect(
        &mut self,
        rule: &Located<RedirectRule>,
        paths: Option<&AnyOf<PathPattern>>,
    ) -> Option<Redirect> {
        let status = match &rule.status {
            None => Status::FOUND,
            Some(status) if matches!(status.value, 301 | 302 | 303 | 307 | 308) => {
                Status::from_code(status.value)?
            }
            Some(status) => {
                let message = format!("{} is not the status of a redirect", status.value);
                self.cx
                    .diagnostics
                    .error(status.span, message)
                    .expected("301, 302, 303, 307 or 308");
                return None;
            }
        };
        let has_parts = rule.scheme.is_some()
            || rule.host.is_some()
            || rule.port.is_some()
            || rule.path.is_some()
            || rule.prefix.is_some();
        match &rule.to {
            Some(to) if has_parts || rule.strip_query => {
                self.error(
                    to.span,
                    "`to` is the whole target: it goes with nothing but `status`",
                );
                return None;
            }
            None if !has_parts && !rule.strip_query => {
                self.cx
                    .diagnostics
                    .error(rule.span, "the redirect leads to the request's own target")
                    .expected("`to`, or one of scheme, host, port, path, prefix, strip_query");
                return None;
            }
            _ => {}
        }
        if let Some(to) = &rule.to {
            self.check_location(to);
        }
        let host = rule.host.as_ref().map(|host| self.read_host(host));
        Some(Redirect {
            status,
            to: rule.to.as_ref().map(|to| to.value.clone()),
            scheme: rule.scheme.map(Into::into),
            host: match host {
                Some(host) => Some(String::from_utf8(host?.to_vec()).ok()?.into()),
                None => None,
            },
            port: rule.port.map(NonZeroU16::get),
            path: self.read_path(rule.path.as_ref(), rule.prefix.as_ref(), paths)?,
            strip_query: rule.strip_query,
        })
    }

    fn check_location(&mut self, to: &Located<FieldValue>) {
        let bytes = to.as_bytes();
        let known = [&b"/"[..], b"http://", b"https://"];
        if !known.iter().any(|start| bytes.starts_with(start))
            || !bytes.iter().all(u8::is_ascii_graphic)
        {
            self.cx
                .diagnostics
                .error(to.span, "not a place to redirect to")
                .expected("a URL (https://example.com/) or a path, in printable ASCII");
        }
    }

    fn read_respond(&mut self, rule: &Located<RespondRule>) -> Option<Respond> {
        let status = match rule.status.value {
            200..=599 => Status::from_code(rule.status.value)?,
            code => {
                self.cx
                    .diagnostics
                    .error(
                        rule.status.span,
                        format!("{code} is not the status of a response"),
                    )
                    .expected("a number from 200 to 599");
                return None;
            }
        };
        if status.is_bodiless() && !rule.body.is_empty() {
            self.error(
                rule.status.span,
                format!("a response with status {} has no body", status.code()),
            );
            return None;
        }
        let default_type = || FieldValue::new("text/plain; charset=utf-8");
        Some(Respond {
            status,
            content_type: if rule.body.is_empty() {
                rule.content_type.clone()
            } else {
                rule.content_type.clone().or_else(default_type)
            },
            body: Bytes::from(rule.body.clone()),
            fields: rule.headers.clone().into_iter().collect(),
        })
    }

    pub(super) fn read_rewrite(
        &mut self,
        rule: &Located<RewriteRule>,
        paths: Option<&AnyOf<PathPattern>>,
    ) -> Option<Rewrite> {
        let ways = [&rule.path, &rule.prefix, &rule.regex];
        if ways.into_iter().flatten().count() > 1 {
            self.error(
                rule.span,
                "only one of path, prefix and regex can rewrite the path",
            );
            return None;
        }
        if rule.value == RewriteRule::default() {
            self.cx
                .diagnostics
                .error(rule.span, "the rewrite changes nothing")
                .expected("path, prefix, or regex and replacement; host");
            return None;
        }
        let path = match (&rule.regex, &rule.replacement) {
            (Some(regex), Some(replacement)) => match RegexRewrite::new(regex, replacement) {
                Ok(rewrite) => PathRewrite::Regex(rewrite),
                Err(reason) => {
                    self.error(regex.span, reason);
                    return None;
                }
            },
            (None, None) => self.read_path(rule.path.as_ref(), rule.prefix.as_ref(), paths)?,
            _ => {
                self.error(rule.span, "regex and replacement go together");
                return None;
            }
        };
        let host = match &rule.host {
            Some(host) => Some(self.read_host(host)?),
            None => None,
        };
        Some(Rewrite { path, host })
    }

    fn read_path(
        &mut self,
        path: Option<&Located<String>>,
        prefix: Option<&Located<String>>,
        paths: Option<&AnyOf<PathPattern>>,
    ) -> Option<PathRewrite> {
        for text in [path, prefix].into_iter().flatten() {
            if !is_target_path(text.as_bytes()) || has_dot_segment(text.as_bytes()) {
                self.cx
                    .diagnostics
                    .error(text.span, format!("'{}' is not a path to send", text.value))
                    .expected("a path that begins with /, without dot segments, query or fragment");
                return None;
            }
        }
        match (path, prefix) {
            (None, None) => Some(PathRewrite::Keep),
            (Some(path), None) => Some(PathRewrite::Path(Bytes::from(path.value.clone()))),
            (None, Some(prefix)) => self.read_prefix(prefix, paths),
            (Some(_), Some(prefix)) => {
                self.error(prefix.span, "path and prefix exclude each other");
                None
            }
        }
    }

    fn read_prefix(
        &mut self,
        replacement: &Located<String>,
        paths: Option<&AnyOf<PathPattern>>,
    ) -> Option<PathRewrite> {
        let prefixes = match paths {
            None => Some(vec![Box::default()]),
            Some(paths) => paths
                .0
                .iter()
                .map(|path| path.prefix().map(Into::into))
                .collect(),
        };
        let Some(prefixes) = prefixes else {
            self.cx
                .diagnostics
                .error(replacement.span, "there is no prefix to replace")
                .help("every path of the route must be a prefix such as /v1/*");
            return None;
        };
        Some(PathRewrite::Prefix(PrefixRewrite {
            prefixes,
            replacement: replacement.as_bytes().into(),
        }))
    }

    fn read_host(&mut self, host: &Located<String>) -> Option<Bytes> {
        let settled = check_authority(host.as_bytes());
        if settled.is_err() {
            self.cx
                .diagnostics
                .error(host.span, format!("'{}' is not a host", host.value))
                .expected("a host name or address, with or without a port");
        }
        settled.ok()
    }
}
