//! What the SQL analysis promises for any bytes.
//!
//! The first byte is options, the rest a text that a person can read. Start at [`sql`].

use std::rc::Rc;

use portcullis_postgres::sql::{
    Analysis, Class, Lexer, MAX_STATEMENTS, MAX_TABLES, Options, TokenKind, analyse, normalise,
};

/// Spans are inside and in order, the bounds hold, no value is written, and what is written has the fingerprint of
/// what it came from.
pub fn sql(data: &[u8]) {
    let Some((&first, sql)) = data.split_first() else {
        return;
    };
    let options = Options {
        standard_conforming_strings: first & 1 == 0,
        truncated: first & 2 != 0,
        ascii_safe: first & 4 == 0,
        hints: first & 8 != 0,
        ..Options::default()
    };
    let literals = literals(sql, &options);
    let mut analysis = Analysis::new();
    analyse(sql, &options, &mut analysis);
    spans(sql, &analysis);
    let mut out = Vec::new();
    let whole = normalise(sql, &options, &mut out, usize::MAX);
    assert!(out.len() <= 3 * sql.len() + 16, "as much as was read");
    for literal in literals {
        assert!(!contains(&out, literal), "a value was written");
    }
    if analysis.complete {
        assert!(whole);
        let mut again = Analysis::new();
        analyse(&out, &options, &mut again);
        assert_eq!(again.fingerprint, analysis.fingerprint);
        assert_eq!(again.statements.len(), analysis.statements.len());
    }
    // So it does when the text was seen before.
    let remembering = Options {
        seen: Some(Rc::default()),
        ..options.clone()
    };
    for _ in 0..3 {
        let mut again = Analysis::new();
        analyse(sql, &remembering, &mut again);
        assert_eq!(again.statements, analysis.statements);
        assert_eq!(again.fingerprint, analysis.fingerprint);
        assert_eq!(again.complete, analysis.complete);
    }
    // Used again, it says the same.
    let said = (analysis.statements.clone(), analysis.fingerprint);
    analyse(sql, &options, &mut analysis);
    assert_eq!((analysis.statements, analysis.fingerprint), said);
}

/// Strings that stand nowhere else in the text than in values, long enough not to be found by chance.
fn literals<'a>(sql: &'a [u8], options: &Options) -> Vec<&'a [u8]> {
    let mut lexer = Lexer::new(sql, options.standard_conforming_strings);
    let (mut literals, mut names) = (Vec::new(), Vec::new());
    loop {
        let token = lexer.next_token();
        let text = token.span.of(sql);
        match token.kind {
            TokenKind::End => break,
            TokenKind::String | TokenKind::Number if text.len() >= 8 => literals.push(text),
            // What is taken for a name, an operator or nothing at all may hold the same bytes.
            TokenKind::Word | TokenKind::Quoted | TokenKind::UnicodeQuoted => {
                names.extend_from_slice(text)
            }
            _ => {}
        }
    }
    literals.truncate(8);
    literals.retain(|literal| !contains(&names, literal));
    literals
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn spans(sql: &[u8], analysis: &Analysis) {
    assert!(analysis.statements.len() <= MAX_STATEMENTS);
    let mut end = 0;
    for statement in &analysis.statements {
        let span = statement.span.range();
        assert!(end <= span.start && span.start < span.end && span.end <= sql.len());
        end = span.end;
        assert!(statement.tables.len() <= MAX_TABLES);
        for part in statement.tables.iter().chain(&statement.name) {
            let part = part.range();
            assert!(span.start <= part.start && part.start < part.end && part.end <= span.end);
        }
        if analysis.is_read() {
            assert_eq!(statement.class, Class::Read);
        }
    }
}
