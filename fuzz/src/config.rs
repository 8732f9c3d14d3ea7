//! Configuration texts: never a panic, and every complaint can be shown.
//!
//! Not the meaning of keys. Start at [`parse`].

use portcullis_config::{Diagnostics, Source, load};

/// Parses, expands, reads and renders.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = Source::new("fuzz.yaml", text);
    let mut diagnostics = Diagnostics::new(&source);
    let lookup = |name: &str| name.len().is_multiple_of(2).then(|| name.to_owned());
    if let Some(node) = load(&source, &lookup, &mut diagnostics) {
        assert_eq!(node, node.clone());
        let _ = node.to_json();
        let _ = node.read::<serde_json::Value>(&mut diagnostics);
    }
    let shown = diagnostics.render(false);
    assert_eq!(
        diagnostics.is_empty(),
        shown.is_empty(),
        "a complaint that is not shown"
    );
    let _ = diagnostics.to_json();
}
