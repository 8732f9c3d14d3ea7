//! Opening a server connection: connect, TLS, start-up, authentication, and what the server tells of itself.
//!
//! No client's parameters go along: they are applied later, to whichever connection the client gets. Start at [`open`].

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use portcullis_cluster::{ClusterShared, Endpoint};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, Stream, connect, within};

use super::cancel::Server;
use super::connection::{Lost, Parameters, ServerConnection};
use super::pools::OpenOptions;
use crate::auth::{self, ServerAuth, ServerRequest, ServerStep};
use crate::encoder;
use crate::frame::{FrameLimits, backend};
use crate::machine::{Link, Target};
use crate::message::backend::{BackendKeyData, ErrorFields, ParameterStatus};
use crate::pool::OpenFailure;

/// The application protocol of Postgres (PostgreSQL 17, direct TLS).
const ALPN: AlpnOffer = AlpnOffer::Named(&[b"postgresql"]);

/// What servers are shown.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The user there.
    pub(super) user: String,
    /// What proves it.
    pub(super) proof: auth::Proof,
}

/// Why there is no connection, and what the server has said about it.
#[derive(Debug)]
pub(super) struct OpenError {
    pub(super) failure: OpenFailure,
    /// A whole ErrorResponse.
    pub(super) said: Option<Bytes>,
}

impl From<OpenFailure> for OpenError {
    fn from(failure: OpenFailure) -> Self {
        Self {
            failure,
            said: None,
        }
    }
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self::from(match error {
            ConnectError::TimedOut => OpenFailure::Timeout,
            error if error.is_tls() => OpenFailure::Tls,
            _ => OpenFailure::Connect,
        })
    }
}

impl From<Lost> for OpenError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Gone => OpenFailure::Connect.into(),
            Lost::Protocol(_) => OpenFailure::Protocol.into(),
            Lost::Said(error) => said(error),
        }
    }
}

/// A server's refusal.
fn said(error: Bytes) -> OpenError {
    let body = error.get(5..).unwrap_or_default();
    let state = ErrorFields::parse(body).ok().and_then(|fields| fields.sqlstate());
    let failure = state.map_or(OpenFailure::Protocol, |state| OpenFailure::Server {
        sqlstate: *state.as_bytes(),
    });
    OpenError {
        failure,
        said: Some(error),
    }
}

/// All that it takes to open one.
pub(super) struct Request<'a> {
    pub(super) cluster: &'a Arc<ClusterShared>,
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) database: &'a str,
    pub(super) credentials: &'a Credentials,
    pub(super) options: OpenOptions,
    /// More of the start-up packet, such as `replication`.
    pub(super) parameters: &'a [(&'a [u8], &'a [u8])],
    pub(super) worker: usize,
}

/// Opens a connection, within the cluster's time for connecting, twice: once for the socket, once for all that follows.
pub(super) async fn open(request: Request<'_>) -> Result<ServerConnection, OpenError> {
    let permit = request
        .cluster
        .try_connection()
        .map_err(|_| OpenError::from(OpenFailure::Connect))?;
    let timeout = request.cluster.config().connect_timeout.get();
    let stream = connect::to_endpoint_plain(&**request.cluster, request.endpoint, None).await?;
    let opening = async {
        let stream = encrypt(stream, request.cluster, request.endpoint, request.options).await?;
        let mut connection = ServerConnection {
            stream,
            home: request.worker,
            input: BytesMut::new(),
            link: Link::new(
                Target::default(),
                FrameLimits {
                    batch: true,
                    ..FrameLimits::default()
                },
            ),
            parameters: Arc::default(),
            server: Arc::new(Server {
                cluster: Arc::clone(request.cluster),
                endpoint: Arc::clone(request.endpoint),
                process: 0,
                key: Bytes::new(),
                options: request.options,
            }),
            _permit: permit,
        };
        start_up(&mut connection, &request).await?;
        Ok(connection)
    };
    within(timeout, opening)
        .await
        .unwrap_or_else(|| Err(OpenFailure::Timeout.into()))
}

