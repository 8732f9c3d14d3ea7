//! The names of the methods in a descriptor set (`protoc --descriptor_set_out`), and nothing else of it.
//!
//! Not a protobuf library: three kinds of message are walked, by the few field numbers that lead to names
//! (`google/protobuf/descriptor.proto`); all else is skipped. Start at [`method_names`].

use std::collections::BTreeSet;

/// A method as a descriptor set names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MethodName {
    /// `package.Service`.
    pub service: String,
    /// `Method`.
    pub method: String,
}

/// Why a file is no descriptor set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// The bytes are not of the form.
    #[error("it is no descriptor set")]
    Malformed,
    /// It has no service.
    #[error("it names no method of any service")]
    Empty,
    /// It has more methods than anybody has: each may become several series of counters.
    #[error("it names more than {MAX_METHODS} methods")]
    TooMany,
}

/// The most methods that a set may name.
pub const MAX_METHODS: usize = 10_000;

/// The methods that a `FileDescriptorSet` names, in order.
///
/// # Errors
/// See [`DescriptorError`].
pub fn method_names(set: &[u8]) -> Result<Vec<MethodName>, DescriptorError> {
    let mut names = BTreeSet::new();
    for file in fields(set) {
        // FileDescriptorSet.file
        if let (1, Value::Bytes(file)) = file? {
            read_file(file, &mut names)?;
        }
    }
    match names.len() {
        0 => Err(DescriptorError::Empty),
        1..=MAX_METHODS => Ok(names.into_iter().collect()),
        _ => Err(DescriptorError::TooMany),
    }
}

fn read_file(file: &[u8], names: &mut BTreeSet<MethodName>) -> Result<(), DescriptorError> {
    let mut package = "";
    let mut services = Vec::new();
    for field in fields(file) {
        match field? {
            // FileDescriptorProto.package
            (2, Value::Bytes(name)) => package = text(name)?,
            // FileDescriptorProto.service
            (6, Value::Bytes(service)) => services.push(service),
            _ => {}
        }
    }
    services
        .into_iter()
        .try_for_each(|service| read_service(package, service, names))
}

fn read_service(
    package: &str,
    service: &[u8],
    names: &mut BTreeSet<MethodName>,
) -> Result<(), DescriptorError> {
    let mut name = "";
    let mut methods = Vec::new();
    for field in fields(service) {
        match field? {
            // ServiceDescriptorProto.name
            (1, Value::Bytes(found)) => name = text(found)?,
            // ServiceDescriptorProto.method
            (2, Value::Bytes(method)) => methods.push(method),
            _ => {}
        }
    }
    let dot = if package.is_empty() { "" } else { "." };
    for method in methods {
        for field in fields(method) {
            // MethodDescriptorProto.name
            if let (1, Value::Bytes(method)) = field? {
                if names.len() > MAX_METHODS {
                    return Err(DescriptorError::TooMany);
                }
                names.insert(MethodName {
                    service: format!("{package}{dot}{name}"),
                    method: text(method)?.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str, DescriptorError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DescriptorError::Malformed)?;
    let is_name = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    is_name.then_some(text).ok_or(DescriptorError::Malformed)
}

/// A field's value, as far as it is looked at.
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Other,
}

/// The fields of one message: number and value. After a mistake, which is the last item, there is nothing.
pub(crate) fn fields(
    mut rest: &[u8],
) -> impl Iterator<Item = Result<(u64, Value<'_>), DescriptorError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest).ok_or(DescriptorError::Malformed);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => {
            varint(rest)?;
            Value::Other
        }
        1 => {
            take(rest, 8)?;
            Value::Other
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => {
            take(rest, 4)?;
            Value::Other
        }
        // Groups were never used there.
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(number: u8, content: &[u8]) -> Vec<u8> {
        assert!(content.len() < 128);
        let mut field = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        field.extend_from_slice(content);
        field
    }

    fn service(name: &str, methods: &[&str]) -> Vec<u8> {
        let mut service = nested(1, name.as_bytes());
        for method in methods {
            service.extend(nested(2, &nested(1, method.as_bytes())));
        }
        nested(6, &service)
    }

    #[test]
    fn names_are_found_and_the_rest_is_skipped() {
        let options = [
            0x18, 0xac, 0x02, 0x25, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8,
        ];
        let shop = [
            nested(1, b"shop.proto"),
            options.to_vec(),
            service("Cart", &["Add", "Remove"]),
            // The package may stand behind what it is the package of.
            nested(2, b"shop.v1"),
        ]
        .concat();
        let plain = service("Greeter", &["Hello"]);
        let set = [nested(1, &shop), nested(1, &plain)].concat();
        let found: Vec<String> = method_names(&set)
            .unwrap()
            .iter()
            .map(|name| format!("{}/{}", name.service, name.method))
            .collect();
        assert_eq!(
            found,
            ["Greeter/Hello", "shop.v1.Cart/Add", "shop.v1.Cart/Remove"]
        );
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let rows: &[(&str, Vec<u8>, DescriptorError)] = &[
            ("nothing", vec![], DescriptorError::Empty),
            (
                "no service",
                nested(1, &nested(2, b"shop")),
                DescriptorError::Empty,
            ),
            (
                "text",
                b"syntax = \"proto3\";".to_vec(),
                DescriptorError::Malformed,
            ),
            (
                "cut",
                nested(1, b"abc")[..3].to_vec(),
                DescriptorError::Malformed,
            ),
            ("endless number", vec![0xff; 20], DescriptorError::Malformed),
            (
                "huge length",
                vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f],
                DescriptorError::Malformed,
            ),
            (
                "a name of bytes that labels must not have",
                nested(1, &service("Ca\"rt", &["Add"])),
                DescriptorError::Malformed,
            ),
        ];
        for (name, set, expected) in rows {
            assert_eq!(method_names(set), Err(*expected), "{name}");
        }
    }
}
