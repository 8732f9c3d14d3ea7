//! Reads the tables of `*.md` here: rows whose first cell is in backticks.

/// The cells of every row, without their backticks.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter_map(|line| {
        let cells = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let cells = cells.split(" | ").map(|cell| cell.trim_matches('`'));
        Some(cells.map(|cell| cell.replace("\\|", "|")).collect())
    });
    rows.collect()
}

/// The words of a call. `""` is an empty one; `\xHH`, `\r` and `\n` are bytes.
pub(crate) fn words(call: &str) -> Vec<Vec<u8>> {
    call.split(' ').map(word).collect()
}

fn word(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = if text == "\"\"" { "" } else { text };
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let used = match escape.as_bytes() {
            [b'x', ..] => {
                bytes.push(u8::from_str_radix(&escape[1..3], 16).unwrap());
                3
            }
            [b'r', ..] => {
                bytes.push(b'\r');
                1
            }
            [b'n', ..] => {
                bytes.push(b'\n');
                1
            }
            _ => panic!("no escape: {text}"),
        };
        rest = &escape[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