/// Begins TLS if the cluster has it, as the protocol wants it.
pub(super) async fn encrypt(
    mut stream: Stream,
    cluster: &Arc<ClusterShared>,
    endpoint: &Endpoint,
    options: OpenOptions,
) -> Result<Stream, OpenError> {
    if !cluster.config().has_tls() {
        return Ok(stream);
    }
    if options.direct_tls {
        return Ok(connect::encrypt(&**cluster, endpoint, stream, ALPN).await?);
    }
    let mut request = BytesMut::new();
    encoder::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(|_| OpenFailure::Connect)?;
    // One byte and no more: what follows it belongs to the handshake or to an attacker (CVE-2021-23222).
    let mut answer = BytesMut::new();
    let read = std::future::poll_fn(|task| stream.poll_read_at_most(task, &mut answer, 1)).await;
    match (read, answer.first()) {
        (Ok(1), Some(b'S')) => Ok(connect::encrypt(&**cluster, endpoint, stream, ALPN).await?),
        (Ok(1..), Some(b'N')) => Err(OpenFailure::Tls.into()),
        (Ok(1..), _) => Err(OpenFailure::Protocol.into()),
        _ => Err(OpenFailure::Connect.into()),
    }
}

/// From the start-up packet to the first ReadyForQuery.
async fn start_up(connection: &mut ServerConnection, request: &Request<'_>) -> Result<(), OpenError> {
    let mut message = BytesMut::new();
    let user = request.credentials.user.as_bytes();
    let database = request.database.as_bytes();
    let mut parameters: Vec<(&[u8], &[u8])> = vec![(b"user", user), (b"database", database)];
    parameters.extend_from_slice(request.parameters);
    encoder::startup(&parameters, &mut message);
    connection.stream.write_all(&message).await.map_err(|_| Lost::Gone)?;
    authenticate(connection, request).await?;
    learn(connection).await
}

async fn authenticate(
    connection: &mut ServerConnection,
    request: &Request<'_>,
) -> Result<(), OpenError> {
    let certificate = connection.stream.peer_certificate().map(auth::end_point);
    let mut machine = ServerAuth::new(
        &request.credentials.user,
        &request.credentials.proof,
        request.options.policy(connection.stream.is_encrypted()),
        certificate,
        super::nonce(),
    );
    loop {
        let (tag, message) = connection.next_message().await?;
        let body = message.get(5..).unwrap_or_default();
        match tag {
            backend::AUTHENTICATION => {}
            backend::ERROR_RESPONSE => return Err(said(message.freeze())),
            backend::NOTICE_RESPONSE | backend::NEGOTIATE_PROTOCOL_VERSION => continue,
            _ => return Err(OpenFailure::Protocol.into()),
        }
        let asked = ServerRequest::parse(body).map_err(|_| OpenFailure::Protocol)?;
        match machine.handle(&asked) {
            Ok(ServerStep::Done) => return Ok(()),
            Ok(ServerStep::Continue) => {}
            Ok(ServerStep::Answer(answer)) => {
                let mut message = BytesMut::new();
                message.put_u8(b'p');
                message.put_u32(u32::try_from(answer.len() + 4).unwrap_or(u32::MAX));
                message.put_slice(&answer);
                connection.stream.write_all(&message).await.map_err(|_| Lost::Gone)?;
            }
            Err(error) => {
                tracing::warn!(reason = error.label(), "authentication towards a server failed");
                return Err(OpenFailure::Authentication.into());
            }
        }
    }
}

/// What the server tells of itself.
async fn learn(connection: &mut ServerConnection) -> Result<(), OpenError> {
    let mut parameters = Parameters::default();
    loop {
        let (tag, message) = connection.next_message().await?;
        let body = message.get(5..).unwrap_or_default();
        match tag {
            backend::PARAMETER_STATUS => {
                let status = ParameterStatus::parse(body).map_err(|_| OpenFailure::Protocol)?;
                parameters.set(status.name, status.value);
            }
            backend::BACKEND_KEY_DATA => {
                let data = BackendKeyData::parse(body).map_err(|_| OpenFailure::Protocol)?;
                let server = &connection.server;
                connection.server = Arc::new(Server {
                    cluster: Arc::clone(&server.cluster),
                    endpoint: Arc::clone(&server.endpoint),
                    process: data.process,
                    key: Bytes::copy_from_slice(data.key),
                    options: server.options,
                });
            }
            backend::NOTICE_RESPONSE => {}
            backend::READY_FOR_QUERY => {
                connection.parameters = Arc::new(parameters);
                connection.shrink();
                return Ok(());
            }
            backend::ERROR_RESPONSE => return Err(said(message.freeze())),
            _ => return Err(OpenFailure::Protocol.into()),
        }
    }
}
