//! ClientHellos in the making, right and wrong, in any records.

// Each user builds this module for itself and needs a part of it.
#![allow(dead_code, unreachable_pub)]

/// A ClientHello in the making.
#[derive(Debug, Clone)]
pub struct Hello {
    pub legacy_version: u16,
    pub session_id: Vec<u8>,
    pub cipher_suites: Vec<u16>,
    pub compression: Vec<u8>,
    /// Types and bodies. The block is left out if there are none.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl Default for Hello {
    /// What a client of TLS 1.3 sends, without extensions.
    fn default() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: vec![0x5e; 32],
            cipher_suites: vec![0x1301, 0x1302, 0x1303],
            compression: vec![0],
            extensions: Vec::new(),
        }
    }
}

impl Hello {
    /// With one more extension.
    #[must_use]
    pub fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.push((kind, body));
        self
    }

    #[must_use]
    pub fn server_name(self, name: &str) -> Self {
        self.with(0, list16(&[&[0][..], &list16(name.as_bytes())].concat()))
    }

    #[must_use]
    pub fn alpn(self, names: &[&str]) -> Self {
        let names: Vec<u8> = names
            .iter()
            .flat_map(|name| list8(name.as_bytes()))
            .collect();
        self.with(16, list16(&names))
    }

    #[must_use]
    pub fn versions(self, versions: &[u16]) -> Self {
        let versions: Vec<u8> = versions.iter().flat_map(|v| v.to_be_bytes()).collect();
        self.with(43, list8(&versions))
    }

    /// With an extension that has nothing to say, so many bytes in all.
    #[must_use]
    pub fn padded(self, bytes: usize) -> Self {
        self.with(21, vec![0; bytes - 4])
    }

    /// The handshake message, its header in front.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([0x7a; 32]);
        body.extend(list8(&self.session_id));
        let suites: Vec<u8> = self
            .cipher_suites
            .iter()
            .flat_map(|suite| suite.to_be_bytes())
            .collect();
        body.extend(list16(&suites));
        body.extend(list8(&self.compression));
        if !self.extensions.is_empty() {
            let one =
                |(kind, data): &(u16, Vec<u8>)| [&kind.to_be_bytes()[..], &list16(data)].concat();
            let block: Vec<u8> = self.extensions.iter().flat_map(one).collect();
            body.extend(list16(&block));
        }
        message(1, &body)
    }

    /// On the wire, in records of at most so many bytes.
    #[must_use]
    pub fn wire(&self, record_bytes: usize) -> Vec<u8> {
        self.message()
            .chunks(record_bytes)
            .flat_map(|fragment| record(22, fragment))
            .collect()
    }
}

/// A handshake message.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[kind][..], &length[1..], body].concat()
}

/// A record.
#[must_use]
pub fn record(kind: u8, fragment: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &list16(fragment)].concat()
}

/// Bytes behind a length of one byte.
#[must_use]
pub fn list8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8][..], bytes].concat()
}

/// Bytes behind a length of two bytes.
#[must_use]
pub fn list16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
