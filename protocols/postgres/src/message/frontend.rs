//! Messages from clients ("Message Formats", those marked F).
//!
//! Not what stands before them: [`crate::startup`]. Start at [`Message`].

use nom::Parser;
use nom::number::complete::{be_i32, be_u32};

use super::grammar::{self, Parsed};
use super::{CopyData, Format, Formats, Numbers, Values};
use crate::error::MessageError;
use crate::frame::{Tag, frontend};

/// Any message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each has the name that the chapter gives it
pub enum Message<'a> {
    Bind(Bind<'a>),
    Close(Close<'a>),
    CopyData(CopyData<'a>),
    CopyDone,
    CopyFail(CopyFail<'a>),
    Describe(Describe<'a>),
    Execute(Execute<'a>),
    Flush,
    FunctionCall(FunctionCall<'a>),
    Parse(Parse<'a>),
    /// An answer to whatever the server has asked for, which says how to read it.
    Authentication(Response<'a>),
    Query(Query<'a>),
    Sync,
    Terminate,
}

impl<'a> Message<'a> {
    /// Reads the body of a message of this type.
    ///
    /// # Errors
    /// See [`MessageError`]; [`MessageError::Tag`] if clients send no such message.
    pub fn parse(tag: Tag, body: &'a [u8]) -> Result<Self, MessageError> {
        Ok(match tag {
            frontend::BIND => Self::Bind(Bind::parse(body)?),
            frontend::CLOSE => Self::Close(Close::parse(body)?),
            frontend::COPY_DATA => Self::CopyData(CopyData::parse(body)),
            frontend::COPY_DONE => grammar::empty(body).map(|()| Self::CopyDone)?,
            frontend::COPY_FAIL => Self::CopyFail(CopyFail::parse(body)?),
            frontend::DESCRIBE => Self::Describe(Describe::parse(body)?),
            frontend::EXECUTE => Self::Execute(Execute::parse(body)?),
            frontend::FLUSH => grammar::empty(body).map(|()| Self::Flush)?,
            frontend::FUNCTION_CALL => Self::FunctionCall(FunctionCall::parse(body)?),
            frontend::PARSE => Self::Parse(Parse::parse(body)?),
            frontend::PASSWORD => Self::Authentication(Response { body }),
            frontend::QUERY => Self::Query(Query::parse(body)?),
            frontend::SYNC => grammar::empty(body).map(|()| Self::Sync)?,
            frontend::TERMINATE => grammar::empty(body).map(|()| Self::Terminate)?,
            _ => return Err(MessageError::Tag),
        })
    }
}

/// What a statement or portal is called, where a message may mean either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    /// `S` or `P`.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    fn read(input: &[u8]) -> Parsed<'_, Self> {
        match input.split_first() {
            Some((b'S', rest)) => Ok((rest, Self::Statement)),
            Some((b'P', rest)) => Ok((rest, Self::Portal)),
            Some(_) => grammar::fail(MessageError::Value),
            None => grammar::fail(MessageError::Truncated),
        }
    }
}

/// Makes a portal of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement's name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Of the parameters: none, one for all, or one each. Other numbers are the server's to refuse.
    pub formats: Formats<'a>,
    /// The parameters.
    pub parameters: Values<'a>,
    /// Of the columns of the result: none, one for all, or one each.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// Reads a body. Takes time in proportion to the number of parameters.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (
            grammar::string,
            grammar::string,
            grammar::formats,
            grammar::values,
            grammar::formats,
        );
        let build = |(portal, statement, formats, parameters, result_formats)| Self {
            portal,
            statement,
            formats,
            parameters,
            result_formats,
        };
        grammar::whole(body, fields.map(build))
    }
}

/// Frees a statement or portal. No error if there is none of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// Which of the two.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (Target::read, grammar::string);
        grammar::whole(body, fields.map(|(target, name)| Self { target, name }))
    }
}

/// Asks what a statement or portal takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Describe<'a> {
    /// Which of the two.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (Target::read, grammar::string);
        grammar::whole(body, fields.map(|(target, name)| Self { target, name }))
    }
}

/// Ends COPY FROM STDIN with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// Why.
    pub message: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::string.map(|message| Self { message }))
    }
}

/// Runs a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Its name.
    pub portal: &'a [u8],
    /// Rows to return at most; all if it is not positive.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (grammar::string, be_i32);
        grammar::whole(
            body,
            fields.map(|(portal, max_rows)| Self { portal, max_rows }),
        )
    }
}

/// Calls a function by its object id: the "fast path", from before prepared statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function's object id.
    pub function: u32,
    /// Of the arguments: none, one for all, or one each.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// Of the result.
    pub result_format: Format,
}

impl<'a> FunctionCall<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (be_u32, grammar::formats, grammar::values, grammar::format);
        let build = |(function, formats, arguments, result_format)| Self {
            function,
            formats,
            arguments,
            result_format,
        };
        grammar::whole(body, fields.map(build))
    }
}

/// Prepares a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Its name; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Its text: one statement at most, which the server sees to.
    pub query: &'a [u8],
    /// Object ids of the types of its parameters, as far as the client gives them; 0 leaves one open.
    pub parameter_types: Numbers<'a>,
}

impl<'a> Parse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    #[allow(clippy::self_named_constructors)] // the message is called that, and so are all of these functions
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let fields = (grammar::string, grammar::string, grammar::numbers);
        let build = |(statement, query, parameter_types)| Self {
            statement,
            query,
            parameter_types,
        };
        grammar::whole(body, fields.map(build))
    }
}

/// Statements as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Any number of statements, none included.
    pub query: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        grammar::whole(body, grammar::string.map(|query| Self { query }))
    }
}

/// PasswordMessage, SASLInitialResponse, SASLResponse or GSSResponse: the server's last request says which.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// As it came: for GSSResponse and SASLResponse, all of it is the data.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// As a PasswordMessage: the password, in the clear or hashed.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn password(self) -> Result<&'a [u8], MessageError> {
        grammar::whole(self.body, grammar::string)
    }

    /// As a SASLInitialResponse.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn sasl_initial(self) -> Result<SaslInitialResponse<'a>, MessageError> {
        let fields = (grammar::string, grammar::value);
        let build = |(mechanism, data)| SaslInitialResponse { mechanism, data };
        grammar::whole(self.body, fields.map(build))
    }
}

impl std::fmt::Debug for Response<'_> {
    /// Only how long: it may be a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Response({} bytes)", self.body.len())
    }
}

/// The first message of SASL from the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism that it chose.
    pub mechanism: &'a [u8],
    /// The mechanism's own first message, if it has one.
    pub data: Option<&'a [u8]>,
}

impl std::fmt::Debug for SaslInitialResponse<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mechanism = self.mechanism.escape_ascii();
        write!(formatter, "SaslInitialResponse({mechanism})")
    }
}
