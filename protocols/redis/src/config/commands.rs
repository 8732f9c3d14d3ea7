//! What the operator says of commands that the gateway does not know: those of modules, and of later servers.

use std::sync::Arc;

use portcullis_config::{Diagnostics, Located};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::command::foreign::{Foreign, ForeignKeys, LONGEST_NAME};
use crate::command::{Categories, CommandId, Flags};

/// What becomes of a command that neither the gateway nor `commands` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCommands {
    /// A server is asked what it is, and it goes where its keys are.
    #[default]
    Ask,
    /// It is refused as unknown.
    Refuse,
}

impl UnknownCommands {
    /// Whether servers are asked.
    #[must_use]
    pub const fn asks(self) -> bool {
        matches!(self, Self::Ask)
    }
}

/// A command that is carried out although the gateway does not know it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandRule {
    /// Its name: `ft.search`.
    name: Located<String>,
    /// Which of its arguments are keys. Default: none, so that it goes to any server.
    keys: Option<Located<KeyPlaces>>,
    /// Whether it may change data. Default true: a command that is only thought to read must not be.
    #[serde(default = "default_write")]
    write: bool,
    /// Categories that it is in for access rules, routes and filters, such as `[read, slow]`. Default `[write]` or `[read]`,
    /// by `write`.
    #[serde(default)]
    categories: Vec<Located<String>>,
}

const fn default_write() -> bool {
    true
}

/// Which arguments are keys, counted as `COMMAND INFO` does: 0 is the name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyPlaces {
    /// The first.
    first: u32,
    /// The last; -1 is the last argument. Default: `first`.
    last: Option<i32>,
    /// From one to the next. Default 1.
    #[serde(default = "default_step")]
    step: u32,
}

const fn default_step() -> u32 {
    1
}

/// Checks the rules.
pub(super) fn read_foreign(
    rules: &[CommandRule],
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Foreign>> {
    let mut all: Vec<Arc<Foreign>> = Vec::new();
    for rule in rules {
        let Some(foreign) = rule.read(diagnostics) else {
            continue;
        };
        if all.iter().any(|known| known.name == foreign.name) {
            let text = format!("two rules are about '{}'", foreign.name);
            diagnostics.error(rule.name.span, text);
        }
        all.push(Arc::new(foreign));
    }
    all
}

impl CommandRule {
    fn read(&self, diagnostics: &mut Diagnostics) -> Option<Foreign> {
        let (text, span) = (&self.name.value, self.name.span);
        let Some(name) = Foreign::name_of(text.as_bytes()) else {
            diagnostics
                .error(span, format!("'{text}' is no name of a command"))
                .expected(format!("up to {LONGEST_NAME} letters without spaces"));
            return None;
        };
        if CommandId::of(name.as_bytes()).is_some() {
            diagnostics
                .error(span, format!("'{name}' is a command of Redis"))
                .help("the gateway knows what it is");
            return None;
        }
        let flags = if self.write {
            Flags::WRITE
        } else {
            Flags::READONLY
        };
        Some(Foreign {
            name,
            arity: -1,
            flags,
            categories: self.categories(diagnostics),
            keys: self.places(diagnostics),
            is_configured: true,
        })
    }

    fn categories(&self, diagnostics: &mut Diagnostics) -> Categories {
        if self.categories.is_empty() {
            return if self.write {
                Categories::WRITE
            } else {
                Categories::READ
            };
        }
        let mut all = Categories::NONE;
        for name in &self.categories {
            let text = name.value.trim_start_matches('@');
            match Categories::of(text.as_bytes()) {
                Some(category) => all = all.and(category),
                None => {
                    diagnostics.error(name.span, format!("there is no category '{text}'"));
                }
            }
        }
        all
    }

    fn places(&self, diagnostics: &mut Diagnostics) -> ForeignKeys {
        let Some(keys) = &self.keys else {
            return ForeignKeys::None;
        };
        let KeyPlaces { first, last, step } = keys.value;
        if first == 0 || step == 0 {
            diagnostics
                .error(keys.span, "keys begin behind the name, and go on")
                .expected("`first` and `step` of 1 at least");
        }
        let last = last.unwrap_or_else(|| i32::try_from(first).unwrap_or(i32::MAX));
        if u32::try_from(last).is_ok_and(|last| last < first) {
            diagnostics.error(keys.span, "the last key is before the first");
        }
        ForeignKeys::Range { first, last, step }
    }
}
