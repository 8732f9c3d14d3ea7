//! The socket of one worker's endpoint: quinn's own, with datagrams for other workers sorted out and theirs for us put in.
//!
//! The kernel chooses a worker by the client's address, and a client that changes it gets another worker's socket, while its
//! connection stays where it is. Sending needs none of this: every socket has the same port. Start at
//! [`WorkerSocket::poll_recv`](AsyncUdpSocket::poll_recv).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use super::common::{Common, Stray};
use super::identity::WorkerNumber;

/// A socket that knows whose datagrams it gets.
#[derive(Debug)]
pub(super) struct WorkerSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    common: Arc<Common>,
    worker: WorkerNumber,
    /// What other workers have passed on. Only the endpoint's task takes it.
    desk: Mutex<mpsc::Receiver<Stray>>,
    tally: Arc<Tally>,
}

/// Counts of a socket, until its endpoint takes them to the counters: those are of one thread, and quinn wants sockets that are not.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passed_on: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) received: AtomicU64,
}

impl WorkerSocket {
    pub(super) fn new(
        inner: Arc<dyn AsyncUdpSocket>,
        common: &Arc<Common>,
        worker: WorkerNumber,
        tally: &Arc<Tally>,
    ) -> Self {
        Self {
            inner,
            common: Arc::clone(common),
            worker,
            desk: Mutex::new(common.open_desk(worker)),
            tally: Arc::clone(tally),
        }
    }

    /// What was passed on to us, as if it had come from the socket.
    fn poll_desk(
        &self,
        task: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<usize> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Poll::Ready(Some(stray)) = desk.poll_recv(task) else {
                break;
            };
            // All workers have the same room, so it fits.
            let length = stray.bytes.len().min(buffer.len());
            for (place, byte) in buffer.iter_mut().zip(stray.bytes.iter()) {
                *place = *byte;
            }
            *meta = RecvMeta {
                addr: stray.from,
                len: length,
                stride: length,
                ecn: stray.ecn,
                dst_ip: stray.to,
            };
            count += 1;
        }
        self.tally
            .received
            .fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 {
            Poll::Pending
        } else {
            Poll::Ready(count)
        }
    }

    /// Passes on what is for other workers, and closes the gaps.
    fn sort_out(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let stride = meta.stride.max(1);
        let mut kept = 0;
        let mut at = 0;
        while at < meta.len {
            let end = meta.len.min(at + stride);
            let worker = buffer
                .get(at..end)
                .and_then(|datagram| self.common.identities.worker_for(datagram))
                .filter(|worker| *worker != self.worker);
            if let Some(worker) = worker {
                self.pass_on(worker, buffer.get(at..end).unwrap_or_default(), meta);
            } else {
                if kept != at && end <= buffer.len() {
                    buffer.copy_within(at..end, kept);
                }
                kept += end - at;
            }
            at = end;
        }
        meta.len = kept;
    }

    fn pass_on(&self, worker: WorkerNumber, datagram: &[u8], meta: &RecvMeta) {
        let stray = Stray {
            from: meta.addr,
            to: meta.dst_ip,
            ecn: meta.ecn,
            bytes: Bytes::copy_from_slice(datagram),
        };
        let count = if self.common.pass_on(worker, stray) {
            &self.tally.passed_on
        } else {
            &self.tally.dropped
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsyncUdpSocket for WorkerSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        task: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(count) = self.poll_desk(task, buffers, metas) {
            return Poll::Ready(Ok(count));
        }
        let count = ready!(self.inner.poll_recv(task, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(metas).take(count) {
            self.sort_out(buffer, meta);
        }
        // Those of which nothing is left are empty, which quinn passes over.
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::task::Waker;

    use quinn::{ConnectionIdGenerator as _, Runtime as _, TokioRuntime};

    use super::*;
    use crate::session::downstream::identity::WorkerIds;

    fn socket(common: &Arc<Common>, worker: WorkerNumber) -> WorkerSocket {
        let inner = UdpSocket::bind("127.0.0.1:0").unwrap();
        inner.set_nonblocking(true).unwrap();
        let inner = TokioRuntime.wrap_udp_socket(inner).unwrap();
        WorkerSocket::new(inner, common, worker, &Arc::default())
    }

    fn datagram(common: &Common, worker: WorkerNumber, length: usize) -> Vec<u8> {
        let id = WorkerIds {
            identities: Arc::clone(&common.identities),
            worker,
            count: length as u64,
        }
        .generate_cid();
        let mut datagram = [&[0x41][..], &id].concat();
        datagram.resize(length, worker as u8);
        datagram
    }

    #[test]
    fn each_datagram_of_a_batch_goes_to_its_worker() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let common = Arc::new(Common::default());
        let [zero, one] = [0, 1].map(|worker| socket(&common, worker));
        let to = |worker, length| datagram(&common, worker, length);
        let mut buffer = [
            to(1, 50),
            to(0, 50),
            to(1, 50),
            to(0, 50),
            to(7, 50),
            to(0, 20),
        ]
        .concat();
        let mut meta = RecvMeta {
            addr: "192.0.2.1:4433".parse().unwrap(),
            len: buffer.len(),
            stride: 50,
            ecn: None,
            dst_ip: Some("192.0.2.2".parse().unwrap()),
        };
        zero.sort_out(&mut buffer, &mut meta);
        assert_eq!(
            buffer[..meta.len],
            [to(0, 50), to(0, 50), to(0, 20)].concat()
        );
        let counts =
            [&zero.tally.passed_on, &zero.tally.dropped].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [2, 1], "there is no worker 7");
        let mut rooms = [[0; 100], [0; 100], [0; 100]];
        let mut buffers: Vec<_> = rooms.iter_mut().map(|room| IoSliceMut::new(room)).collect();
        let mut metas = [RecvMeta::default(); 3];
        let mut task = Context::from_waker(Waker::noop());
        let polled = one.poll_desk(&mut task, &mut buffers, &mut metas);
        assert_eq!(polled, Poll::Ready(2));
        for (room, meta) in buffers.iter().zip(&metas).take(2) {
            assert_eq!(room[..meta.len], to(1, 50));
            assert_eq!((meta.addr.port(), meta.dst_ip.is_some()), (4433, true));
        }
        assert!(
            one.poll_desk(&mut task, &mut buffers, &mut metas)
                .is_pending()
        );
    }

    #[test]
    fn a_full_desk_loses_what_comes() {
        let common = Arc::new(Common::default());
        let _desk = common.open_desk(1);
        let stray = || Stray {
            from: "192.0.2.1:1".parse().unwrap(),
            to: None,
            ecn: None,
            bytes: Bytes::from_static(b"x"),
        };
        let passed = (0..1000).filter(|_| common.pass_on(1, stray())).count();
        assert_eq!(passed, 256);
        assert!(!common.pass_on(0, stray()), "nobody is there");
    }
}
