//! What goes out to one peer: datagrams of one length are gathered to a run, which is one call and one way through the kernel.
//!
//! A run keeps the order and the bounds of its datagrams. Start at [`Egress`].

/// The most bytes that are gathered.
const LARGEST: usize = 48 * 1024;

/// Datagrams for one peer, in order.
#[derive(Debug, Default)]
pub(super) struct Egress {
    bytes: Vec<u8>,
    segment: usize,
    datagrams: u64,
}

/// Sends a run: its bytes, the length of each datagram but the last, and how many there are.
pub(super) type Send<'s> = dyn FnMut(&[u8], usize, u64) + 's;

impl Egress {
    /// Adds a datagram, after what must go out before it.
    pub(super) fn push(&mut self, datagram: &[u8], send: &mut Send<'_>) {
        let fits = self.datagrams > 0
            && datagram.len() <= self.segment
            && !datagram.is_empty()
            && self.bytes.len() + datagram.len() <= LARGEST;
        if !fits {
            self.flush(send);
            self.segment = datagram.len();
        }
        self.bytes.extend_from_slice(datagram);
        self.datagrams += 1;
        // A shorter one ends a run, and nothing is like one without bytes.
        if datagram.len() < self.segment || datagram.is_empty() {
            self.flush(send);
        }
    }

    /// Adds what is a run already.
    pub(super) fn push_run(&mut self, bytes: &[u8], segment: usize, send: &mut Send<'_>) {
        self.flush(send);
        send(bytes, segment, bytes.len().div_ceil(segment.max(1)) as u64);
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self, send: &mut Send<'_>) {
        if self.datagrams > 0 {
            send(&self.bytes, self.segment, self.datagrams);
        }
        self.bytes.clear();
        self.datagrams = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(datagrams: &[&str]) -> Vec<String> {
        let mut sent = Vec::new();
        let mut egress = Egress::default();
        let mut send = |bytes: &[u8], segment: usize, count: u64| {
            assert_eq!(
                count.max(1),
                bytes.len().div_ceil(segment.max(1)).max(1) as u64
            );
            sent.push(format!("{}/{segment}", String::from_utf8_lossy(bytes)));
        };
        for datagram in datagrams {
            egress.push(datagram.as_bytes(), &mut send);
        }
        egress.flush(&mut send);
        sent
    }

    #[test]
    fn equal_lengths_make_a_run_and_a_shorter_one_ends_it() {
        let rows: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["aa"], &["aa/2"]),
            (&["aa", "bb", "cc"], &["aabbcc/2"]),
            (&["aa", "bb", "c", "dd"], &["aabbc/2", "dd/2"]),
            (&["aa", "bbb", "ccc"], &["aa/2", "bbbccc/3"]),
            (&["aa", "", "", "bb"], &["aa/2", "/0", "/0", "bb/2"]),
        ];
        for (datagrams, expected) in rows {
            assert_eq!(runs(datagrams), *expected, "{datagrams:?}");
        }
    }

    #[test]
    fn runs_are_bounded() {
        let large = "x".repeat(20 * 1024);
        let sent = runs(&[&large, &large, &large]);
        assert_eq!(sent.len(), 2);
    }
}
