//! How many tests passed and failed, read from what the test runners print.
//!
//! Both runners end with a summary line that is older than most of its users, so it is read instead of
//! asking for their machine formats, one of which is unstable.

use std::fmt;
use std::ops::AddAssign;

/// Totals of one or more runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// What passed.
    pub(crate) passed: u64,
    /// What failed, timed out or could not run.
    pub(crate) failed: u64,
}

impl Counts {
    /// One check that passed or failed.
    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
        }
    }

    /// Several checks made at once, which pass together. Which of them failed is not known: that is one failure.
    pub(crate) fn several(checks: usize, passed: bool) -> Self {
        if passed {
            Self {
                passed: u64::try_from(checks).unwrap_or(u64::MAX),
                failed: 0,
            }
        } else {
            Self::one(false)
        }
    }

    /// Adds what a line of a runner's output says; most lines say nothing.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = without_colors(line);
        // What is indented is what a test printed, which was perhaps tried again.
        let items = if let Some(rest) = line.strip_prefix("test result: ") {
            rest.split_once(". ").map(|(_, items)| items)
        } else if line.trim_start().starts_with("Summary [") {
            line.split_once("run: ").map(|(_, items)| items)
        } else {
            None
        };
        for item in items.unwrap_or_default().split([';', ',']) {
            self.read_item(item);
        }
    }

    /// Reads `3 passed`, `1 failed`, `1 timed out`, `2 passed (1 slow)`.
    fn read_item(&mut self, item: &str) {
        let mut words = item.split_whitespace();
        let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
            return;
        };
        match words.next() {
            Some("passed") => self.passed += count,
            // nextest: "failed", "timed out", "exec failed".
            Some("failed" | "timed" | "exec") => self.failed += count,
            _ => {}
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Takes terminal escape sequences (`ESC [ ... letter`) out.
fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|c: char| c.is_ascii_alphabetic());
        let rest = end.and_then(|end| piece.get(end + 1..));
        plain.push_str(rest.unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_are_read() {
        let rows = [
            (
                "libtest",
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s",
                12,
                0,
            ),
            (
                "libtest failed",
                "test result: FAILED. 9 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
                9,
                1,
            ),
            (
                "libtest in what nextest shows of a test that was tried again",
                "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 747 filtered out",
                0,
                0,
            ),
            (
                "nextest",
                "     Summary [   1.234s] 45 tests run: 45 passed (1 slow), 2 skipped",
                45,
                0,
            ),
            (
                "nextest failed",
                "     Summary [   0.020s] 5 tests run: 2 passed, 1 failed, 1 timed out, 1 exec failed, 0 skipped",
                2,
                3,
            ),
            (
                "nextest cut short",
                "Summary [ 0.1s] 3/9 tests run: 2 passed (1 flaky), 1 failed",
                2,
                1,
            ),
            (
                "coloured",
                "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m4\u{1b}[0m tests run: \u{1b}[1m4\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m",
                4,
                0,
            ),
            ("one test", "test counts::tests::x ... ok", 0, 0),
            ("words", "2 passed, 3 failed", 0, 0),
        ];
        for (name, line, passed, failed) in rows {
            let mut counts = Counts::default();
            counts.read_line(line);
            assert_eq!(counts, Counts { passed, failed }, "{name}");
        }
    }
}
