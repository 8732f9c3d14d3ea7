//! Inline commands: a line of words, for people with telnet.
//!
//! Not taken unless asked for, since every protocol of lines could be made to speak it. A line becomes an ordinary command,
//! which is what goes on. Quotes as in Redis. Start at [`command`].

use super::command::Command;
use crate::error::RequestError;
use crate::grammar::is_http;

/// Makes a command of a line that [is not blank](is_blank).
///
/// # Errors
/// Quotes that are not closed, an HTTP request, more than `most` words.
pub(super) fn command(line: &[u8], most: u64, is_known: bool) -> Result<Command, RequestError> {
    let words = words(line)?;
    if is_http(&words) {
        return Err(RequestError::CrossProtocol);
    }
    if words.len() as u64 > most {
        return Err(if is_known {
            RequestError::ArgumentCount
        } else {
            RequestError::StrangerArguments
        });
    }
    Ok(Command::new(&words))
}

/// Whether a line has no words.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().copied().all(is_space)
}

/// What C's `isspace` says.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blank = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = rest.get(blank..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, behind) = word(rest)?;
        words.push(word);
        rest = behind;
    }
}

/// One word, which may be quoted in part: what it means, and what is behind it.
fn word(line: &[u8]) -> Result<(Vec<u8>, &[u8]), RequestError> {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        match rest {
            [b'"', behind @ ..] => return closed(word, behind, double_quoted),
            [b'\'', behind @ ..] => return closed(word, behind, single_quoted),
            [byte, behind @ ..] if !is_space(*byte) => {
                word.push(*byte);
                rest = behind;
            }
            _ => return Ok((word, rest)),
        }
    }
}

type Quoted = fn(&mut Vec<u8>, &[u8]) -> Option<usize>;

/// A word ends with its closing quote, behind which white space must be.
fn closed(
    mut word: Vec<u8>,
    quoted: &[u8],
    read: Quoted,
) -> Result<(Vec<u8>, &[u8]), RequestError> {
    let end = read(&mut word, quoted).ok_or(RequestError::InlineQuotes)?;
    let behind = quoted.get(end..).unwrap_or_default();
    match behind.first() {
        Some(&byte) if !is_space(byte) => Err(RequestError::InlineQuotes),
        _ => Ok((word, behind)),
    }
}

/// Up to the closing quote, which is counted: `\xHH`, `\n` and the like mean what they do in C.
fn double_quoted(word: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let (byte, behind) = match rest {
            [b'"', behind @ ..] => return Some(bytes.len() - behind.len()),
            [b'\\', b'x', high, low, behind @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), behind)
            }
            [b'\\', escaped, behind @ ..] => (unescaped(*escaped), behind),
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        word.push(byte);
        rest = behind;
    }
}

/// Up to the closing quote, which is counted: only `\'` means something else than it says.
fn single_quoted(word: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let (byte, behind) = match rest {
            [b'\'', behind @ ..] => return Some(bytes.len() - behind.len()),
            [b'\\', b'\'', behind @ ..] => (b'\'', behind),
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        word.push(byte);
        rest = behind;
    }
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// Of a hexadecimal digit its value.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}
