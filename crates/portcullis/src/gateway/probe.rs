//! One health check of one endpoint: a connection, encrypted if the cluster has TLS, and for HTTP and gRPC a request
//! on it; over HTTP/3 where the cluster is spoken to in it. Other protocols bring their own.
//!
//! Every check opens its own connection, as a new client would. No timing and no judgement of what a result
//! means; see [`super::health`]. Start at [`check`].

mod grpc;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use portcullis_cluster::{ClusterShared, Endpoint, HealthProbe, ProtocolProbe, UpstreamVersion};
use portcullis_grpc::GrpcStatus;
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Stream, connect};
use portcullis_proxy::control::{self, CheckFailed, CheckTarget};

use crate::http3;

/// What checks call themselves.
const USER_AGENT: &str = "portcullis-health-check";

/// Why an endpoint did not pass.
#[derive(Debug)]
pub(super) enum Failed {
    /// No result within the time for it.
    Timeout,
    /// No connection.
    Connect(ConnectError),
    /// What came back was no HTTP response.
    Http(hyper::Error),
    /// Another status than expected.
    Status(StatusCode),
    /// Nothing came back over HTTP/3.
    Http3(http3::CheckFailed),
    /// What came back was no HTTP/2.
    Http2(h2::Error),
    /// The call failed.
    Grpc(GrpcStatus),
    /// The call was answered, and not with SERVING: the status that it has instead.
    NotServing(u64),
    /// The call was answered, and not as one of health.
    Answer(&'static str),
    /// The check itself cannot be written as a request.
    Request,
    /// What a protocol says.
    Protocol(CheckFailed),
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => formatter.write_str("timeout"),
            Self::Connect(error) => write!(formatter, "no connection: {error}"),
            Self::Http(error) => write!(formatter, "no response: {error}"),
            Self::Http3(error) => error.fmt(formatter),
            Self::Status(status) => write!(formatter, "status {}", status.as_u16()),
            Self::Http2(error) => write!(formatter, "no response: {error}"),
            Self::Grpc(status) => write!(formatter, "gRPC status {}", status.as_str()),
            Self::NotServing(status) => match grpc::serving_status(*status) {
                Some(name) => formatter.write_str(name),
                None => write!(formatter, "serving status {status}"),
            },
            Self::Answer(why) => write!(formatter, "no answer about health: {why}"),
            Self::Protocol(why) => why.fmt(formatter),
            Self::Request => formatter.write_str("the request cannot be written"),
        }
    }
}

/// Tries the endpoint once, with no other limit on time than the cluster's for connecting.
pub(super) async fn check(
    cluster: &Arc<ClusterShared>,
    endpoint: &Arc<Endpoint>,
    probe: &HealthProbe,
) -> Result<(), Failed> {
    let offer = match probe {
        HealthProbe::Http { path, host, .. }
            if cluster.config().http_version() == UpstreamVersion::Http3 =>
        {
            let host = host.as_deref().unwrap_or(endpoint.name());
            return judge(probe, by_http3(cluster, endpoint, path, host).await?);
        }
        HealthProbe::Http { .. } => AlpnOffer::Http1,
        HealthProbe::Grpc { .. } => AlpnOffer::Http2,
        HealthProbe::Tcp => AlpnOffer::None,
        HealthProbe::Protocol(probe) => return by_protocol(cluster, endpoint, probe).await,
    };
    // Written before anything is opened: one that cannot be is no reason to connect.
    let question = match probe {
        HealthProbe::Grpc { service, host } => {
            let is_encrypted = cluster.config().has_tls();
            let authority = grpc::authority(host.as_deref(), endpoint.name())?;
            Some(grpc::Question::new(service, authority, is_encrypted)?)
        }
        HealthProbe::Http { .. } | HealthProbe::Tcp | HealthProbe::Protocol(_) => None,
    };
    let stream = connect::to_check(cluster, endpoint, offer)
        .await
        .map_err(Failed::Connect)?;
    if let Some(question) = question {
        return grpc::ask(stream, question).await;
    }
    let HealthProbe::Http { path, host, .. } = probe else {
        return Ok(());
    };
    let host = host.as_deref().unwrap_or(endpoint.name());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failed::Request)?;
    judge(
        probe,
        status_of(stream, request).await.map_err(Failed::Http)?,
    )
}

