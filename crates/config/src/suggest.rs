//! Near misses: which known word did somebody probably mean.
//!
//! It is not a spelling checker: it knows only the candidates it is given. Start with [`suggest`].

/// The candidate nearest to `word`, if one is near enough to be what was meant.
///
/// Near enough is one slip (a letter too many, too few, wrong, or two swapped) for every three letters of the longer word,
/// and at least one letter in common. Upper and lower case, `-` and `_` are held equal.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = letters(word);
    if wanted.is_empty() || wanted.len() > MAX_LETTERS {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = letters(candidate);
            let longer = wanted.len().max(known.len());
            let slips = distance(&wanted, &known);
            let near = slips <= (longer / 3).max(1) && slips < longer;
            (near && known.len() <= MAX_LETTERS).then_some((slips, candidate))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Longer words are not compared: the work grows with the square of the length.
const MAX_LETTERS: usize = 64;

fn letters(word: &str) -> Vec<char> {
    word.chars()
        .map(|letter| match letter {
            '-' => '_',
            letter => letter.to_ascii_lowercase(),
        })
        .collect()
}

/// Damerau's distance in its restricted form: no pair of letters is edited twice.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        current.push(row + 1);
        for (column, &b) in right.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut slips = (at(&last, column) + usize::from(a != b))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(&b)
                && right.get(column - 1) == Some(&a);
            if swapped {
                slips = slips.min(at(&before_last, column - 1) + 1);
            }
            current.push(slips);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["listen", "protocol", "filters", "rate_limit", "tls"];
        let rows = [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("listens", Some("listen")),
            ("Rate-Limit", Some("rate_limit")),
            ("ratelimit", Some("rate_limit")),
            ("tsl", Some("tls")),
            ("proto", None),
            ("x", None),
            ("", None),
            ("completely_else", None),
        ];
        for (word, expected) in rows {
            assert_eq!(suggest(word, known), expected, "row {word:?}");
        }
    }
}
