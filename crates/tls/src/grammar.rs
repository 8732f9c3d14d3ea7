//! The grammar of the ClientHello: the body of a whole message in, places and verdicts out (RFC 8446 section 4.1.2).
//!
//! nom gives the structure. Only what routing needs is read; other extensions are counted and passed over. Nothing
//! here waits for bytes or copies them. Start at [`client_hello`].

use std::ops::Range;

use nom::bytes::complete::take;
use nom::combinator::all_consuming;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Offset as _, Parser as _};
use smallvec::SmallVec;

use crate::error::ClientHelloError;
use crate::message::ProtocolVersion;
use crate::name::ServerName;

/// What a structure that does not fit is called depends on where it stands: callers say so.
type Parsed<'a, T> = IResult<&'a [u8], T, ()>;

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// The one type of name that exists (RFC 6066 section 3).
const HOST_NAME: u8 = 0;

const RANDOM_BYTES: usize = 32;
const SESSION_ID_BYTES: usize = 32;

/// What a ClientHello says, as places in its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) legacy_version: ProtocolVersion,
    pub(crate) cipher_suites: usize,
    /// The name, valid, without a final dot.
    pub(crate) server_name: Option<Range<usize>>,
    /// Names, each behind a byte that has its length.
    pub(crate) alpn: Option<Range<usize>>,
    /// Two bytes each.
    pub(crate) versions: Option<Range<usize>>,
    pub(crate) encrypted: bool,
}

/// Reads the whole body of a ClientHello.
pub(crate) fn client_hello(body: &[u8], extension_limit: usize) -> Result<Spans, ClientHelloError> {
    let (rest, (version, session_id, suites, compression)) =
        fixed(body).map_err(|_| ClientHelloError::BadLength)?;
    let lengths_are_allowed = session_id.len() <= SESSION_ID_BYTES
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compression.is_empty();
    if !lengths_are_allowed {
        return Err(ClientHelloError::BadLength);
    }
    let mut spans = Spans {
        legacy_version: ProtocolVersion(version),
        cipher_suites: suites.len() / 2,
        server_name: None,
        alpn: None,
        versions: None,
        encrypted: false,
    };
    // Before TLS 1.3 the block may be missing as a whole.
    if !rest.is_empty() {
        let block = whole(list_u16, rest).ok_or(ClientHelloError::BadLength)?;
        extensions(body, block, extension_limit, &mut spans)?;
    }
    Ok(spans)
}

type Fixed<'a> = (u16, &'a [u8], &'a [u8], &'a [u8]);

/// Everything in front of the extensions: version, session id, cipher suites, compression methods.
fn fixed(body: &[u8]) -> Parsed<'_, Fixed<'_>> {
    let (rest, (version, _random, session_id, suites, compression)) =
        (be_u16, take(RANDOM_BYTES), list_u8, list_u16, list_u8).parse(body)?;
    Ok((rest, (version, session_id, suites, compression)))
}

fn extensions<'a>(
    body: &'a [u8],
    mut block: &'a [u8],
    limit: usize,
    spans: &mut Spans,
) -> Result<(), ClientHelloError> {
    let place = |part: &[u8]| {
        let start = body.offset(part);
        start..start + part.len()
    };
    // Few enough by the limit for a search through all of them.
    let mut seen: SmallVec<[u16; 32]> = SmallVec::new();
    while !block.is_empty() {
        let (rest, (kind, data)) = (be_u16::<_, ()>, list_u16)
            .parse(block)
            .map_err(|_| ClientHelloError::BadExtension)?;
        block = rest;
        if seen.contains(&kind) {
            return Err(ClientHelloError::DuplicateExtension);
        }
        if seen.len() == limit {
            return Err(ClientHelloError::TooManyExtensions);
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => spans.server_name = server_name(data)?.map(place),
            ALPN => spans.alpn = Some(place(alpn(data)?)),
            SUPPORTED_VERSIONS => spans.versions = Some(place(versions(data)?)),
            ENCRYPTED_CLIENT_HELLO => spans.encrypted = true,
            _ => {}
        }
    }
    Ok(())
}

/// RFC 6066 section 3: one host name. Of another type nobody knows where it ends.
fn server_name(data: &[u8]) -> Result<Option<&[u8]>, ClientHelloError> {
    let list = whole(list_u16, data).ok_or(ClientHelloError::BadServerName)?;
    let (kind, name) = whole((be_u8, list_u16), list).ok_or(ClientHelloError::BadServerName)?;
    match ServerName::of(name) {
        ServerName::Dns(length) if kind == HOST_NAME => Ok(name.get(..length)),
        ServerName::Address if kind == HOST_NAME => Ok(None),
        _ => Err(ClientHelloError::BadServerName),
    }
}

/// RFC 7301 section 3.1: at least one name, none of them empty.
fn alpn(data: &[u8]) -> Result<&[u8], ClientHelloError> {
    let list = whole(list_u16, data).ok_or(ClientHelloError::BadAlpn)?;
    let mut rest = list;
    loop {
        match list_u8(rest) {
            Ok((_, [])) | Err(_) => return Err(ClientHelloError::BadAlpn),
            Ok(([], _)) => return Ok(list),
            Ok((left, _)) => rest = left,
        }
    }
}

/// RFC 8446 section 4.2.1: at least one version.
fn versions(data: &[u8]) -> Result<&[u8], ClientHelloError> {
    whole(list_u8, data)
        .filter(|list| !list.is_empty() && list.len().is_multiple_of(2))
        .ok_or(ClientHelloError::BadVersions)
}

fn list_u8(input: &[u8]) -> Parsed<'_, &[u8]> {
    length_data(be_u8).parse(input)
}

fn list_u16(input: &[u8]) -> Parsed<'_, &[u8]> {
    length_data(be_u16).parse(input)
}

/// What `parser` makes of all of `input`.
fn whole<'a, P>(parser: P, input: &'a [u8]) -> Option<P::Output>
where
    P: nom::Parser<&'a [u8], Error = ()>,
{
    let (_, output) = all_consuming(parser).parse(input).ok()?;
    Some(output)
}
