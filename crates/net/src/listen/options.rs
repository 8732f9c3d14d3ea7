//! Socket options, applied.
//!
//! What each means and why it has its default is in [`SocketOptions`]. Start at [`apply`].

use std::io;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

use crate::SocketOptions;

/// Between the questions that ask a silent peer whether it is still there, and how many remain unanswered before
/// it counts as gone: a minute in all, more than a reboot of a router takes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// How much the kernel takes that it cannot send yet. Without a bound it takes megabytes, and says that there is room again only
/// when a good part of them has left: a peer that reads slowly and steadily would look like one that has stopped. Half of this
/// within the shortest time-out for progress is what counts as slow.
const UNSENT: u32 = 128 * 1024;

/// Sets the options on a TCP socket: on a listening one for all that it accepts.
pub(crate) fn apply(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_tcp_notsent_lowat(UNSENT)?;
    if let Some(idle) = options.keepalive.get() {
        let keepalive = TcpKeepalive::new()
            // The system counts in seconds.
            .with_time(idle.max(Duration::from_secs(1)))
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if let Some(timeout) = options.user_timeout.get() {
        socket.set_tcp_user_timeout(Some(timeout.max(Duration::from_millis(1))))?;
    }
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes(size))?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(bytes(size))?;
    }
    Ok(())
}

/// Sets the options of a socket for datagrams. `None` leaves buffers to the system, as for connections.
pub(crate) fn apply_datagram(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes(size))?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(bytes(size))?;
    }
    Ok(())
}

fn bytes(size: portcullis_config::ByteSize) -> usize {
    usize::try_from(size.get())
        .unwrap_or(usize::MAX)
        .min(i32::MAX as usize)
}
