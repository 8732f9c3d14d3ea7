//! What a request is for, settled once: its authority, its path, its upgrade.
//!
//! After this, the value that routes and filters see is the value that goes upstream; there is no second reading
//! that could disagree. It decides nothing about bodies ([`crate::framing`]) or about who the client is
//! ([`crate::forward`]). Start at [`settle`].
//!
//! What happens to a path, in this order and in one pass: every escape is checked; escapes of unreserved bytes
//! are decoded and the hex digits of the others are upper case (RFC 3986 section 6.2.2), so `/%61dmin` is
//! `/admin` for a rule that denies it; slashes are merged if so configured; dot segments are removed. The query
//! is passed as it is. A path that needs none of this is not copied.

mod authority;
mod path;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use portcullis_codec::{Severity, WireError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fields::{Fields, list_members};
use crate::framing::Framing;
use crate::head::{Method, Scheme, Status, TargetForm, Version};
use crate::message::Request;
use crate::name::KnownField;

pub(crate) use authority::{check as check_authority, split_port};
pub(crate) use path::{has_dot_segment, is_target_path};

/// How targets are normalised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NormalizeConfig {
    /// What happens to `%2F`, `%5C` and `\` in a path. Default `keep`: they are bytes like others, for matching and
    /// for forwarding alike; many applications use `%2F` inside of names. `reject` answers 400, for upstreams
    /// that decode them into separators.
    pub escaped_slashes: EscapedSlashes,
    /// Whether runs of slashes become one. Default false: an empty segment is part of a path (RFC 3986 section 3.3),
    /// and some upstreams mean something by it.
    pub merge_slashes: bool,
    /// What happens to fields with `_` in their names. Default `drop`: CGI and its heirs turn `-` into `_`, so
    /// `x_user` would be read as the `x-user` that only a trusted side may set.
    pub underscores: Underscores,
}

/// What happens to `%2F`, `%5C` and `\` in a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EscapedSlashes {
    /// They are bytes like others.
    #[default]
    Keep,
    /// 400.
    Reject,
}

/// What happens to fields with `_` in their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// They do not reach filters or upstreams.
    #[default]
    Drop,
    /// They are fields like others.
    Keep,
    /// 400.
    Reject,
}

/// Why a request cannot be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RequestError {
    /// HTTP/1.1 and later must name a host (RFC 9112 section 3.2).
    #[error("no host")]
    MissingHost,
    /// More than one Host field (RFC 9112 section 3.2).
    #[error("several host fields")]
    SeveralHosts,
    /// Not a host name or address: empty, an escape, a byte that no name has.
    #[error("invalid host")]
    InvalidHost,
    /// `user@host` (RFC 9110 section 4.2.4).
    #[error("userinfo in the authority")]
    Userinfo,
    /// A port that is no number from 1 to 65535; for CONNECT also no port.
    #[error("invalid port")]
    InvalidPort,
    /// The target and the Host field name different hosts.
    #[error("target and host field differ")]
    HostMismatch,
    /// A form of target that does not fit the method (RFC 9112 section 3.2).
    #[error("invalid target for the method")]
    InvalidTarget,
    /// A control byte, a space or a byte past ASCII in the target, or no `/` at its start.
    #[error("invalid byte in the target")]
    InvalidPath,
    /// `#`: fragments are never sent (RFC 9110 section 7.1).
    #[error("fragment in the target")]
    Fragment,
    /// A `%` without two hex digits (RFC 3986 section 2.1).
    #[error("invalid escape in the path")]
    BadEscape,
    /// `%00`.
    #[error("escaped NUL in the path")]
    EscapedNul,
    /// `%2F`, `%5C` or `\` where they are configured to be refused.
    #[error("escaped slash in the path")]
    EscapedSlash,
    /// More `..` than segments.
    #[error("path above the root")]
    AboveRoot,
    /// `_` in a field name where that is configured to be refused.
    #[error("underscore in a field name")]
    Underscore,
    /// A rewrite whose result is not a normal path.
    #[error("rewritten path is not normal")]
    UnsafeRewrite,
}

impl WireError for RequestError {
    /// The framing is sound: the connection may go on after the answer.
    fn severity(&self) -> Severity {
        Severity::Message
    }

    fn label(&self) -> &'static str {
        (*self).label()
    }
}

impl RequestError {
    /// The `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::MissingHost => "missing_host",
            Self::SeveralHosts => "several_hosts",
            Self::InvalidHost => "invalid_host",
            Self::Userinfo => "userinfo",
            Self::InvalidPort => "invalid_port",
            Self::HostMismatch => "host_mismatch",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidPath => "invalid_path",
            Self::Fragment => "fragment_in_target",
            Self::BadEscape => "bad_escape",
            Self::EscapedNul => "escaped_nul",
            Self::EscapedSlash => "escaped_slash",
            Self::AboveRoot => "path_above_root",
            Self::Underscore => "underscore_in_field_name",
            Self::UnsafeRewrite => "unsafe_rewrite",
        }
    }

    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> Status {
        Status::BAD_REQUEST
    }
}

