//! Connection ids that name their worker, so that a datagram finds its connection wherever it arrives.
//!
//! Pure. The worker's number is masked and sealed with a key of the listener, so nobody else can tell which connections
//! share a worker, and an id of a client's own making names none (but one in 65536). Start at [`Identities`].

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};

/// Bytes of an id: 6 that are never the same, 2 for the worker, 2 as a seal.
pub(super) const LENGTH: usize = 10;

const NONCE: usize = 6;

/// A worker's number, as ids carry it.
pub(super) type WorkerNumber = u16;

/// The key of a listener's ids, common to its workers.
#[derive(Debug, Default)]
pub(super) struct Identities {
    key: RandomState,
}

impl Identities {
    /// The id of a worker with this nonce.
    fn id(&self, worker: WorkerNumber, nonce: [u8; NONCE]) -> [u8; LENGTH] {
        let mut id = [0; LENGTH];
        let (front, rest) = id.split_at_mut(NONCE);
        let (middle, seal) = rest.split_at_mut(2);
        front.copy_from_slice(&nonce);
        middle.copy_from_slice(&(worker ^ self.mask(nonce)).to_be_bytes());
        seal.copy_from_slice(&self.seal(nonce, worker).to_be_bytes());
        id
    }

    /// The worker that an id was made by; `None` if it is none of ours.
    pub(super) fn worker_of(&self, id: &[u8]) -> Option<WorkerNumber> {
        let (nonce, rest) = id.split_first_chunk::<NONCE>()?;
        let (middle, rest) = rest.split_first_chunk::<2>()?;
        let seal: [u8; 2] = rest.try_into().ok()?;
        let worker = u16::from_be_bytes(*middle) ^ self.mask(*nonce);
        (self.seal(*nonce, worker) == u16::from_be_bytes(seal)).then_some(worker)
    }

    /// The worker that a datagram is for, where its first packet says so: with a short header, or in a handshake (RFC 9000
    /// section 17). The first packets of a client go by its address, and carry an id of its own.
    pub(super) fn worker_for(&self, datagram: &[u8]) -> Option<WorkerNumber> {
        let (&first, rest) = datagram.split_first()?;
        let id = if first & LONG == 0 {
            rest.get(..LENGTH)?
        } else {
            let (version, rest) = rest.split_first_chunk::<4>()?;
            let (&length, rest) = rest.split_first()?;
            let is_handshake = u32::from_be_bytes(*version) == 1 && first & KIND == HANDSHAKE;
            if !is_handshake || usize::from(length) != LENGTH {
                return None;
            }
            rest.get(..LENGTH)?
        };
        self.worker_of(id)
    }

    fn mask(&self, nonce: [u8; NONCE]) -> u16 {
        self.key.hash_one((Part::Mask as u8, nonce)) as u16
    }

    fn seal(&self, nonce: [u8; NONCE], worker: WorkerNumber) -> u16 {
        self.key.hash_one((Part::Seal as u8, nonce, worker)) as u16
    }

    fn nonce(&self, worker: WorkerNumber, count: u64) -> [u8; NONCE] {
        let hash = self.key.hash_one((Part::Nonce as u8, worker, count));
        let bytes = hash.to_be_bytes();
        bytes.first_chunk().copied().unwrap_or_default()
    }
}

/// What the key is used for: no answer is another's.
#[derive(Clone, Copy)]
enum Part {
    Mask,
    Seal,
    Nonce,
}

/// The bit of a long header.
const LONG: u8 = 0x80;

/// The bits of a long header's type.
const KIND: u8 = 0x30;

/// Handshake, in version 1.
const HANDSHAKE: u8 = 0x20;

/// Makes the ids of one worker.
#[derive(Debug)]
pub(super) struct WorkerIds {
    pub(super) identities: Arc<Identities>,
    pub(super) worker: WorkerNumber,
    pub(super) count: u64,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count = self.count.wrapping_add(1);
        let nonce = self.identities.nonce(self.worker, self.count);
        ConnectionId::new(&self.identities.id(self.worker, nonce))
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(identities: &Arc<Identities>, worker: WorkerNumber) -> WorkerIds {
        WorkerIds {
            identities: Arc::clone(identities),
            worker,
            count: 0,
        }
    }

    #[test]
    fn an_id_names_its_worker_and_only_to_its_listener() {
        let ours = Arc::new(Identities::default());
        let others = Identities::default();
        let mut known = 0;
        let mut seen = std::collections::HashSet::new();
        for worker in [0, 1, 7, u16::MAX] {
            let mut ids = ids(&ours, worker);
            for _ in 0..100 {
                let id = ids.generate_cid();
                assert_eq!(ours.worker_of(&id), Some(worker));
                assert!(seen.insert(id.to_vec()), "never the same");
                known += usize::from(others.worker_of(&id).is_some());
                let mut changed = id.to_vec();
                changed[9] ^= 1;
                assert_eq!(ours.worker_of(&changed), None);
            }
        }
        assert!(known < 5, "{known} of 400 by chance");
    }

    #[test]
    fn only_packets_with_ids_of_ours_are_looked_at() {
        let identities = Arc::new(Identities::default());
        let id = ids(&identities, 3).generate_cid();
        let long = |first: u8, version: u32, length: u8| {
            let mut packet = vec![first];
            packet.extend(version.to_be_bytes());
            packet.push(length);
            packet.extend(id.iter());
            packet.extend([0; 30]);
            packet
        };
        let short = [&[0x40][..], &id, &[0; 20]].concat();
        let rows = [
            ("short", short.clone(), Some(3)),
            ("short, cut", short[..LENGTH].to_vec(), None),
            ("nothing", Vec::new(), None),
            ("handshake", long(0xe0, 1, 10), Some(3)),
            ("handshake, cut", long(0xe0, 1, 10)[..12].to_vec(), None),
            ("handshake, other length", long(0xe0, 1, 9), None),
            ("initial", long(0xc0, 1, 10), None),
            ("0-RTT", long(0xd0, 1, 10), None),
            ("version negotiation", long(0xe0, 0, 10), None),
        ];
        for (name, packet, expected) in rows {
            assert_eq!(identities.worker_for(&packet), expected, "{name}");
        }
    }
}
