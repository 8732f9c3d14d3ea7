//! What all values written as text share: the error, and reading and writing through serde.
//!
//! It holds no syntax of any value. Start with [`TextValue`].

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use thiserror::Error;

/// Why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}, expected {expected}")]
pub struct ValueError {
    /// What is wrong with this text: `unknown unit 'parsecs'`.
    pub reason: String,
    /// What would be right: `a duration such as 5s, 250ms or 1m30s`.
    pub expected: &'static str,
}

/// A value with one canonical text. Implement it with [`text_value!`].
pub(super) trait TextValue: FromStr<Err = ValueError> + fmt::Display {
    /// What people should write, as the text after "expected".
    const EXPECTED: &'static str;

    /// The value of a plain number, if one has an obvious meaning.
    fn from_number(_number: u64) -> Option<Result<Self, ValueError>> {
        None
    }

    /// The error for a text of this type.
    fn refuse(reason: impl Into<String>) -> ValueError {
        ValueError {
            reason: reason.into(),
            expected: Self::EXPECTED,
        }
    }
}

/// A text within a message: quoted, and not longer than a message can bear.
pub(super) fn quote(text: &str) -> Cow<'static, str> {
    format!("'{}'", crate::node::shorten(text)).into()
}

pub(super) fn deserialize<'de, T: TextValue, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: TextValue> TextVisitor<T> {
    fn checked<E: Error>(self, result: Result<T, ValueError>) -> Result<T, E> {
        result.map_err(|error| E::invalid_value(Unexpected::Other(&error.reason), &self))
    }
}

impl<T: TextValue> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.checked(text.trim().parse())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        match T::from_number(number) {
            Some(result) => self.checked(result),
            None => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_type(Unexpected::Signed(number), &self)),
        }
    }
}

/// Implements `Deserialize`, `Serialize` and `JsonSchema` for a [`TextValue`].
///
/// The schema is a pattern over text, with examples; `number: true` also allows whole numbers.
macro_rules! text_value {
    ($type:ident, number: $number:literal, pattern: $pattern:expr, examples: [$($example:expr),*], about: $about:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::values::text::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let text = serde_json::json!({ "type": "string", "pattern": $pattern });
                let whole = serde_json::json!({ "type": "integer", "minimum": 0 });
                let mut schema = if $number {
                    schemars::json_schema!({ "anyOf": [text, whole] })
                } else {
                    schemars::json_schema!({ "type": "string", "pattern": $pattern })
                };
                schema.insert("description".to_owned(), $about.into());
                schema.insert("examples".to_owned(), serde_json::json!([$($example),*]));
                schema
            }
        }
    };
}
pub(super) use text_value;

/// Splits a decimal number off the front: its whole part, and its fraction as digits.
pub(super) fn split_decimal(text: &str) -> Option<(Decimal<'_>, &str)> {
    let digits =
        |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let whole = digits(text);
    let (whole, rest) = text
        .split_at_checked(whole)
        .filter(|(whole, _)| !whole.is_empty())?;
    let whole = whole.parse().ok()?;
    let Some(after) = rest.strip_prefix('.') else {
        return Some((
            Decimal {
                whole,
                fraction: "",
            },
            rest,
        ));
    };
    let (fraction, rest) = after.split_at_checked(digits(after))?;
    (!fraction.is_empty()).then_some((Decimal { whole, fraction }, rest))
}

/// A decimal number as written, before its unit is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal<'a> {
    whole: u64,
    fraction: &'a str,
}

impl Decimal<'_> {
    /// The number times `unit`; `None` when that is not whole or does not fit.
    pub(super) fn times(self, unit: u64) -> Option<u64> {
        let mut total = u128::from(self.whole) * u128::from(unit);
        if !self.fraction.is_empty() {
            let digits: u128 = self.fraction.parse().ok()?;
            let scale = 10_u128.checked_pow(u32::try_from(self.fraction.len()).ok()?)?;
            let part = digits.checked_mul(u128::from(unit))?;
            if part % scale != 0 {
                return None;
            }
            total += part / scale;
        }
        u64::try_from(total).ok()
    }
}
