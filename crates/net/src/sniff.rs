//! What a look at the first bytes of a connection says.
//!
//! Pure, so that protocols can name it without a socket; the looking itself is `preface`.

/// The answer of a pure look at the first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// They are what was looked for.
    Yes,
    /// They are not, whatever comes behind them.
    No,
    /// They may still become it: more are needed.
    NeedMore,
}
