//! Readable test cases in Markdown, in the form that llhttp made popular.
//!
//! A case is a heading, a fenced block with the input, and a fenced block marked `expect` with what must be said
//! about it. Prose between them is for people. Not a parser of Markdown at large: fences and headings only.
//! Start at [`check_file`].
//!
//! The first fence's info string names the language, then options: `http request fields=3`. In a `hex` fence the
//! input is hexadecimal digits and white space; in any other it is text in which line breaks do not count and
//! these escapes do: `\r \n \t \0 \\ \xHH`, and `\{text*count}` for `text` repeated.

use std::fmt::Write as _;
use std::path::Path;

/// One case of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vector {
    /// The heading above the input.
    pub name: String,
    /// Words of the info string behind the language.
    pub options: Vec<String>,
    /// The input, unescaped.
    pub input: Vec<u8>,
    /// The lines of the `expect` block.
    pub expected: String,
    /// Where the lines of the `expect` block are in the file.
    place: (usize, usize),
}

impl Vector {
    /// Whether the option `name` stands alone in the info string.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }

    /// The value of the option `name=value`.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// The number in the option `name=number`, or `default`.
    #[must_use]
    pub fn number(&self, name: &str, default: usize) -> usize {
        self.option(name).map_or(default, |value| {
            value
                .parse()
                .unwrap_or_else(|_| panic!("{}: {name}={value} is no number", self.name))
        })
    }
}

/// Runs every case of a file: `actual` says what happens, in the words of the `expect` blocks. Panics with all
/// the differences. `PORTCULLIS_BLESS=1` writes what happened into the file instead: read the difference then.
pub fn check_file(path: impl AsRef<Path>, actual: impl Fn(&Vector) -> String) {
    let path = path.as_ref();
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors = read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bless = std::env::var_os("PORTCULLIS_BLESS").is_some();
    let mut blessed = text.clone();
    let mut differences = String::new();
    for vector in vectors.iter().rev() {
        let said = actual(vector);
        if said.trim_end() == vector.expected.trim_end() {
            continue;
        }
        blessed.replace_range(
            vector.place.0..vector.place.1,
            &format!("{}\n", said.trim_end()),
        );
        let _ = writeln!(
            differences,
            "\n# {}\n--- expected\n{}\n--- actual\n{}",
            vector.name,
            vector.expected.trim_end(),
            said.trim_end()
        );
    }
    if bless {
        std::fs::write(path, blessed).unwrap();
    } else {
        assert!(differences.is_empty(), "{}\n{differences}", path.display());
    }
}

/// Reads the cases of a file.
///
/// # Errors
/// The line and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<Vector>, String> {
    let mut vectors = Vec::new();
    let mut name = String::new();
    let mut input: Option<(Vec<String>, Vec<u8>)> = None;
    let mut lines = numbered_lines(text);
    while let Some((number, _, line)) = lines.next() {
        if let Some(heading) = line.strip_prefix('#') {
            heading.trim_start_matches('#').trim().clone_into(&mut name);
        }
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let (content, place) =
            fenced(&mut lines).ok_or_else(|| format!("line {number}: unclosed fence"))?;
        let mut words = info.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("expect") => {
                let (options, input) = input
                    .take()
                    .ok_or_else(|| format!("line {number}: `expect` without input"))?;
                vectors.push(Vector {
                    name: name.clone(),
                    options,
                    input,
                    expected: content,
                    place,
                });
            }
            Some(language) => {
                let bytes = if language == "hex" {
                    unhex(&content)
                } else {
                    unescape(&content.replace('\n', ""))
                };
                let bytes = bytes.map_err(|error| format!("line {number}: {error}"))?;
                if input.replace((words.collect(), bytes)).is_some() {
                    return Err(format!("line {number}: the input above has no `expect`"));
                }
            }
            None => return Err(format!("line {number}: a fence without a language")),
        }
    }
    match input {
        Some(_) => Err(format!("{name}: the last input has no `expect`")),
        None => Ok(vectors),
    }
}

/// The number, offset and text of each line.
fn numbered_lines(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    let mut offset = 0;
    text.split_inclusive('\n')
        .enumerate()
        .map(move |(index, line)| {
            let start = offset;
            offset += line.len();
            (index + 1, start, line.trim_end_matches(['\r', '\n']))
        })
}

/// The lines up to the closing fence, and where they are.
fn fenced<'a>(
    lines: &mut impl Iterator<Item = (usize, usize, &'a str)>,
) -> Option<(String, (usize, usize))> {
    let mut content = String::new();
    let mut start = None;
    for (_, offset, line) in lines {
        let start = *start.get_or_insert(offset);
        if line == "```" {
            return Some((content, (start, offset)));
        }
        content.push_str(line);
        content.push('\n');
    }
    None
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| {
            letter
                .to_digit(16)
                .ok_or_else(|| format!("{letter:?} is no digit"))
        })
        .collect::<Result<_, _>>()?;
    if digits.len() % 2 == 1 {
        return Err("an odd number of digits".into());
    }
    Ok(digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect())
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let mut letters = after.chars();
        let letter = letters.next().ok_or("a backslash at the end")?;
        rest = letters.as_str();
        match letter {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or("\\x needs two digits")?;
                bytes.extend(unhex(digits)?);
                rest = tail;
            }
            '{' => {
                let (inside, tail) = rest.split_once('}').ok_or("\\{ without }")?;
                let (unit, count) = inside.rsplit_once('*').ok_or("\\{text*count} needs a *")?;
                let count = count
                    .parse()
                    .map_err(|_| format!("{count:?} is no number"))?;
                bytes.extend(unescape(unit)?.repeat(count));
                rest = tail;
            }
            _ => return Err(format!("unknown escape \\{letter}")),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# File\n\n## One\nwhy\n```http request fields=3\nGET /\\r\\n\n\\{ab*2}\\x00\n```\n\
        ```expect\nmethod GET\nend\n```\n## Two\n```hex\n00 ff\n```\n```expect\n```\n";

    #[test]
    fn cases_are_read_with_their_options() {
        let vectors = read(FILE).unwrap();
        assert_eq!(vectors.len(), 2);
        assert_eq!(vectors[0].name, "One");
        assert_eq!(vectors[0].input, b"GET /\r\nabab\0");
        assert_eq!(vectors[0].expected, "method GET\nend\n");
        assert!(vectors[0].has("request"));
        assert_eq!(vectors[0].number("fields", 9), 3);
        assert_eq!(vectors[0].number("bytes", 9), 9);
        assert_eq!(vectors[1].input, [0, 255]);
        assert_eq!(vectors[1].expected, "");
        let (start, end) = vectors[0].place;
        assert_eq!(&FILE[start..end], vectors[0].expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("```http\nx", "line 1: unclosed fence"),
            ("```expect\n```", "line 1: `expect` without input"),
            ("# a\n```http\n```\n", "a: the last input has no `expect`"),
            ("```http\n\\q\n```", "line 1: unknown escape \\q"),
            ("```hex\n0\n```", "line 1: an odd number of digits"),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }
}
