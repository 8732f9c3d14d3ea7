//! A UDP socket that moves many datagrams with one call: received in batches, and as the kernel has joined them (GRO); sent as
//! runs that the kernel or the card cuts up again (GSO), else in batches, else one by one.
//!
//! No datagram is ever merged with another or split: what is joined is cut at the same places again. What cannot be sent now is
//! lost, as UDP does. Start at [`DatagramSocket`].

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, send, sendmmsg, sendto};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The largest datagram, with room for what the kernel joins.
const LARGEST: usize = 64 * 1024;

/// The number of the error that a datagram is larger than the system sends (`EMSGSIZE`).
pub const TOO_LARGE: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Datagrams, or runs of them, that are received by one call.
pub const BATCH: usize = 16;

/// Buffers lie so far apart: a power of two would put the beginnings of all of them into the same lines of the cache.
const STRIDE: usize = LARGEST + 320;

/// The largest datagrams that are sent as a run: such as fit into a frame of Ethernet. The kernel refuses runs of larger ones
/// where it would have to fragment them.
const LARGEST_OF_RUN: usize = 1452;

/// The most bytes of a run.
const LARGEST_RUN: usize = 60_000;

/// A UDP socket of one worker.
pub struct DatagramSocket {
    fd: AsyncFd<UdpSocket>,
    /// What a batch takes, and what is known of the system: the socket's own, or one that others share.
    state: Rc<UdpSocketState>,
    /// Whether the kernel may join what it receives.
    is_joining: OnceCell<()>,
    /// Whether answers must say which address they come from: the socket has all of the machine's.
    is_wild: bool,
}

/// Room for what is received by one call. A worker needs one.
pub struct Inbox {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH],
}

/// Datagrams of the same sender, in order.
#[derive(Debug, Clone, Copy)]
pub struct Run<'b> {
    /// Who sent them.
    pub from: SocketAddr,
    /// Which of the machine's addresses they were sent to, where that is known.
    pub to: Option<IpAddr>,
    /// The bytes of all of them.
    pub bytes: &'b [u8],
    /// The length of each; the last may be shorter.
    pub segment: usize,
}

impl<'b> Run<'b> {
    /// The datagrams. One without any bytes is one, too.
    pub fn datagrams(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let empty = self.bytes.is_empty().then_some(self.bytes);
        empty
            .into_iter()
            .chain(self.bytes.chunks(self.segment.max(1)))
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: vec![0; STRIDE * BATCH],
            meta: [RecvMeta::default(); BATCH],
        }
    }
}

impl Inbox {
    /// What was received as the `index`th of a batch.
    #[must_use]
    pub fn run(&self, index: usize) -> Option<Run<'_>> {
        let meta = self.meta.get(index)?;
        let start = index * STRIDE;
        Some(Run {
            from: meta.addr,
            to: meta.dst_ip,
            bytes: self.bytes.get(start..start + meta.len)?,
            segment: meta.stride,
        })
    }
}

/// Where datagrams are sent.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// To whom.
    pub to: SocketAddr,
    /// From which of the machine's addresses; `None` leaves that to the system.
    pub from: Option<IpAddr>,
}

