//! Two private Redis servers for the demo, where Redis is installed: a pair of shards, gone with the demo.
//!
//! They listen on the loopback only and save nothing. Start at [`Redis::start`].

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running pair. Both are stopped with this.
pub(crate) struct Redis {
    children: Vec<Child>,
    /// Where they listen.
    pub(super) addresses: [SocketAddr; 2],
}

impl Redis {
    /// Starts them. `None`: there is no Redis on this machine, or it does not start.
    pub(super) fn start() -> Option<Self> {
        let mut redis = Self {
            children: Vec::new(),
            addresses: [
                super::free_address(6381).ok()?,
                super::free_address(6382).ok()?,
            ],
        };
        for address in redis.addresses {
            let child = Command::new("redis-server")
                .args(["--port", &address.port().to_string()])
                .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            redis.children.push(child);
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        for child in &mut self.children {
            // At once: there is nothing to keep.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
