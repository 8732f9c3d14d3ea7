//! `cors`: which pages of other origins may read responses (the Fetch standard, "CORS protocol").
//!
//! Preflights are answered here. It protects readers of responses, not the upstream: requests pass whatever their
//! origin. Start at [`CorsConfig`].

mod origin;

use bytes::Bytes;
use portcullis_config::{BuildError, Diagnostics, Duration, Located, Node};
use portcullis_filter::{Context, Filter, FilterContext, FilterKind, Interest, Stop, Verdict};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::fields::{Fields, list_members};
use crate::forward::Token;
use crate::head::{Method, Status};
use crate::local_reply;
use crate::message::{Http, Request, Response};
use crate::name::KnownField;

pub use origin::OriginPattern;

/// Settings of `cors`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins that may read responses: `https://app.example.com`, `https://*.example.com` (anything below), `~` and a
    /// regular expression for the whole origin, or `*`.
    pub origins: Vec<OriginPattern>,
    /// Methods that may be used. Default GET, HEAD, POST: those that need no preflight anyway.
    #[serde(default = "default_methods")]
    pub methods: Vec<Token>,
    /// Fields that requests may have. Default none but those that need no permission.
    #[serde(default)]
    pub headers: Vec<Token>,
    /// Fields of responses that pages may read. Default none but those that need no permission.
    #[serde(default)]
    pub expose: Vec<Token>,
    /// Whether requests with cookies may be read. Default false. Not together with origin `*`.
    #[serde(default)]
    pub credentials: Option<Located<bool>>,
    /// How long browsers may remember the answer to a preflight. Default 10m: less than a deployment takes to matter, long enough
    /// to save almost all preflights.
    #[serde(default = "default_max_age")]
    pub max_age: Duration,
}

fn default_methods() -> Vec<Token> {
    ["GET", "HEAD", "POST"]
        .into_iter()
        .filter_map(Token::new)
        .collect()
}

fn default_max_age() -> Duration {
    Duration::from_secs(600)
}

/// The filter.
pub struct Cors {
    origins: Vec<OriginPattern>,
    any: bool,
    credentials: bool,
    methods: Bytes,
    headers: Bytes,
    expose: Bytes,
    max_age: Bytes,
    refused: Counter,
}

/// Kept between request and response.
struct Allowed(Bytes);

impl FilterKind<Http> for Cors {
    const NAME: &'static str = "cors";
    type Config = CorsConfig;

    fn check(config: &CorsConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.origins.is_empty() {
            diagnostics
                .error_at(node, "there are no origins")
                .expected("at least one, such as https://app.example.com");
        }
        if let Some(credentials) = &config.credentials
            && credentials.value
            && config.origins.iter().any(OriginPattern::is_any)
        {
            diagnostics
                .error(
                    credentials.span,
                    "credentials for every origin would let any page act as its visitor",
                )
                .help("list the origins that may");
        }
    }

    fn build(
        config: &CorsConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<Http>>, BuildError> {
        let list = |tokens: &[Token]| {
            let names: Vec<&str> = tokens.iter().map(Token::as_str).collect();
            Bytes::from(names.join(", "))
        };
        Ok(Box::new(Self {
            any: config.origins.iter().any(OriginPattern::is_any),
            origins: config.origins.clone(),
            credentials: config.credentials.as_ref().is_some_and(|yes| yes.value),
            methods: list(&config.methods),
            headers: list(&config.headers),
            expose: list(&config.expose),
            max_age: Bytes::from(config.max_age.get().as_secs().to_string()),
            refused: cx.stats.counter(
                "portcullis_http_cors_refused_total",
                "Preflights refused because of their origin.",
                &[("filter", cx.path)],
            ),
        }))
    }
}

impl Cors {
    fn allows(&self, origin: &[u8]) -> bool {
        self.any || self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    fn preflight(&self, origin: &[u8]) -> Response {
        if !self.allows(origin) {
            self.refused.inc();
            return local_reply::bare(Status::FORBIDDEN, "cors_origin");
        }
        let mut response = Response::local(Status::NO_CONTENT, "cors_preflight", Bytes::new());
        let fields = &mut response.head.fields;
        for (field, value) in [
            (KnownField::AccessControlAllowMethods, &self.methods),
            (KnownField::AccessControlAllowHeaders, &self.headers),
            (KnownField::AccessControlMaxAge, &self.max_age),
        ] {
            if !value.is_empty() {
                fields.append(field, value);
            }
        }
        self.write_origin(fields, origin);
        response
    }

    fn write_origin(&self, fields: &mut Fields, origin: &[u8]) {
        if self.any {
            fields.set(KnownField::AccessControlAllowOrigin, b"*");
            return;
        }
        fields.set(KnownField::AccessControlAllowOrigin, origin);
        if self.credentials {
            fields.set(KnownField::AccessControlAllowCredentials, b"true");
        }
    }

    /// What is said differs by origin, also where nothing is said: caches must know.
    fn vary(&self, fields: &mut Fields) {
        if self.any {
            return;
        }
        let varies = fields
            .get_all(KnownField::Vary)
            .flat_map(list_members)
            .any(|member| member == b"*" || member.eq_ignore_ascii_case(b"origin"));
        if !varies {
            fields.append(KnownField::Vary, b"origin");
        }
    }
}

impl Filter<Http> for Cors {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST.and(Interest::RESPONSE)
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut Request,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let fields = &request.head.fields;
        let Some(origin) = fields.get(KnownField::Origin) else {
            return Verdict::Continue;
        };
        let is_preflight = request.head.method == Method::Options
            && fields.contains(KnownField::AccessControlRequestMethod);
        if is_preflight {
            return Verdict::Stop(Stop::Reply(Box::new(self.preflight(origin))));
        }
        if self.allows(origin) {
            cx.hold(Allowed(Bytes::copy_from_slice(origin)));
        }
        Verdict::Continue
    }

    fn on_response<'a>(
        &'a self,
        response: &'a mut Response,
        cx: &'a mut Context,
    ) -> Verdict<'a, Http> {
        let fields = &mut response.head.fields;
        if response.reason != Some("cors_preflight") {
            // Two answers to one question confuse browsers: only this filter's counts.
            for field in [
                KnownField::AccessControlAllowOrigin,
                KnownField::AccessControlAllowCredentials,
                KnownField::AccessControlExposeHeaders,
            ] {
                fields.remove(field);
            }
            if let Some(Allowed(origin)) = cx.held::<Allowed>() {
                self.write_origin(fields, origin);
                if !self.expose.is_empty() {
                    fields.set(KnownField::AccessControlExposeHeaders, &self.expose);
                }
            }
        }
        self.vary(fields);
        Verdict::Continue
    }
}
