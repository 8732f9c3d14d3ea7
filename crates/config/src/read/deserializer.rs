//! Serde over a [`Node`]: every error leaves with the place of the innermost node.
//!
//! It reports nothing and decides nothing; it leaves out what [`Repairs`] has set aside. Start with [`NodeDeserializer`].

use std::str::FromStr;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{Kind, ReadError, elements, one_of};
use super::placeholder::Placeholder;
use super::repairs::Repairs;
use crate::located::{LOCATED, to_parts};
use crate::node::{Key, Node, Value, capture};
use crate::one_or_many::ONE_OR_MANY;

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    repairs: &'a Repairs,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(node: &'a Node, repairs: &'a Repairs) -> Self {
        Self { node, repairs }
    }

    fn sound(self) -> Result<Self, ReadError> {
        if self.node.broken {
            return Err(ReadError::new(Kind::Broken).at(self.node));
        }
        Ok(self)
    }

    /// Reads a child. What a type says after it was read (`try_from`) belongs to this node too.
    fn seed<'de, T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self).map_err(|error| error.at(self.node))
    }

    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => visitor.visit_i64(*value),
            Value::UInt(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor
                .visit_str(text)
                .map_err(|error: ReadError| error.unexpanded(self.node)),
            Value::Sequence(items) => self.visit_list(items, visitor),
            Value::Mapping(entries) => {
                visitor.visit_map(Entries::new(self.node, entries, self.repairs))
            }
        }
        .map_err(|error| error.at(self.node))
    }

    fn visit_list<'de, V: Visitor<'de>>(
        self,
        items: &[Node],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let mut list = Elements {
            items: items.iter(),
            repairs: self.repairs,
        };
        let value = visitor.visit_seq(&mut list)?;
        let left = list.items.len();
        if left > 0 {
            let expected = format!("a list of {}", elements(items.len() - left));
            return Err(ReadError::new(Kind::Invalid {
                found: elements(items.len()),
                expected,
                value: false,
            }));
        }
        Ok(value)
    }

    /// The text of a value in which a variable was expanded: only that may be written as text and meant as a number.
    fn expanded(self) -> Option<&'a str> {
        self.node
            .unexpanded
            .as_ref()
            .and_then(|_| self.node.as_str())
    }
}

/// A fraction without the forms that are no numbers.
struct Finite(f64);

impl FromStr for Finite {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.parse().map_err(|_| ())?;
        f64::is_finite(number).then_some(Self(number)).ok_or(())
    }
}

impl From<Finite> for f64 {
    fn from(number: Finite) -> Self {
        number.0
    }
}

/// A number or boolean, which may also be the text of an expanded variable.
macro_rules! from_expanded {
    ($($method:ident => $parse:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.expanded().and_then(|text| text.trim().parse::<$parse>().ok()) {
                Some(value) => visitor.$visit(value.into()).map_err(|error: ReadError| error.at(self.node)),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.sound()?.visit(visitor)
    }

    from_expanded! {
        deserialize_bool => bool, visit_bool;
        deserialize_i8 => i64, visit_i64;
        deserialize_i16 => i64, visit_i64;
        deserialize_i32 => i64, visit_i64;
        deserialize_i64 => i64, visit_i64;
        deserialize_u8 => u64, visit_u64;
        deserialize_u16 => u64, visit_u64;
        deserialize_u32 => u64, visit_u64;
        deserialize_u64 => u64, visit_u64;
        deserialize_f32 => Finite, visit_f64;
        deserialize_f64 => Finite, visit_f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.sound()?.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            capture::NODE => capture::hand_over(self.node.clone(), visitor),
            LOCATED => visitor.visit_seq(PlaceThenValue { of: self, step: 0 }),
            ONE_OR_MANY if self.node.as_sequence().is_none() => {
                let mut one = Elements {
                    items: std::slice::from_ref(self.node).iter(),
                    repairs: self.repairs,
                };
                visitor.visit_seq(&mut one)
            }
            ONE_OR_MANY => self.sound()?.visit(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
        .map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let node = self.sound()?.node;
        let choice = match &node.value {
            Value::String(name) => Choice::bare(node, name, self.repairs),
            Value::Mapping(entries) => match entries.as_slice() {
                [(key, content)] => Choice {
                    node,
                    name: &key.name,
                    key: Some(key),
                    content: Some(content),
                    repairs: self.repairs,
                },
                [_, (second, _), ..] => {
                    let message = format!("expected one key here, found {}", entries.len());
                    return Err(ReadError::new(Kind::Message(message)).at_span(second.span, node));
                }
                [] => return Err(ReadError::expected(one_of(variants), node)),
            },
            _ => return Err(ReadError::expected(one_of(variants), node)),
        };
        visitor.visit_enum(choice).map_err(|error| error.at(node))
    }

    /// Derived structs would take a list of their values in order. Nobody means that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if self.sound()?.node.as_sequence().is_some() {
            return Err(ReadError::expected("a block of keys", self.node));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// The elements of a list, less those set aside.
struct Elements<'a> {
    items: std::slice::Iter<'a, Node>,
    repairs: &'a Repairs,
}

impl<'de> SeqAccess<'de> for &mut Elements<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let repairs = self.repairs;
        let next = self.items.find(|item| !repairs.is_set_aside(item));
        next.map(|item| NodeDeserializer::new(item, repairs).seed(seed))
            .transpose()
    }
}

/// The list that [`LOCATED`] stands for.
struct PlaceThenValue<'a> {
    of: NodeDeserializer<'a>,
    step: u8,
}

