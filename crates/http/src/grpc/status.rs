//! How a gRPC call ended: the seventeen statuses, their words, and what they are in HTTP.
//!
//! Two different maps lead from HTTP to gRPC: [`GrpcStatus::from_http`] is how clients read an answer that is no
//! gRPC, [`GrpcStatus::of_reply`] is what this gateway says where it answers itself. Start at [`GrpcStatus`].

use std::borrow::Cow;

use crate::fields::Fields;
use crate::head::Status;
use crate::name::KnownField;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $word:literal, $http:literal;)+) => {
        /// How a gRPC call ended (the protocol's "Status codes and their use in gRPC").
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum GrpcStatus { $($(#[doc = $doc])+ $variant = $code,)+ }

        impl GrpcStatus {
            /// Every status, by code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word in configurations and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The HTTP status that means the same (`google.rpc.Code`).
            #[must_use]
            pub const fn http_code(self) -> u16 {
                match self { $(Self::$variant => $http,)+ }
            }
        }
    };
}

statuses! {
    /// No error.
    Ok = 0, "ok", 200;
    /// The caller gave up.
    Cancelled = 1, "cancelled", 499;
    /// An error without a name, also any code that is not in this list.
    Unknown = 2, "unknown", 500;
    /// The arguments can never be right.
    InvalidArgument = 3, "invalid_argument", 400;
    /// It took too long.
    DeadlineExceeded = 4, "deadline_exceeded", 504;
    /// What was asked for is not there.
    NotFound = 5, "not_found", 404;
    /// What was to be made is there already.
    AlreadyExists = 6, "already_exists", 409;
    /// The caller may not.
    PermissionDenied = 7, "permission_denied", 403;
    /// A limit is used up.
    ResourceExhausted = 8, "resource_exhausted", 429;
    /// The state of the system is not as the operation needs it.
    FailedPrecondition = 9, "failed_precondition", 400;
    /// Another operation was in the way.
    Aborted = 10, "aborted", 409;
    /// Past the valid range.
    OutOfRange = 11, "out_of_range", 400;
    /// There is no such operation.
    Unimplemented = 12, "unimplemented", 501;
    /// Something that must hold did not.
    Internal = 13, "internal", 500;
    /// Not at the moment.
    Unavailable = 14, "unavailable", 503;
    /// Data was lost for good.
    DataLoss = 15, "data_loss", 500;
    /// Who the caller is could not be told.
    Unauthenticated = 16, "unauthenticated", 401;
}

impl GrpcStatus {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status with this code.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// The status with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|status| status.as_str() == word)
    }

    /// Reads the value of `grpc-status`. Codes outside of the list, and what is no code, are [`Self::Unknown`].
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        std::str::from_utf8(value)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .and_then(Self::from_code)
            .unwrap_or(Self::Unknown)
    }

    /// The status in a head (of a trailers-only response) or in trailers; `None` where there is none.
    #[must_use]
    pub fn of(fields: &Fields) -> Option<Self> {
        fields.get(KnownField::GrpcStatus).map(Self::parse)
    }

    /// How a client reads an answer without `grpc-status` (the protocol's "HTTP to gRPC Status Code Mapping").
    #[must_use]
    pub const fn from_http(status: Status) -> Self {
        match status.code() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a gateway's own answer with this HTTP status is to a gRPC client. It knows more than a client that sees
    /// only the number: 504 was a deadline, 413 and 429 were limits.
    #[must_use]
    pub const fn of_reply(status: Status) -> Self {
        match status.code() {
            200..=299 => Self::Ok,
            400 | 500 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 | 405 | 415 | 501 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            409 => Self::Aborted,
            412 => Self::FailedPrecondition,
            413 | 429 | 431 => Self::ResourceExhausted,
            416 => Self::OutOfRange,
            499 => Self::Cancelled,
            502 | 503 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Whether it speaks against the server that said it, as 5xx does in HTTP.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::DeadlineExceeded
                | Self::Internal
                | Self::Unavailable
                | Self::DataLoss
        )
    }

    /// Writes `grpc-status` and, if there is one, `grpc-message` into the fields of a head or of trailers.
    pub fn write(self, message: &str, fields: &mut Fields) {
        let code = self.code();
        let digits = [b'0' + code / 10, b'0' + code % 10];
        let digits = digits.get(usize::from(code < 10)..).unwrap_or_default();
        fields.set(KnownField::GrpcStatus, digits);
        if !message.is_empty() {
            fields.set("grpc-message", &encode_message(message));
        }
    }
}

/// The percent-encoding of `grpc-message`: everything but printable ASCII, and `%` itself.
#[must_use]
pub fn encode_message(message: &str) -> Cow<'_, [u8]> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if message.bytes().all(is_plain) {
        return Cow::Borrowed(message.as_bytes());
    }
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut encoded = Vec::with_capacity(message.len() * 3);
    for byte in message.bytes() {
        if is_plain(byte) {
            encoded.push(byte);
        } else {
            encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    Cow::Owned(encoded)
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%'
}

/// Undoes [`encode_message`]. As the protocol asks, nothing is refused: a `%` that begins no escape stays as it is,
/// and bytes that are no UTF-8 are replaced.
#[must_use]
pub fn decode_message(encoded: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => nibble(*high).zip(nibble(*low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            bytes.push(high << 4 | low);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_words_and_values_agree() {
        for (index, &status) in GrpcStatus::ALL.iter().enumerate() {
            assert_eq!(usize::from(status.code()), index);
            assert_eq!(GrpcStatus::from_word(status.as_str()), Some(status));
            let mut fields = Fields::new();
            status.write("", &mut fields);
            assert_eq!(GrpcStatus::of(&fields), Some(status), "{status:?}");
        }
        for strange in ["17", "", "-1", "+1", "1 ", "99999999999", "x"] {
            let parsed = GrpcStatus::parse(strange.as_bytes());
            assert_eq!(parsed, GrpcStatus::Unknown, "{strange:?}");
        }
    }

    #[test]
    fn http_statuses_are_mapped() {
        use GrpcStatus as S;
        let rows = [
            (200, S::Unknown, S::Ok),
            (400, S::Internal, S::Internal),
            (401, S::Unauthenticated, S::Unauthenticated),
            (403, S::PermissionDenied, S::PermissionDenied),
            (404, S::Unimplemented, S::Unimplemented),
            (408, S::Unknown, S::DeadlineExceeded),
            (413, S::Unknown, S::ResourceExhausted),
            (429, S::Unavailable, S::ResourceExhausted),
            (500, S::Unknown, S::Internal),
            (502, S::Unavailable, S::Unavailable),
            (503, S::Unavailable, S::Unavailable),
            (504, S::Unavailable, S::DeadlineExceeded),
            (418, S::Unknown, S::Unknown),
        ];
        for (code, read, said) in rows {
            let status = Status::from_code(code).unwrap();
            assert_eq!(S::from_http(status), read, "{code} read");
            assert_eq!(S::of_reply(status), said, "{code} said");
        }
    }

    /// What one side writes, the other reads as the same, for the statuses that HTTP can tell apart.
    #[test]
    fn the_way_to_http_and_back_is_lossless_where_http_has_words() {
        use GrpcStatus as S;
        for status in [
            S::Cancelled,
            S::DeadlineExceeded,
            S::PermissionDenied,
            S::ResourceExhausted,
            S::Unimplemented,
            S::Internal,
            S::Unavailable,
            S::Unauthenticated,
        ] {
            let http = Status::from_code(status.http_code()).unwrap();
            assert_eq!(S::of_reply(http), status, "{status:?}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        let rows = [
            ("plain words", "plain words"),
            ("100%", "100%25"),
            ("zwölf\n", "zw%C3%B6lf%0A"),
            ("", ""),
            ("~ !\"", "~ !\""),
        ];
        for (text, encoded) in rows {
            assert_eq!(encode_message(text).as_ref(), encoded.as_bytes(), "{text}");
            assert_eq!(decode_message(encoded.as_bytes()), text, "{text}");
        }
        for (lenient, text) in [
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%c3%b6", "ö"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode_message(lenient.as_bytes()), text, "{lenient}");
        }
    }
}
