//! How much one peer may do on one connection, as it is configured.
//!
//! Equality decides whether a reload changes anything. Start at [`GuardLimits`]; each default carries its reason.

use portcullis_config::{ByteSize, Rate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::frame::{LEAST_MAX_FRAME_SIZE, MOST_MAX_FRAME_SIZE};

/// How many frames of one kind: so many per time, and so many at once before that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Frames in the long run.
    pub rate: Rate,
    /// Frames at once. 0 refuses every one that nothing has earned.
    pub burst: u32,
}

impl BudgetConfig {
    const fn new(per_second: u64, burst: u32) -> Self {
        Self {
            rate: Rate::per_second(per_second),
            burst,
        }
    }
}

/// Bounds on the frames of one connection, whichever side the peer is. Past any of them the connection ends with GOAWAY
/// and a counter; what a single request may be is bounded by `limits`, with an answer for that request only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardLimits {
    /// Bytes of a frame's payload that the peer may send, 16KiB to 16MiB less one. Default 16KiB, the least that is
    /// allowed: larger frames let one stream hold up the others.
    pub max_frame: ByteSize,
    /// Bytes of a compressed header block. Default 64KiB: twice the head that is allowed uncompressed, so that a head
    /// too large is answered 431 and only abuse ends the connection.
    pub header_block: ByteSize,
    /// Fields in a header block, each cookie crumb being one. Default 1000, ten times what a request may have: one byte
    /// of a block can stand for a field of kilobytes.
    pub header_fields: u32,
    /// CONTINUATION frames in a header block. Default 16: four carry the largest block, and some senders cut smaller.
    pub continuations: u32,
    /// RST_STREAM from the peer; one for every ten streams is free for a client, one for every stream for a server.
    /// Default 100/s, 500 at once: a browser that leaves a page cancels what that page was loading.
    pub resets_received: BudgetConfig,
    /// RST_STREAM from us for what the peer did wrong. Default 100/s, 200 at once: software that works causes none, and
    /// each is work that was begun in vain.
    pub resets_sent: BudgetConfig,
    /// SETTINGS; answers to ours are free. Default 10/s, 100 at once: one begins a connection, few ever follow, and each
    /// must be answered.
    pub settings: BudgetConfig,
    /// Entries of one SETTINGS. Default 64: seven are defined.
    pub settings_entries: u32,
    /// PING; answers to ours are free, and so is one for each DATA that we send, since receivers measure the path so.
    /// Default 10/s, 100 at once: keep-alive takes one in seconds, and each must be answered.
    pub ping: BudgetConfig,
    /// PRIORITY and PRIORITY_UPDATE, which nothing here obeys. Default 100/s, 500 at once: browsers send one or two for
    /// each resource of a page.
    pub priority: BudgetConfig,
    /// WINDOW_UPDATE; two for each DATA that we send are free. Default 200/s, 1000 at once: windows are also opened
    /// before anything is sent.
    pub window_update: BudgetConfig,
    /// DATA without content that does not end its stream; one for each stream is free. Default 50/s,
    /// 200 at once: it says nothing, but some libraries flush so.
    pub empty_data: BudgetConfig,
    /// DATA with little content that does not end its stream, as long as nobody has read it. Default 1000/s, 10000 at
    /// once: each takes some 300 bytes to hold however small it is, so 3 MB for a connection whose readers are stuck.
    pub tiny_data: BudgetConfig,
    /// What little content is. Default 64 bytes: from there on, holding a frame costs at most a few times its content,
    /// which the windows bound.
    pub tiny: ByteSize,
    /// GOAWAY. Default 1/s, 10 at once: a connection ends in one or two.
    pub goaway: BudgetConfig,
    /// Frames of unknown kinds; one for each stream is free, since browsers send them to keep extensions
    /// possible. Default 10/s, 100 at once.
    pub unknown: BudgetConfig,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            max_frame: ByteSize::kib(16),
            header_block: ByteSize::kib(64),
            header_fields: 1000,
            continuations: 16,
            resets_received: BudgetConfig::new(100, 500),
            resets_sent: BudgetConfig::new(100, 200),
            settings: BudgetConfig::new(10, 100),
            settings_entries: 64,
            ping: BudgetConfig::new(10, 100),
            priority: BudgetConfig::new(100, 500),
            window_update: BudgetConfig::new(200, 1000),
            empty_data: BudgetConfig::new(50, 200),
            tiny_data: BudgetConfig::new(1000, 10_000),
            tiny: ByteSize(64),
            goaway: BudgetConfig::new(1, 10),
            unknown: BudgetConfig::new(10, 100),
        }
    }
}

impl GuardLimits {
    /// The largest payload that the peer may send, for SETTINGS_MAX_FRAME_SIZE: within what RFC 9113 section 6.5.2
    /// allows, whatever is configured.
    #[must_use]
    pub fn max_frame_bytes(&self) -> u32 {
        u32::try_from(self.max_frame.get())
            .unwrap_or(MOST_MAX_FRAME_SIZE)
            .clamp(LEAST_MAX_FRAME_SIZE, MOST_MAX_FRAME_SIZE)
    }
}