/// Settles a request's authority, path and upgrade in place.
///
/// Afterwards the target is in origin-form (asterisk-form for OPTIONS, authority-form for CONNECT), Host equals
/// [`Request::authority`], and the path is normal. Settling twice changes nothing more.
///
/// # Errors
/// See [`RequestError`]; the request is then settled in part and good only for an answer and a log line.
pub fn settle(request: &mut Request, config: &NormalizeConfig) -> Result<(), RequestError> {
    check_form(request)?;
    authority::settle(request)?;
    settle_target(request, *config)?;
    check_names(request, config.underscores)?;
    request.upgrade = upgrade_of(request);
    Ok(())
}

/// RFC 9112 section 3.2.3 and 3.2.4: which forms go with which methods.
fn check_form(request: &Request) -> Result<(), RequestError> {
    let is_connect = request.head.method == Method::Connect;
    let fits = match request.head.target.form {
        TargetForm::Authority => is_connect,
        TargetForm::Asterisk => request.head.method == Method::Options,
        TargetForm::Origin | TargetForm::Absolute => !is_connect,
    };
    if fits {
        Ok(())
    } else {
        Err(RequestError::InvalidTarget)
    }
}

fn settle_target(request: &mut Request, config: NormalizeConfig) -> Result<(), RequestError> {
    if request.head.target.form == TargetForm::Origin {
        request.head.target.authority = None;
        return settle_path(request, config);
    }
    settle_other_form(request, config)
}

#[cold]
fn settle_other_form(request: &mut Request, config: NormalizeConfig) -> Result<(), RequestError> {
    let target = &mut request.head.target;
    match target.form {
        TargetForm::Authority => return Ok(()),
        TargetForm::Asterisk => {
            return if *target.path_and_query == *b"*" {
                Ok(())
            } else {
                Err(RequestError::InvalidTarget)
            };
        }
        TargetForm::Absolute => {
            target.form = TargetForm::Origin;
            target.authority = None;
            // RFC 9112 section 3.2.4: OPTIONS for a whole server, written in absolute-form.
            if matches!(*target.path_and_query, [] | [b'*'])
                && request.head.method == Method::Options
            {
                target.form = TargetForm::Asterisk;
                request.replace_path(Bytes::from_static(b"*"));
                return Ok(());
            }
        }
        TargetForm::Origin => target.authority = None,
    }
    settle_path(request, config)
}

fn settle_path(request: &mut Request, config: NormalizeConfig) -> Result<(), RequestError> {
    if let Some(settled) = path::normalize(&request.head.target.path_and_query, config)? {
        request.replace_path(settled);
    }
    Ok(())
}

/// Takes out of trailers what [`settle`] would not let pass in a head: it is too late to refuse the request for it.
pub fn settle_trailers(trailers: &mut Fields, config: &NormalizeConfig) {
    if config.underscores != Underscores::Keep {
        trailers.retain(|field| !has_underscore(&field));
    }
}

/// No known name has one.
fn has_underscore(field: &crate::Field<'_>) -> bool {
    field.known.is_none() && field.name.contains(&b'_')
}

fn check_names(request: &mut Request, underscores: Underscores) -> Result<(), RequestError> {
    let fields = &mut request.head.fields;
    if underscores == Underscores::Keep || !fields.may_have_unknown() {
        return Ok(());
    }
    check_unknown_names(fields, underscores)
}

fn check_unknown_names(fields: &mut Fields, underscores: Underscores) -> Result<(), RequestError> {
    if !fields.iter().any(|field| has_underscore(&field)) {
        return Ok(());
    }
    if underscores == Underscores::Reject {
        return Err(RequestError::Underscore);
    }
    fields.retain(|field| !has_underscore(&field));
    Ok(())
}

/// The protocol that an HTTP/1.1 request asks to switch to (RFC 9110 section 7.8), if it asks for exactly one,
/// says so in Connection, and has no body: bytes of a body and bytes of a tunnel could be taken for each other.
///
/// In later versions these fields are malformed, and refused before: there they are how a session says that an extended
/// CONNECT (RFC 8441, RFC 9220) asked for it.
fn upgrade_of(request: &Request) -> Option<Bytes> {
    if !request.head.fields.contains(KnownField::Upgrade) {
        return None;
    }
    asked_upgrade(request)
}

#[cold]
fn asked_upgrade(request: &Request) -> Option<Bytes> {
    let fields = &request.head.fields;
    if request.head.version == Version::Http10
        || request.head.method == Method::Connect
        || request.framing != Framing::None && request.framing != Framing::Length(0)
    {
        return None;
    }
    let asks = fields
        .get_all(KnownField::Connection)
        .flat_map(list_members)
        .any(|member| member.eq_ignore_ascii_case(b"upgrade"));
    let mut members = fields.get_all(KnownField::Upgrade).flat_map(list_members);
    let (true, Some(protocol), None) = (asks, members.next(), members.next()) else {
        return None;
    };
    if protocol.eq_ignore_ascii_case(b"websocket") {
        return Some(Bytes::from_static(b"websocket"));
    }
    is_protocol(protocol).then(|| Bytes::from(protocol.to_ascii_lowercase()))
}

/// `token ["/" token]`, of a length that names have.
fn is_protocol(protocol: &[u8]) -> bool {
    protocol.len() <= 64
        && protocol
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"-._/+".contains(&byte))
}

/// The port that a scheme implies.
const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}