impl DatagramSocket {
    /// The socket of a listener. It must be non-blocking.
    ///
    /// # Errors
    /// It cannot be registered with the runtime, which is the worker's that this is called on.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let is_wild = socket.local_addr()?.ip().is_unspecified();
        let this = Self {
            fd: watch(socket)?,
            state: Rc::new(state),
            is_joining: OnceCell::from(()),
            is_wild,
        };
        this.allow_fragments();
        Ok(this)
    }

    /// A socket that speaks with one address only. What is known of the system is this socket's.
    ///
    /// # Errors
    /// There is no socket or no port to have, or no way to the address.
    pub fn connect(&self, to: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(to)?;
        Ok(Self {
            fd: watch(socket)?,
            state: Rc::clone(&self.state),
            is_joining: OnceCell::new(),
            is_wild: false,
        })
    }

    /// Lets the kernel join what comes. It costs a few calls, so a socket that brings one datagram now and then is better
    /// without.
    pub fn join(&self) {
        self.is_joining.get_or_init(|| {
            // What it sets on the socket is what is wanted of it; where it fails, batches do.
            if UdpSocketState::new(UdpSockRef::from(self.fd.get_ref())).is_ok() {
                self.allow_fragments();
            }
        });
    }

    /// Proxied datagrams may be larger than a path takes at once: whether they may be fragmented is not for us to say.
    fn allow_fragments(&self) {
        let socket = self.fd.get_ref();
        // One of the two fails, by the family of the socket; where both do, large datagrams are lost.
        let _ = set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT);
        let _ = set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::WANT);
    }

    /// Receives what is there, at most [`BATCH`] runs: how many there were. Waits until there is something. The inbox may be
    /// shared by the tasks of a worker, if each looks at what it has received before it waits again.
    ///
    /// # Errors
    /// Of a connected socket: what the network said about an earlier datagram, such as that nobody listens there (ICMP).
    pub async fn receive(&self, inbox: &RefCell<Inbox>) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.ready(WATCHED).await?;
            match self.try_receive(&mut inbox.borrow_mut()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Ok(count) => {
                    // Fewer than there was room for were all. What comes now is told anew.
                    if count < BATCH {
                        ready.clear_ready();
                    }
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`receive`](Self::receive), without waiting.
    ///
    /// # Errors
    /// There is nothing, or as there.
    pub fn try_receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let mut chunks = inbox.bytes.chunks_mut(STRIDE);
        let mut buffers: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
            let chunk = chunks.next().unwrap_or_default();
            let length = chunk.len().min(LARGEST);
            IoSliceMut::new(chunk.get_mut(..length).unwrap_or_default())
        });
        let socket = UdpSockRef::from(self.fd.get_ref());
        self.state.recv(socket, &mut buffers, &mut inbox.meta)
    }

    /// Sends datagrams of `segment` bytes each, the last maybe shorter, to the one address that the socket is connected to.
    ///
    /// # Errors
    /// They are lost, or some of them: there is no room, or what the network said about an earlier one.
    pub fn send(&self, bytes: &[u8], segment: usize) -> io::Result<()> {
        if bytes.len() <= segment {
            send(&self.fd, bytes, SendFlags::empty())?;
            return Ok(());
        }
        let to = self.fd.get_ref().peer_addr()?;
        let route = Route { to, from: None };
        self.send_run(route, bytes, segment, true)
    }

    /// Sends datagrams of `segment` bytes each, the last maybe shorter, from a socket that speaks with many.
    ///
    /// # Errors
    /// They are lost, or some of them.
    pub fn send_to(&self, route: Route, bytes: &[u8], segment: usize) -> io::Result<()> {
        let from = route.from.filter(|_| self.is_wild);
        if bytes.len() <= segment && from.is_none() {
            sendto(&self.fd, bytes, SendFlags::empty(), &route.to)?;
            return Ok(());
        }
        self.send_run(Route { from, ..route }, bytes, segment, false)
    }

    fn send_run(
        &self,
        route: Route,
        bytes: &[u8],
        segment: usize,
        is_connected: bool,
    ) -> io::Result<()> {
        let segment = segment.max(1);
        if bytes.len() <= segment || segment > LARGEST_OF_RUN {
            return self.send_each(route, bytes, segment, is_connected);
        }
        let most = (LARGEST_RUN / segment).min(self.state.max_gso_segments());
        if most < 2 {
            return self.send_each(route, bytes, segment, is_connected);
        }
        for run in bytes.chunks(most * segment) {
            if let Err(error) = self.transmit(route, run, Some(segment)) {
                if error.kind() == io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                // The system, the card or the path does not take runs.
                self.send_each(route, run, segment, is_connected)?;
            }
        }
        Ok(())
    }

    /// Sends datagrams that no run is to be made of.
    fn send_each(
        &self,
        route: Route,
        bytes: &[u8],
        segment: usize,
        is_connected: bool,
    ) -> io::Result<()> {
        if route.from.is_some() || bytes.len() <= segment {
            if bytes.is_empty() {
                return self.transmit(route, bytes, None);
            }
            let mut datagrams = bytes.chunks(segment);
            return datagrams.try_for_each(|datagram| self.transmit(route, datagram, None));
        }
        for batch in bytes.chunks(segment * BATCH) {
            let slices: Vec<[IoSlice<'_>; 1]> = batch
                .chunks(segment)
                .map(|datagram| [IoSlice::new(datagram)])
                .collect();
            let mut controls: Vec<_> = slices
                .iter()
                .map(|_| SendAncillaryBuffer::default())
                .collect();
            let to = rustix::net::SocketAddrAny::from(route.to);
            let mut messages: Vec<MMsgHdr<'_>> = slices
                .iter()
                .zip(&mut controls)
                .map(|(slices, control)| {
                    if is_connected {
                        MMsgHdr::new(slices, control)
                    } else {
                        MMsgHdr::new_with_addr(&to, slices, control)
                    }
                })
                .collect();
            let mut rest = messages.as_mut_slice();
            while !rest.is_empty() {
                let sent = sendmmsg(&self.fd, rest, SendFlags::empty())?;
                rest = rest.get_mut(sent.max(1)..).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn transmit(&self, route: Route, contents: &[u8], segment: Option<usize>) -> io::Result<()> {
        let transmit = Transmit {
            destination: route.to,
            ecn: None,
            contents,
            segment_size: segment,
            src_ip: route.from,
        };
        let socket = UdpSockRef::from(self.fd.get_ref());
        self.state.try_send(socket, &transmit)
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.fd.get_ref().local_addr()
    }
}

/// What a socket is watched for. What the network says of earlier datagrams is an error of the socket.
const WATCHED: Interest = Interest::READABLE.add(Interest::ERROR);

/// Registers a socket for reading only: every datagram that has left would be told as room for another one, and wake the
/// worker for nothing.
#[allow(unsafe_code)] // registering a descriptor that must stay open
fn watch(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: the descriptor is the socket's own and stays open for as long as the socket, which is never taken out.
    let watched = unsafe { AsyncFd::register_with_interest(socket, WATCHED) };
    watched.map_err(|error| error.into_parts().1)
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

impl fmt::Debug for DatagramSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.get_ref().fmt(formatter)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
