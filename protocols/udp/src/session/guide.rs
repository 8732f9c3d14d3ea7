//! Who tells where datagrams go when their address alone does not.
//!
//! A guide is of another protocol, such as QUIC, whose packets lead somewhere by what they carry; the sockets, the flows and
//! their bounds stay here. Start at [`Guide`].

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use portcullis_cluster::Cluster;

/// An endpoint that clients are led to by what they send, as a number: the same one in every worker ([`lane_of`](super::lane_of)).
pub type Lane = u64;

/// What becomes of a client's datagram.
pub enum Guidance {
    /// It goes to the endpoint of this lane.
    To(Lane),
    /// It begins something new: an endpoint of this cluster is to be chosen, and [`Guide::on_chosen`] asked for what was held.
    Choose(Box<Choice>),
    /// It is kept until more is known.
    Held,
    /// It is answered on the spot.
    Answer(Vec<u8>),
    /// It is lost, for this reason.
    Drop(&'static str),
}

/// Something new that a client begins.
pub struct Choice {
    /// Where it goes.
    pub cluster: Rc<Cluster>,
    /// The route's name, for limits and logs.
    pub route: Option<Arc<str>>,
    /// The server name that the client asks for.
    pub server_name: Option<Arc<str>>,
    /// What the guide knows it by.
    pub opening: u64,
}

/// Tells where datagrams go by what they carry. Of one listener on one worker; it may keep what it learns.
pub trait Guide {
    /// All clusters that it leads to.
    fn clusters(&self) -> Box<dyn Iterator<Item = Rc<Cluster>> + '_>;

    /// A datagram has come from a client.
    fn on_client(&self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Guidance;

    /// What a client began goes to `lane`: the datagrams that were held, that of the last [`Guide::on_client`] among them.
    fn on_chosen(&self, now: Instant, opening: u64, lane: Lane, send: &mut dyn FnMut(&[u8]));

    /// What a client began goes nowhere.
    fn on_refused(&self, opening: u64);

    /// An endpoint answers a client.
    ///
    /// # Errors
    /// It must not, for this reason.
    fn on_server(
        &self,
        now: Instant,
        lane: Lane,
        to: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), &'static str>;

    /// The endpoint of a lane is gone.
    fn on_lane_gone(&self, lane: Lane);

    /// When [`Guide::on_timeout`] wants to be called.
    fn next_timeout(&self) -> Option<Instant>;

    /// Time has passed.
    fn on_timeout(&self, now: Instant);
}
