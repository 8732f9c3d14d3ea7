//! Messages from servers ("Message Formats", those marked B).
//!
//! Start at [`Message`], at [`ErrorFields`] for what went wrong, at [`CommandComplete`] for what was done.

mod authentication;
mod errors;
mod rows;
mod session;

pub use authentication::{Authentication, AuthenticationKind};
pub use errors::{ErrorFields, field};
pub use rows::{CommandComplete, CopyResponse, DataRow, Field, Fields, RowDescription};
pub use session::{
    BackendKeyData, NegotiateProtocolVersion, NotificationResponse, ParameterStatus, ReadyForQuery,
    TransactionStatus,
};

use super::{CopyData, Numbers, grammar};
use crate::error::MessageError;
use crate::frame::{Tag, backend};

use nom::Parser;

/// Any message of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each has the name that the chapter gives it
pub enum Message<'a> {
    Authentication(Authentication<'a>),
    BackendKeyData(BackendKeyData<'a>),
    BindComplete,
    CloseComplete,
    CommandComplete(CommandComplete<'a>),
    CopyBothResponse(CopyResponse<'a>),
    CopyData(CopyData<'a>),
    CopyDone,
    CopyInResponse(CopyResponse<'a>),
    CopyOutResponse(CopyResponse<'a>),
    DataRow(DataRow<'a>),
    EmptyQueryResponse,
    ErrorResponse(ErrorFields<'a>),
    FunctionCallResponse(FunctionCallResponse<'a>),
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
    NoData,
    NoticeResponse(ErrorFields<'a>),
    NotificationResponse(NotificationResponse<'a>),
    ParameterDescription(ParameterDescription<'a>),
    ParameterStatus(ParameterStatus<'a>),
    ParseComplete,
    PortalSuspended,
    ReadyForQuery(ReadyForQuery),
    RowDescription(RowDescription<'a>),
}

impl<'a> Message<'a> {
    /// Reads the body of a message of this type.
    ///
    /// # Errors
    /// See [`MessageError`]; [`MessageError::Tag`] if servers send no such message.
    pub fn parse(tag: Tag, body: &'a [u8]) -> Result<Self, MessageError> {
        Ok(match tag {
            backend::AUTHENTICATION => Self::Authentication(Authentication::parse(body)?),
            backend::BACKEND_KEY_DATA => Self::BackendKeyData(BackendKeyData::parse(body)?),
            backend::COMMAND_COMPLETE => Self::CommandComplete(CommandComplete::parse(body)?),
            backend::COPY_BOTH_RESPONSE => Self::CopyBothResponse(CopyResponse::parse(body)?),
            backend::COPY_DATA => Self::CopyData(CopyData::parse(body)),
            backend::COPY_IN_RESPONSE => Self::CopyInResponse(CopyResponse::parse(body)?),
            backend::COPY_OUT_RESPONSE => Self::CopyOutResponse(CopyResponse::parse(body)?),
            backend::DATA_ROW => Self::DataRow(DataRow::parse(body)?),
            backend::ERROR_RESPONSE => Self::ErrorResponse(ErrorFields::parse(body)?),
            backend::FUNCTION_CALL_RESPONSE => {
                Self::FunctionCallResponse(FunctionCallResponse::parse(body)?)
            }
            backend::NEGOTIATE_PROTOCOL_VERSION => {
                Self::NegotiateProtocolVersion(NegotiateProtocolVersion::parse(body)?)
            }
            backend::NOTICE_RESPONSE => Self::NoticeResponse(ErrorFields::parse(body)?),
            backend::NOTIFICATION_RESPONSE => {
                Self::NotificationResponse(NotificationResponse::parse(body)?)
            }
            backend::PARAMETER_DESCRIPTION => {
                Self::ParameterDescription(ParameterDescription::parse(body)?)
            }
            backend::PARAMETER_STATUS => Self::ParameterStatus(ParameterStatus::parse(body)?),
            backend::READY_FOR_QUERY => Self::ReadyForQuery(ReadyForQuery::parse(body)?),
            backend::ROW_DESCRIPTION => Self::RowDescription(RowDescription::parse(body)?),
            _ => return Self::parse_empty(tag, body),
        })
    }

    /// Those that say nothing but their type.
    fn parse_empty(tag: Tag, body: &[u8]) -> Result<Self, MessageError> {
        let message = match tag {
            backend::BIND_COMPLETE => Self::BindComplete,
            backend::CLOSE_COMPLETE => Self::CloseComplete,
            backend::COPY_DONE => Self::CopyDone,
            backend::EMPTY_QUERY_RESPONSE => Self::EmptyQueryResponse,
            backend::NO_DATA => Self::NoData,
            backend::PARSE_COMPLETE => Self::ParseComplete,
            backend::PORTAL_SUSPENDED => Self::PortalSuspended,
            _ => return Err(MessageError::Tag),
        };
        grammar::empty(body).map(|()| message)
    }
}

/// What a FunctionCall returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCallResponse<'a> {
    /// `None` is NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> FunctionCallResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::value.map(|value| Self { value }))
    }
}

/// The types of a statement's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// Object ids.
    pub types: Numbers<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::numbers.map(|types| Self { types }))
    }
}
