//! Field names: the well-known ones as a byte-sized enum, so that a head is searched without comparing text.
//!
//! Not a registry of all field names: only those that the gateway itself reads or writes are here; every other
//! name stays bytes. Start at [`KnownField::classify`].

macro_rules! known_fields {
    ($($variant:ident = $text:literal,)+) => {
        /// A field name that the gateway itself reads or writes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[allow(missing_docs)] // each variant is the field of its name
        pub enum KnownField { $($variant,)+ }

        impl KnownField {
            /// Every known field, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The lower-case name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What a line of this field begins with on an HTTP/1 wire: the name, a colon, a space.
            #[must_use]
            pub const fn line_start(self) -> &'static str {
                match self { $(Self::$variant => concat!($text, ": "),)+ }
            }
        }
    };
}

// At most 63, so that presence and one bit more fit a machine word (see `Fields`).
known_fields! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestHeaders = "access-control-request-headers",
    AccessControlRequestMethod = "access-control-request-method",
    Allow = "allow",
    AltSvc = "alt-svc",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    EarlyData = "early-data",
    Expect = "expect",
    Forwarded = "forwarded",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    Location = "location",
    MaxForwards = "max-forwards",
    Origin = "origin",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    RateLimit = "ratelimit",
    RateLimitPolicy = "ratelimit-policy",
    Referer = "referer",
    RetryAfter = "retry-after",
    SecWebSocketKey = "sec-websocket-key",
    SecWebSocketVersion = "sec-websocket-version",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Vary = "vary",
    Via = "via",
    XForwardedClientCert = "x-forwarded-client-cert",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XPortcullisReason = "x-portcullis-reason",
    XRequestId = "x-request-id",
}

impl KnownField {
    /// The known field that `name` spells in any case, if it is one.
    #[must_use]
    #[inline]
    pub fn classify(name: &[u8]) -> Option<Self> {
        let bucket = BUCKETS.get(bucket_of(name)?)?;
        let ends = Ends::of(name).to_lower();
        for &index in bucket {
            // There is nothing at the index that says "none".
            let spelling = SPELLINGS.get(usize::from(index))?;
            if spelling.length == name.len()
                && spelling.ends == ends
                && (name.len() <= 16 || is_spelling(name, spelling.text))
            {
                return Self::ALL.get(usize::from(index)).copied();
            }
        }
        None
    }

    /// This field's bit in a presence word.
    #[must_use]
    #[inline]
    pub const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// A known name, made ready to be compared.
struct Spelling {
    length: usize,
    ends: Ends,
    text: &'static [u8],
}

static SPELLINGS: [Spelling; KnownField::ALL.len()] = spellings();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn spellings() -> [Spelling; KnownField::ALL.len()] {
    let mut table = [const {
        Spelling {
            length: 0,
            ends: Ends(0, 0),
            text: b"",
        }
    }; KnownField::ALL.len()];
    let mut index = 0;
    while index < table.len() {
        let text = KnownField::ALL[index].as_str().as_bytes();
        table[index] = Spelling {
            length: text.len(),
            ends: Ends::of(text),
            text,
        };
        index += 1;
    }
    table
}

/// The first eight bytes of a name and its last eight, which are all that it has up to sixteen. All of fewer than eight
/// are in the first word, in an order that depends on the length alone.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ends(u64, u64);

impl Ends {
    #[inline]
    const fn of(name: &[u8]) -> Self {
        if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            return Self(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        }
        if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            return Self((first as u64) << 32 | last as u64, 0);
        }
        match name {
            [a, b, c] => Self((*a as u64) << 16 | (*b as u64) << 8 | *c as u64, 0),
            [a, b] => Self((*a as u64) << 8 | *b as u64, 0),
            [a] => Self(*a as u64, 0),
            _ => Self(0, 0),
        }
    }

    #[inline]
    const fn to_lower(self) -> Self {
        Self(to_lower(self.0), to_lower(self.1))
    }
}

/// Whether `name` is `lower` in any case, given that both are of one length and their last eight bytes are the same.
/// `lower` has no upper-case letter.
fn is_spelling(name: &[u8], lower: &[u8]) -> bool {
    let (words, _) = name.as_chunks::<8>();
    let (wanted, _) = lower.as_chunks::<8>();
    words
        .iter()
        .zip(wanted)
        .all(|(word, wanted)| to_lower(u64::from_le_bytes(*word)) == u64::from_le_bytes(*wanted))
}

/// Eight bytes at once: sets bit 5 of `A` to `Z` and of nothing else.
#[inline]
const fn to_lower(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (ONES * 0x7f);
    // The high bit of a byte: whether its low bits are at least `A`, past `Z`. No carry leaves a byte.
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let past_z = low + ONES * (0x7f - b'Z' as u64);
    let upper = from_a & !past_z & !word & (ONES * 0x80);
    word | (upper >> 2)
}

const NONE: u8 = u8::MAX;
const BUCKET_COUNT: usize = 128;
const BUCKET_DEPTH: usize = 4;

/// Length, first and last letter tell almost all known names apart.
#[inline]
const fn bucket_of(name: &[u8]) -> Option<usize> {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return None;
    };
    let hash = name.len() * 7 + ((*first | 0x20) as usize) * 3 + ((*last | 0x20) as usize);
    Some(hash % BUCKET_COUNT)
}

static BUCKETS: [[u8; BUCKET_DEPTH]; BUCKET_COUNT] = buckets();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn buckets() -> [[u8; BUCKET_DEPTH]; BUCKET_COUNT] {
    let mut table = [[NONE; BUCKET_DEPTH]; BUCKET_COUNT];
    let mut index = 0;
    while index < KnownField::ALL.len() {
        if let Some(bucket) = bucket_of(KnownField::ALL[index].as_str().as_bytes()) {
            let mut depth = 0;
            while table[bucket][depth] != NONE {
                depth += 1;
            }
            table[bucket][depth] = index as u8;
        }
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::KnownField;

    #[test]
    fn lower_case_is_exact_for_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'Z'; 8];
                bytes[place] = byte;
                let lower = super::to_lower(u64::from_le_bytes(bytes)).to_le_bytes();
                assert_eq!(
                    lower,
                    bytes.to_ascii_lowercase()[..],
                    "{byte:#x} at {place}"
                );
            }
        }
    }

    #[test]
    fn every_known_field_is_found_in_any_case() {
        assert!(KnownField::ALL.len() <= 63, "presence is one word");
        for &field in KnownField::ALL {
            let name = field.as_str();
            assert_eq!(KnownField::classify(name.as_bytes()), Some(field), "{name}");
            assert_eq!(
                KnownField::classify(name.to_uppercase().as_bytes()),
                Some(field),
                "{name}"
            );
        }
        for name in ["", "x", "hos", "hostt", "x-tenant", "content-lengtH "] {
            assert_eq!(KnownField::classify(name.as_bytes()), None, "{name}");
        }
    }
}