impl<'de> SeqAccess<'de> for PlaceThenValue<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        self.step += 1;
        match self.step {
            1 => {
                let place = to_parts(self.of.node.label_span());
                seed.deserialize(serde::de::value::SeqDeserializer::new(place.into_iter()))
            }
            2 => seed.deserialize(self.of),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

/// The keys and values of a block, less those set aside, then those made up for missing keys.
struct Entries<'a> {
    block: &'a Node,
    written: std::slice::Iter<'a, (Key, Node)>,
    made_up: std::vec::IntoIter<(&'static str, usize)>,
    next: Option<Next<'a>>,
    repairs: &'a Repairs,
}

enum Next<'a> {
    Written(&'a Node),
    MadeUp(&'static str, usize),
}

impl<'a> Entries<'a> {
    fn new(block: &'a Node, entries: &'a [(Key, Node)], repairs: &'a Repairs) -> Self {
        Self {
            block,
            written: entries.iter(),
            made_up: repairs.made_up_in(block).into_iter(),
            next: None,
            repairs,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let repairs = self.repairs;
        if let Some((key, node)) = self.written.find(|(_, node)| !repairs.is_set_aside(node)) {
            self.next = Some(Next::Written(node));
            // A key reads as any text would, and as a number too: `404:`.
            let mut name = Node::new(Value::String(key.name.clone()), key.span);
            name.unexpanded = Some(key.name.as_str().into());
            return seed
                .deserialize(NodeDeserializer::new(&name, repairs))
                .map(Some)
                .map_err(|error| error.retarget(node));
        }
        let Some((name, attempt)) = self.made_up.next() else {
            return Ok(None);
        };
        self.next = Some(Next::MadeUp(name, attempt));
        let key: StrDeserializer<'_, ReadError> = name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        match self.next.take() {
            Some(Next::Written(node)) => NodeDeserializer::new(node, self.repairs).seed(seed),
            Some(Next::MadeUp(name, attempt)) => seed
                .deserialize(Placeholder::new(attempt))
                .map_err(|_| ReadError::new(Kind::Placeholder(name)).at(self.block)),
            None => Err(serde::de::Error::custom(
                "a value was asked for before its key",
            )),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.written.len())
    }
}

/// One variant of an enum: a bare name, or a block of one key with the settings under it.
struct Choice<'a> {
    node: &'a Node,
    name: &'a str,
    key: Option<&'a Key>,
    content: Option<&'a Node>,
    repairs: &'a Repairs,
}

impl<'a> Choice<'a> {
    fn bare(node: &'a Node, name: &'a str, repairs: &'a Repairs) -> Self {
        Self {
            node,
            name,
            key: None,
            content: None,
            repairs,
        }
    }

    fn settings<'de, T: DeserializeSeed<'de>>(&self, seed: T) -> Result<T::Value, ReadError> {
        match self.content {
            Some(content) if !self.repairs.is_set_aside(content) => {
                NodeDeserializer::new(content, self.repairs).seed(seed)
            }
            // Without its settings the variant cannot be read; the error was reported when they were set aside.
            Some(_) => Err(ReadError::new(Kind::Broken).at(self.node)),
            None => Err(self.needs_settings()),
        }
    }

    fn needs_settings(&self) -> ReadError {
        let message = format!("'{}' needs settings: write '{}: ...'", self.name, self.name);
        ReadError::new(Kind::Message(message)).at(self.node)
    }
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.name.into_deserializer();
        let span = self.key.map_or(self.node.span, |key| key.span);
        match seed.deserialize(name) {
            Ok(variant) => Ok((variant, self)),
            Err(error) => Err(error.at_span(span, self.node)),
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.content.map(|content| (&content.value, content)) {
            None | Some((Value::Null, _)) => Ok(()),
            Some((Value::Mapping(entries), _)) if entries.is_empty() => Ok(()),
            Some((_, content)) => {
                let message = format!("'{}' takes no settings", self.name);
                Err(ReadError::new(Kind::Message(message)).at_span(content.label_span(), self.node))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.settings(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.settings(Through {
            visitor,
            is_struct: false,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.settings(Through {
            visitor,
            is_struct: true,
        })
    }
}

/// Gives the settings of a variant to a visitor instead of a type.
struct Through<V> {
    visitor: V,
    is_struct: bool,
}

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Through<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        if self.is_struct {
            return deserializer.deserialize_struct("", &[], self.visitor);
        }
        deserializer.deserialize_any(self.visitor)
    }
}
