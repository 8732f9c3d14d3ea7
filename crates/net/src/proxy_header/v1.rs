//! The grammar of the version 1 line (section 2.1).
//!
//! Works on a whole line without its CR LF. Start at [`parse`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::str::FromStr;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1};
use nom::combinator::{all_consuming, rest, value};
use nom::sequence::preceded;
use nom::{IResult, Parser as _};

use super::{Addresses, ProxyHeader, ProxyHeaderError, Transport, V1_SIGNATURE};

#[derive(Debug, Clone, Copy)]
enum Family {
    Tcp4,
    Tcp6,
}

/// Reads a line that begins with the signature.
pub(super) fn parse(line: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let (body, _) = signature(line).map_err(|_| ProxyHeaderError::Line)?;
    if unknown(body).is_ok() {
        return Ok(ProxyHeader::new(Addresses::Unknown));
    }
    let (_, (family, source, destination, source_port, destination_port)) =
        known(body).map_err(|_| ProxyHeaderError::Line)?;
    let ports = (port(source_port)?, port(destination_port)?);
    let addresses = match family {
        Family::Tcp4 => Addresses::V4 {
            source: SocketAddrV4::new(address::<Ipv4Addr>(source)?, ports.0),
            destination: SocketAddrV4::new(address::<Ipv4Addr>(destination)?, ports.1),
            transport: Transport::Stream,
        },
        Family::Tcp6 => Addresses::V6 {
            source: SocketAddrV6::new(address::<Ipv6Addr>(source)?, ports.0, 0, 0),
            destination: SocketAddrV6::new(address::<Ipv6Addr>(destination)?, ports.1, 0, 0),
            transport: Transport::Stream,
        },
    };
    Ok(ProxyHeader::new(addresses))
}

fn signature(line: &[u8]) -> IResult<&[u8], &[u8]> {
    tag(&V1_SIGNATURE[..]).parse(line)
}

/// `UNKNOWN`, and whatever follows it up to the end of the line, which is to be ignored.
fn unknown(body: &[u8]) -> IResult<&[u8], ()> {
    let ignored = alt((nom::combinator::eof, preceded(tag(" "), rest)));
    value((), all_consuming((tag("UNKNOWN"), ignored))).parse(body)
}

type Known<'a> = (Family, &'a [u8], &'a [u8], &'a [u8], &'a [u8]);

/// Family, both addresses, both ports, each behind exactly one space.
fn known(body: &[u8]) -> IResult<&[u8], Known<'_>> {
    let family = alt((
        value(Family::Tcp4, tag("TCP4")),
        value(Family::Tcp6, tag("TCP6")),
    ));
    all_consuming((family, word, word, word, word)).parse(body)
}

fn word(input: &[u8]) -> IResult<&[u8], &[u8]> {
    preceded(tag(" "), take_till1(|byte| byte == b' ')).parse(input)
}

/// The standard library's grammar of addresses is the strict one: no leading zeros, no zone.
fn address<A: FromStr>(text: &[u8]) -> Result<A, ProxyHeaderError> {
    let text = std::str::from_utf8(text).map_err(|_| ProxyHeaderError::Address)?;
    text.parse().map_err(|_| ProxyHeaderError::Address)
}

/// Decimal, 0 to 65535, without sign and leading zeros.
fn port(text: &[u8]) -> Result<u16, ProxyHeaderError> {
    let leading_zero = text.len() > 1 && text.first() == Some(&b'0');
    if leading_zero || !text.iter().all(u8::is_ascii_digit) {
        return Err(ProxyHeaderError::Address);
    }
    address(text)
}