fn judge(probe: &HealthProbe, status: StatusCode) -> Result<(), Failed> {
    if probe.expects(status.as_u16()) {
        return Ok(());
    }
    Err(Failed::Status(status))
}

/// A cluster whose endpoints are spoken to in HTTP/3 is checked by it: they may listen nowhere else.
async fn by_http3(
    cluster: &Arc<ClusterShared>,
    endpoint: &Endpoint,
    path: &str,
    host: &str,
) -> Result<StatusCode, Failed> {
    let request = Request::get(format!("https://{host}{path}"))
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
        .map_err(|_| Failed::Request)?;
    let checking = http3::check(cluster, endpoint, request);
    checking.await.map_err(Failed::Http3)
}

async fn by_protocol(
    cluster: &Arc<ClusterShared>,
    endpoint: &Arc<Endpoint>,
    probe: &ProtocolProbe,
) -> Result<(), Failed> {
    let target = CheckTarget {
        cluster: Arc::clone(cluster),
        endpoint: Arc::clone(endpoint),
    };
    let checked = control::check(probe, &target).await;
    checked.map_err(Failed::Protocol)
}

async fn status_of(stream: Stream, request: Request<Empty<Bytes>>) -> hyper::Result<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let response = sender.send_request(request);
    tokio::pin!(response, connection);
    tokio::select! {
        biased;
        response = &mut response => Ok(response?.status()),
        // The connection's end answers the request as well, one way or the other.
        _ = &mut connection => Ok(response.await?.status()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use portcullis_cluster::{EndpointRole, Resolution};
    use portcullis_net::clock;

    use super::*;
    use crate::load::testing::{LateProbe, model};

    fn answer(response: &'static [u8]) -> (Stream, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let peer = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut head = vec![0; 4096];
            let length = peer.read(&mut head).unwrap();
            peer.write_all(response).unwrap();
            head.truncate(length);
            head
        });
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        (stream.into(), peer)
    }

    #[test]
    fn a_protocol_checks_in_its_own_words() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for (answer, expected) in [(&b"hello"[..], None), (b"bye", Some("another word"))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let peer = thread::spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                let mut word = [0; 5];
                peer.read_exact(&mut word).unwrap();
                peer.write_all(answer).unwrap();
            });
            let model = model(&format!(
                "
listeners: {{ web: {{ listen: ':80', protocol: fake, cluster: a }} }}
clusters: {{ a: {{ endpoints: ['{address}'] }} }}
"
            ));
            let config = Arc::clone(&model.clusters["a"]);
            let endpoints = Resolution::new(&config, clock::now());
            let endpoints = endpoints.endpoints();
            let cluster = ClusterShared::new("a", config, endpoints, clock::now());
            let endpoint = Arc::clone(&cluster.set().endpoints()[0]);
            let probe = control::probe("late", LateProbe::of("hello"));
            let probe = HealthProbe::Protocol(probe);
            let checking = check(&cluster, &endpoint, &probe);
            let checked = runtime.block_on(checking);
            let why = checked.err().map(|why| why.to_string());
            assert_eq!(why.as_deref(), expected);
            let found = expected.is_none().then_some(EndpointRole::Primary);
            assert_eq!(endpoint.role(), found, "what it found out on the way");
            peer.join().unwrap();
        }
    }

    #[test]
    fn the_status_is_read_and_the_request_is_plain() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for (row, response, status) in [
            (
                "fine",
                &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
                Some(200),
            ),
            ("no length", b"HTTP/1.1 204 No Content\r\n\r\n", Some(204)),
            ("broken", b"HTTP/1.1 503 Sorry\r\n\r\n", Some(503)),
            ("another protocol", b"-ERR unknown command\r\n", None),
            ("nothing", b"", None),
        ] {
            runtime.block_on(async {
                let (stream, peer) = answer(response);
                let request = Request::get("/healthz")
                    .header(header::HOST, "site")
                    .body(Empty::new())
                    .unwrap();
                let got = status_of(stream, request).await.ok();
                assert_eq!(got.map(|status| status.as_u16()), status, "{row}");
                let head = peer.join().unwrap();
                assert_eq!(
                    head, b"GET /healthz HTTP/1.1\r\nhost: site\r\n\r\n",
                    "{row}"
                );
            });
        }
    }
}
