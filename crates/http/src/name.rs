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

// At most 62, so that presence and two bits more fit a machine word (see `Fields`).
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
    XForwardedPort = "x-forwarded-port",
    XForwardedPrefix = "x-forwarded-prefix",
    XForwardedProto = "x-forwarded-proto",
    XForwardedServer = "x-forwarded-server",
    XForwardedSsl = "x-forwarded-ssl",
    XPortcullisReason = "x-portcullis-reason",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
}

impl KnownField {
    /// The known field that `name` spells in any case, if it is one.
    #[must_use]
    #[inline]
    pub fn classify(name: &[u8]) -> Option<Self> {
        let ends = Ends::of(name);
        let place = PLACES.get(ends.place(name.len()))?;
        // There is nothing at the place that says "none".
        let spelling = SPELLINGS.get(usize::from(*place))?;
        let is_it = spelling.length == name.len()
            && ends.with(spelling.letters) == spelling.ends
            && (name.len() <= 16 || is_spelling(name, spelling.text));
        is_it.then_some(spelling.field)
    }

    /// This field's bit in a presence word.
    #[must_use]
    #[inline]
    pub const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

/// A known name, made ready to be compared.
#[derive(Clone, Copy)]
struct Spelling {
    field: KnownField,
    length: usize,
    ends: Ends,
    /// Bit 5, which is the case, of those bytes of the ends that are letters.
    letters: Ends,
    text: &'static [u8],
}

static SPELLINGS: [Spelling; KnownField::ALL.len()] = spellings();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn spellings() -> [Spelling; KnownField::ALL.len()] {
    let mut table = [Spelling {
        field: KnownField::Accept,
        length: 0,
        ends: Ends(0, 0),
        letters: Ends(0, 0),
        text: b"",
    }; KnownField::ALL.len()];
    let mut index = 0;
    while index < table.len() {
        let field = KnownField::ALL[index];
        let text = field.as_str().as_bytes();
        let ends = Ends::of(text);
        table[index] = Spelling {
            field,
            length: text.len(),
            ends,
            letters: Ends(letters(ends.0), letters(ends.1)),
            text,
        };
        index += 1;
    }
    table
}

/// Bit 5 of the bytes of `word` that are lower-case letters. What differs from a letter in that bit alone is the same
/// letter in upper case; a digit or a dash differs so from control bytes.
#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn letters(word: u64) -> u64 {
    let mut bytes = word.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = if bytes[index].is_ascii_lowercase() {
            0x20
        } else {
            0
        };
        index += 1;
    }
    u64::from_le_bytes(bytes)
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

    /// With these bits set as well.
    #[inline]
    const fn with(self, bits: Self) -> Self {
        Self(self.0 | bits.0, self.1 | bits.1)
    }

    /// Where a name that ends so and is so long stands in [`PLACES`], in whatever case.
    #[inline]
    const fn place(self, length: usize) -> usize {
        let key = ((self.0 ^ self.1) | u64::from_ne_bytes([0x20; 8])).wrapping_add(length as u64);
        // Found by trying: no two known names come to one place.
        (key.wrapping_mul(0x3ef1_9011_f1eb_d7ef) >> 56) as usize
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

/// Which known name may be meant, by [`Ends::place`].
static PLACES: [u8; 256] = places();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: an index out of range does not compile
const fn places() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut index = 0;
    while index < KnownField::ALL.len() {
        let name = KnownField::ALL[index].as_str().as_bytes();
        let place = Ends::of(name).place(name.len());
        assert!(
            table[place] == NONE,
            "two names at one place: look for another factor"
        );
        table[place] = index as u8;
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
        assert!(KnownField::ALL.len() <= 62, "presence is one word");
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

    #[test]
    fn nothing_but_the_case_of_letters_may_differ() {
        for &field in KnownField::ALL {
            let spelled = field.as_str().as_bytes();
            for place in 0..spelled.len() {
                for bit in 0..8 {
                    let mut name = spelled.to_vec();
                    name[place] ^= 1 << bit;
                    let expected = name.eq_ignore_ascii_case(spelled).then_some(field);
                    let found = KnownField::classify(&name);
                    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&name));
                }
            }
        }
    }
}
