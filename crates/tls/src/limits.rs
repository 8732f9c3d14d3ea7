//! How much of a ClientHello is looked at before it is refused.
//!
//! Values only; the decoder applies them. How long one may take is for whoever reads the socket.

/// Bounds on one ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHelloLimits {
    /// Bytes on the wire, the headers of records included. Default 16 KiB: what browsers send with post-quantum key
    /// shares and a resumption ticket is below 3 KiB, and this much is held for every client that has not said yet
    /// where it wants to go.
    pub bytes: usize,
    /// Records that the message may be spread over. Default 2048: one would do; some clients cut to confuse middle
    /// boxes, and the extreme, one byte in each, still has to be read for messages of usual size.
    pub records: usize,
    /// Extensions. Default 128: clients send up to about 20.
    pub extensions: usize,
}

impl Default for ClientHelloLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            records: 2048,
            extensions: 128,
        }
    }
}
