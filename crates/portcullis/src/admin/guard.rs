//! Who may ask: requests that a browser was tricked into are refused, and changes want the token if there is one.
//!
//! Whether the address is reachable at all is decided before it is opened; see [`super::check_address`]. Start
//! at [`guard`].

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Admin;

/// Passes a request on, or says why not.
pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let running = admin.running.load();
    let config = &running.model.admin;
    if let Err(refusal) = check(
        request.method(),
        request.headers(),
        config.token.as_deref(),
        config.danger_listen_on_network,
    ) {
        // RFC 9110 section 15.5.2.
        let asks = (refusal.0 == StatusCode::UNAUTHORIZED)
            .then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        return (asks, refusal).into_response();
    }
    drop(running);
    next.run(request).await
}

type Refusal = (StatusCode, &'static str);

/// `named` is whether the address may be reached by a name, which only one on a network is.
fn check(
    method: &Method,
    headers: &HeaderMap,
    token: Option<&str>,
    named: bool,
) -> Result<(), Refusal> {
    let host = text(headers, header::HOST);
    if !named && !host.is_none_or(is_local_host) {
        // A page that rebinds its own name to 127.0.0.1 sends that name.
        return Err((
            StatusCode::FORBIDDEN,
            "the host header names another machine; use an address or localhost\n",
        ));
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    if let Some(origin) = text(headers, header::ORIGIN) {
        // Any page may POST to an address it cannot read from; browsers say where it comes from.
        let own = origin.split_once("://").map(|(_, own)| own);
        if own.is_none() || own != host {
            return Err((
                StatusCode::FORBIDDEN,
                "requests from other origins are refused\n",
            ));
        }
    }
    let Some(token) = token else { return Ok(()) };
    let given = text(headers, header::AUTHORIZATION).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
    });
    if given.is_some_and(|given| same_secret(given.as_bytes(), token.as_bytes())) {
        return Ok(());
    }
    Err((
        StatusCode::UNAUTHORIZED,
        "this needs `authorization: Bearer <admin.token>`\n",
    ))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("?.?"))
}

/// An address, `localhost`, or a name without a dot, which nobody can own on the internet.
fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok()
        || !name.contains('.')
        || name.to_ascii_lowercase().ends_with(".localhost")
}

/// Takes as long for a near miss as for anything else of the same length.
fn same_secret(given: &[u8], secret: &[u8]) -> bool {
    let difference = given
        .iter()
        .zip(secret)
        .fold(0, |difference, (given, secret)| {
            difference | (given ^ secret)
        });
    given.len() == secret.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask() {
        const TOKEN: Option<&str> = Some("s3cret");
        type Row = (
            &'static str,
            &'static str,
            &'static [(&'static str, &'static str)],
            Option<&'static str>,
            bool,
            u16,
        );
        let rows: &[Row] = &[
            ("no host", "GET", &[], None, false, 200),
            (
                "an address",
                "GET",
                &[("host", "127.0.0.1:9901")],
                None,
                false,
                200,
            ),
            (
                "an IPv6 address",
                "GET",
                &[("host", "[::1]:9901")],
                None,
                false,
                200,
            ),
            (
                "localhost",
                "POST",
                &[("host", "localhost:9901")],
                None,
                false,
                200,
            ),
            ("a bare name", "GET", &[("host", "admin")], None, false, 200),
            (
                "F14 a rebound name",
                "GET",
                &[("host", "evil.example:9901")],
                None,
                false,
                403,
            ),
            (
                "F14 an unreadable host",
                "GET",
                &[("host", "\u{e9}")],
                None,
                false,
                403,
            ),
            (
                "a name on a network",
                "GET",
                &[("host", "admin.example")],
                None,
                true,
                200,
            ),
            (
                "F14 a form on another page",
                "POST",
                &[
                    ("host", "127.0.0.1:9901"),
                    ("origin", "https://evil.example"),
                ],
                None,
                false,
                403,
            ),
            (
                "F14 a sandboxed page",
                "POST",
                &[("host", "127.0.0.1:9901"), ("origin", "null")],
                None,
                false,
                403,
            ),
            (
                "its own page",
                "POST",
                &[
                    ("host", "127.0.0.1:9901"),
                    ("origin", "http://127.0.0.1:9901"),
                ],
                None,
                false,
                200,
            ),
            ("F14 no token", "POST", &[], TOKEN, false, 401),
            (
                "F14 a wrong token",
                "POST",
                &[("authorization", "Bearer s3creT")],
                TOKEN,
                false,
                401,
            ),
            (
                "F14 a short token",
                "POST",
                &[("authorization", "Bearer s3cre")],
                TOKEN,
                false,
                401,
            ),
            (
                "F14 another scheme",
                "POST",
                &[("authorization", "Basic s3cret")],
                TOKEN,
                false,
                401,
            ),
            (
                "the token",
                "POST",
                &[("authorization", "bearer s3cret")],
                TOKEN,
                false,
                200,
            ),
            ("reading needs none", "GET", &[], TOKEN, false, 200),
        ];
        for (row, method, headers, token, named, expected) in rows {
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                map.insert(
                    *name,
                    http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            let answer = check(&method.parse().unwrap(), &map, *token, *named);
            let status = answer.map_or_else(|(status, _)| status.as_u16(), |()| 200);
            assert_eq!(status, *expected, "{row}");
        }
    }
}
