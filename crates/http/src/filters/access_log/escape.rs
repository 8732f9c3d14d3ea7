//! Values from peers in lines of a log, so that none can end a line, a quote or an object.
//!
//! Start at [`text`] and [`json`].

/// Appends `value` to a line of text: printable ASCII but quote and backslash as it is, everything else as `\xHH`.
pub fn text(value: &[u8], line: &mut Vec<u8>) {
    for &byte in value {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\' {
            line.push(byte);
        } else {
            line.extend_from_slice(b"\\x");
            push_hex(byte, line);
        }
    }
}

/// Appends `value` to the inside of a JSON string (RFC 8259 section 7). Bytes that are no UTF-8 become U+FFFD; control
/// characters, also those past ASCII that terminals obey, are escaped.
pub fn json(value: &[u8], line: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                character if character.is_control() => {
                    let code = character as u32;
                    line.extend_from_slice(b"\\u00");
                    push_hex(code as u8, line);
                }
                character => {
                    let mut buffer = [0; 4];
                    line.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            line.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_hex(byte: u8, line: &mut Vec<u8>) {
    for digit in [byte >> 4, byte & 0xf] {
        line.push(
            char::from_digit(u32::from(digit), 16)
                .map_or(b'0', |digit| digit.to_ascii_uppercase() as u8),
        );
    }
}
