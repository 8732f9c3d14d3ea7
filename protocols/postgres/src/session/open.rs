//! Opening a server connection: connect, TLS, start-up, authentication, and what the server tells of itself.
//!
//! No client's parameters go along: they are applied later, to whichever connection the client gets. Start at [`open`].

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use portcullis_cluster::{ClusterShared, Endpoint};
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{ConnectError, SocketAddress, Stream, clock, connect};

use super::cancel::Server;
use super::connection::{Lost, Parameters, ServerConnection};
use super::pools::OpenOptions;
use super::served::Shown;
use crate::auth::{
    Answer, EndPointHash, ScramKeys, Secret, ServerAuth, ServerPolicy, ServerRequest, ServerSetup,
};
use crate::encoder;
use crate::frame::backend;
use crate::limits::FrameLimits;
use crate::machine::{Link, Target};
use crate::message::backend::{Authentication, BackendKeyData, ErrorFields, ParameterStatus};
use crate::pool::OpenFailure;
use crate::startup::ProtocolVersion;

/// The application protocol of Postgres (PostgreSQL 17, direct TLS).
const ALPN: AlpnOffer = AlpnOffer::Named(&[b"postgresql"]);

/// What servers are shown.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The user there.
    pub(super) user: String,
    /// What is known of the password.
    pub(super) secret: Option<Arc<Secret>>,
    /// What the client has proved, for servers with the same verifier.
    pub(super) keys: Option<ScramKeys>,
}

/// Why there is no connection, and what the server has said about it.
#[derive(Debug)]
pub(super) struct OpenError {
    pub(super) failure: OpenFailure,
    /// A whole ErrorResponse.
    pub(super) said: Option<Bytes>,
}

impl OpenError {
    /// Whether the server works, and only does not let this user in.
    pub(super) const fn is_about_identity(&self) -> bool {
        matches!(
            self.failure,
            OpenFailure::Authentication
                | OpenFailure::Server {
                    sqlstate: [b'2', b'8', ..] | [b'3', b'D', ..]
                }
        )
    }
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
    let state = ErrorFields::parse(body)
        .ok()
        .and_then(|fields| fields.sqlstate());
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
        let address = stream.peer_addr().ok().and_then(SocketAddress::ip);
        let local = stream.local_addr().ok().and_then(SocketAddress::ip);
        let mut connection = ServerConnection {
            stream,
            home: request.worker,
            waits: false,
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
                id: (super::secret() >> 16).max(1),
                user: request.credentials.user.as_str().into(),
                database: request.database.into(),
                opened: clock::wall(),
                address,
                local,
                cluster: Arc::clone(request.cluster),
                endpoint: Arc::clone(request.endpoint),
                process: 0,
                key: Bytes::new(),
                options: request.options,
                listed: std::sync::OnceLock::new(),
                prepared: Shown::default(),
            }),
            served: Arc::default(),
            _permit: permit,
        };
        start_up(&mut connection, &request).await?;
        Ok(connection)
    };
    super::within(timeout, opening)
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
    stream
        .write_all(&request)
        .await
        .map_err(|_| OpenFailure::Connect)?;
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
async fn start_up(
    connection: &mut ServerConnection,
    request: &Request<'_>,
) -> Result<(), OpenError> {
    let mut message = BytesMut::new();
    let user = request.credentials.user.as_bytes();
    let database = request.database.as_bytes();
    let mut parameters: Vec<(&[u8], &[u8])> = vec![(b"user", user), (b"database", database)];
    parameters.extend_from_slice(request.parameters);
    encoder::startup(ProtocolVersion::V3_0, parameters, &mut message);
    connection
        .stream
        .write_all(&message)
        .await
        .map_err(|_| Lost::Gone)?;
    authenticate(connection, request).await?;
    learn(connection).await
}

async fn authenticate(
    connection: &mut ServerConnection,
    request: &Request<'_>,
) -> Result<(), OpenError> {
    let end_point = connection
        .stream
        .peer_certificate()
        .and_then(EndPointHash::of);
    let policy = ServerPolicy {
        require: request.options.minimum.strength(),
        ..ServerPolicy::default()
    };
    let mut machine = ServerAuth::new(ServerSetup {
        policy: &policy,
        user: request.credentials.user.as_bytes(),
        secret: request.credentials.secret.as_deref(),
        keys: request.credentials.keys.as_ref(),
        encrypted: connection.stream.is_encrypted(),
        end_point: end_point.as_ref(),
        nonce: super::nonce(),
    });
    loop {
        let (tag, message) = connection.next_message().await?;
        let body = message.get(5..).unwrap_or_default();
        match tag {
            backend::AUTHENTICATION => {}
            backend::ERROR_RESPONSE => return Err(said(message.freeze())),
            backend::NOTICE_RESPONSE | backend::NEGOTIATE_PROTOCOL_VERSION => continue,
            _ => return Err(OpenFailure::Protocol.into()),
        }
        let answer = machine.on_request(asked(body)?).map_err(|error| {
            tracing::warn!(
                endpoint = &**request.endpoint.label(),
                reason = error.label(),
                "authentication towards a server failed: {error}"
            );
            OpenError::from(OpenFailure::Authentication)
        })?;
        let mut message = BytesMut::new();
        match answer {
            Answer::Done { .. } => return Ok(()),
            Answer::Wait => continue,
            Answer::Password(body) => {
                let password = body.strip_suffix(&[0]).unwrap_or(&body);
                encoder::password(password, &mut message);
            }
            Answer::SaslInitial { mechanism, data } => {
                encoder::sasl_initial_response(mechanism.as_bytes(), Some(&data), &mut message);
            }
            Answer::SaslResponse(data) => encoder::sasl_response(&data, &mut message),
        }
        connection
            .stream
            .write_all(&message)
            .await
            .map_err(|_| Lost::Gone)?;
    }
}

/// What an authentication message asks.
fn asked(body: &[u8]) -> Result<ServerRequest<'_>, OpenError> {
    let message = Authentication::parse(body).map_err(|_| OpenFailure::Protocol)?;
    Ok(match message {
        Authentication::Ok => ServerRequest::Ok,
        Authentication::CleartextPassword => ServerRequest::Cleartext,
        Authentication::Md5Password { salt } => ServerRequest::Md5 { salt },
        // The names as they stand on the wire, behind the number.
        Authentication::Sasl { .. } => ServerRequest::Sasl {
            mechanisms: body.get(4..).unwrap_or_default(),
        },
        Authentication::SaslContinue { data } => ServerRequest::SaslContinue(data),
        Authentication::SaslFinal { data } => ServerRequest::SaslFinal(data),
        _ => ServerRequest::Unsupported(
            body.first_chunk()
                .map_or(-1, |number| i32::from_be_bytes(*number)),
        ),
    })
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
                let server = Arc::make_mut(&mut connection.server);
                server.process = data.process;
                server.key = Bytes::copy_from_slice(data.key);
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
