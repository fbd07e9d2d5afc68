//! What can be wrong with bytes from a peer, sorted by blame, and the code each cause has on the wire.
//! Called by: the frame decoder, record validation, doors and clients. Thread: any.
//! Does not: decide what happens to a connection; a door does, by [`FrameError::is_fatal`].
//! Invariants: every error has a code and a text that names field, value and what is accepted; texts quote a peer's bytes
//! only shortened.

use rkyv::{Archive, Deserialize, Serialize};
use thiserror::Error;

use crate::opcode::Opcode;

/// Why a request was not carried out: the number that goes on the wire in a [`Reject`].
///
/// The hundreds tell the blame: 1xx the peer's bytes are wrong, 2xx the peer is of another version, 3xx the
/// ResourceManager is busy (try again), 4xx the request is understood and refused, 5xx our own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum RejectCode {
    /// The four magic bytes are not there.
    BadMagic = 100,
    /// A reserved header bit or field is not zero.
    BadHeader = 101,
    /// The body is longer than the limit of its opcode.
    BodyTooLarge = 102,
    /// The body is not an archive of the opcode's record.
    BadBody = 103,
    /// A field's value is outside its accepted range.
    BadField = 104,
    /// The stream ended inside a frame.
    Truncated = 105,
    /// An answer where a request was expected, or the reverse.
    WrongDirection = 106,
    /// The header's major version is not ours.
    UnsupportedVersion = 200,
    /// The opcode is not in the table.
    UnknownOpcode = 201,
    /// The opcode is known and its method is not available yet.
    NotSupportedYet = 202,
    /// A queue on our side is full; nothing was done, try again.
    Busy = 300,
    /// Too many requests from this connection; nothing was done, try again later. Reserved: today such a peer is read
    /// more slowly instead.
    RateLimited = 301,
    /// The peer read its answers too slowly.
    SlowReader = 302,
    /// The ResourceManager is stopping.
    ShuttingDown = 303,
    /// The certificate's role does not allow this method.
    RoleNotAllowed = 400,
    /// The certificate's name does not allow this node.
    NameNotAllowed = 401,
    /// The routing key names a node that is not this shard's, or none.
    WrongRoute = 402,
    /// What the request names does not exist.
    NotFound = 403,
    /// The request does not fit the state of what it names. For example to move an application that
    /// ended.
    WrongState = 404,
    /// No application has this id.
    ApplicationNotFound = 410,
    /// No attempt has this id, or it ended. An ApplicationMaster that is told so exits.
    ApplicationAttemptNotFound = 411,
    /// No live container has this id.
    ContainerNotFound = 412,
    /// The ResourceManager does not know the ApplicationMaster, for example after a restart: it registers again and
    /// says all it wants anew.
    ApplicationMasterNotRegistered = 413,
    /// The ApplicationMaster does not keep to the protocol: it registers twice, or its response id is a wrong one.
    InvalidApplicationMasterRequest = 414,
    /// An ask is wrong. The text begins with `LESS_THAN_ZERO`, `GREATER_THEN_MAX_ALLOCATION` (YARN's spelling) or
    /// `UNKNOWN`.
    InvalidResourceRequest = 415,
    /// The label of an ask is wrong.
    InvalidLabelResourceRequest = 416,
    /// A container that was to be released is another attempt's.
    InvalidContainerRelease = 417,
    /// A place that was to be blacklisted is no place.
    InvalidResourceBlacklistRequest = 418,
    /// The caller may not do this.
    AccessControl = 419,
    /// The token does not prove what it should, or its key is not known any more.
    InvalidToken = 420,
    /// The application is not accepted as it was submitted.
    ApplicationRejected = 421,
    /// Heddle knows this, and does not do it yet: a part of a request, where the method itself works.
    Unsupported = 422,
    /// The configuration is not accepted; nothing was changed. The text has one reason per line.
    ConfigurationRefused = 423,
    /// We broke one of our own rules. The text says which.
    Internal = 500,
}

impl RejectCode {
    /// Every code, ascending.
    pub const ALL: &'static [Self] = &[
        Self::BadMagic,
        Self::BadHeader,
        Self::BodyTooLarge,
        Self::BadBody,
        Self::BadField,
        Self::Truncated,
        Self::WrongDirection,
        Self::UnsupportedVersion,
        Self::UnknownOpcode,
        Self::NotSupportedYet,
        Self::Busy,
        Self::RateLimited,
        Self::SlowReader,
        Self::ShuttingDown,
        Self::RoleNotAllowed,
        Self::NameNotAllowed,
        Self::WrongRoute,
        Self::NotFound,
        Self::WrongState,
        Self::ApplicationNotFound,
        Self::ApplicationAttemptNotFound,
        Self::ContainerNotFound,
        Self::ApplicationMasterNotRegistered,
        Self::InvalidApplicationMasterRequest,
        Self::InvalidResourceRequest,
        Self::InvalidLabelResourceRequest,
        Self::InvalidContainerRelease,
        Self::InvalidResourceBlacklistRequest,
        Self::AccessControl,
        Self::InvalidToken,
        Self::ApplicationRejected,
        Self::Unsupported,
        Self::ConfigurationRefused,
        Self::Internal,
    ];

    /// The code with this number, if we know it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| *code as u16 == number)
    }

    /// True when the same request may succeed later without a change.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        (self as u16) / 100 == 3
    }
}

/// The body of an answer with the `REJECT` flag.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// A [`RejectCode`] number. A reader that does not know it goes by the hundreds.
    pub code: u16,
    /// Milliseconds to wait before trying again; 0 where trying again does not help or may be at once.
    pub retry_after_ms: u32,
    /// For people: the field, its value, and what would be accepted. At most [`TEXT_MAX`](crate::limits::TEXT_MAX)
    /// bytes.
    pub message: String,
}

impl Reject {
    /// A reject with this code and text; a longer text than [`TEXT_MAX`](crate::limits::TEXT_MAX) is cut.
    #[must_use]
    pub fn new(code: RejectCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(crate::limits::TEXT_MAX));
        Self { code: code as u16, retry_after_ms: 0, message }
    }

    /// The same, with a time to wait before trying again.
    #[must_use]
    pub const fn retry_after_ms(mut self, milliseconds: u32) -> Self {
        self.retry_after_ms = milliseconds;
        self
    }
}

/// Bytes that are not a frame. After a [fatal](FrameError::is_fatal) one the stream has no frame boundary any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first four bytes are not the magic.
    #[error("magic is {found:#010x}, accepted is {accepted:#010x} (\"HDL1\")", accepted = crate::frame::MAGIC)]
    BadMagic {
        /// What stands there, read little-endian.
        found: u32,
    },
    /// Another major version.
    #[error("version is {found}, accepted is {accepted}", accepted = crate::PROTOCOL_VERSION)]
    UnsupportedVersion {
        /// What the header says.
        found: u16,
        /// The frame's correlation id, for the answer.
        correlation_id: u64,
    },
    /// No method has this number.
    #[error("opcode {found:#06x} is not in the table of protocol version {accepted}", accepted = crate::PROTOCOL_VERSION)]
    UnknownOpcode {
        /// What the header says.
        found: u16,
        /// The frame's correlation id, for the answer.
        correlation_id: u64,
    },
    /// A flag outside the table, or the reserved field is not zero.
    #[error("flags are {flags:#06x} and the reserved field {reserved:#06x}, accepted flags are {accepted:#06x} and a reserved field of 0", accepted = crate::frame::Flags::ALL)]
    BadHeader {
        /// The flags found.
        flags: u16,
        /// The reserved field found.
        reserved: u16,
        /// The frame's correlation id, for the answer.
        correlation_id: u64,
    },
    /// The body is too long for its opcode.
    #[error("body_length of {} is {found} bytes, accepted are at most {accepted}", opcode.name())]
    BodyTooLarge {
        /// The method.
        opcode: Opcode,
        /// The length in the header.
        found: u32,
        /// The limit.
        accepted: u32,
        /// The frame's correlation id, for the answer.
        correlation_id: u64,
    },
    /// The body is too long to be passed over, and its opcode is not in the table.
    #[error("body_length of the unknown opcode {opcode:#06x} is {found} bytes, accepted are at most {accepted}", accepted = crate::limits::BODY_MAX)]
    UnknownBodyTooLarge {
        /// The opcode in the header.
        opcode: u16,
        /// The length in the header.
        found: u32,
        /// The frame's correlation id, for the answer.
        correlation_id: u64,
    },
    /// The stream ended inside a frame.
    #[error("stream ended {missing} bytes before the end of a frame")]
    Truncated {
        /// How many bytes are missing at least.
        missing: u32,
    },
}

impl FrameError {
    /// The code that goes on the wire.
    #[must_use]
    pub const fn code(&self) -> RejectCode {
        match self {
            Self::BadMagic { .. } => RejectCode::BadMagic,
            Self::UnsupportedVersion { .. } => RejectCode::UnsupportedVersion,
            Self::UnknownOpcode { .. } => RejectCode::UnknownOpcode,
            Self::BadHeader { .. } => RejectCode::BadHeader,
            Self::BodyTooLarge { .. } | Self::UnknownBodyTooLarge { .. } => RejectCode::BodyTooLarge,
            Self::Truncated { .. } => RejectCode::Truncated,
        }
    }

    /// The correlation id to answer with; 0 when the header could not be read that far.
    #[must_use]
    pub const fn correlation_id(&self) -> u64 {
        match *self {
            Self::UnsupportedVersion { correlation_id, .. }
            | Self::UnknownOpcode { correlation_id, .. }
            | Self::BadHeader { correlation_id, .. }
            | Self::BodyTooLarge { correlation_id, .. }
            | Self::UnknownBodyTooLarge { correlation_id, .. } => correlation_id,
            Self::BadMagic { .. } | Self::Truncated { .. } => 0,
        }
    }

    /// The opcode number to answer with: what the frame's header says, 0 when it could not be read that far.
    ///
    /// The answer repeats it also where it is not in our table: it is in the table of the peer that sent it.
    #[must_use]
    pub const fn opcode_number(&self) -> u16 {
        match *self {
            Self::UnknownOpcode { found, .. } => found,
            Self::UnknownBodyTooLarge { opcode, .. } => opcode,
            Self::BodyTooLarge { opcode, .. } => opcode as u16,
            Self::BadMagic { .. }
            | Self::UnsupportedVersion { .. }
            | Self::BadHeader { .. }
            | Self::Truncated { .. } => 0,
        }
    }

    /// True when frame boundaries are lost, so that the stream has to end.
    ///
    /// False only for an unknown opcode of acceptable size: the decoder passes over that frame and goes on.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::UnknownOpcode { .. })
    }
}

/// A body that is not the record its opcode promises, or a record with a value outside its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The archive's structure is broken: an offset outside, a wrong tag, not UTF-8.
    #[error("body of {} ({size} bytes) is not an archive of its record: {reason}", opcode.name())]
    Archive {
        /// The method.
        opcode: Opcode,
        /// Length of the body.
        size: usize,
        /// What the validator said.
        reason: String,
    },
    /// The opcode has no record for this direction yet.
    #[error("{} {} has no record in protocol version {}.{}", opcode.name(), if *is_response { "answer" } else { "request" }, crate::PROTOCOL_VERSION, crate::PROTOCOL_MINOR)]
    NoRecord {
        /// The method.
        opcode: Opcode,
        /// Whether it was an answer.
        is_response: bool,
    },
    /// A list or text is longer than accepted.
    #[error("{field} has length {found}, accepted are at most {accepted}")]
    TooLong {
        /// The record's field.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        accepted: usize,
    },
    /// A number is outside its range.
    #[error("{field} is {found}, accepted are {min} to {max}")]
    OutOfRange {
        /// The record's field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// Least accepted.
        min: u64,
        /// Most accepted.
        max: u64,
    },
    /// A text is not of its form.
    #[error("{field} is {found:?}, accepted is {accepted}")]
    BadText {
        /// The record's field.
        field: &'static str,
        /// Its value, shortened to 64 characters.
        found: String,
        /// The form accepted.
        accepted: &'static str,
    },
}

/// A record that does not become a frame: our own fault, never a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Its archive is longer than its opcode accepts; the peer would end the stream.
    #[error("body of {} would be {found} bytes, accepted are at most {accepted}", opcode.name())]
    BodyTooLarge {
        /// The method.
        opcode: Opcode,
        /// Length of the archive.
        found: usize,
        /// The limit.
        accepted: u32,
    },
    /// The serialiser refused it, for example for a text of more than a GiB.
    #[error("record of {} does not serialise: {reason}", opcode.name())]
    Archive {
        /// The method.
        opcode: Opcode,
        /// What the serialiser said.
        reason: String,
    },
}

impl DecodeError {
    /// The code that goes on the wire.
    #[must_use]
    pub const fn code(&self) -> RejectCode {
        match self {
            Self::Archive { .. } => RejectCode::BadBody,
            Self::NoRecord { .. } => RejectCode::NotSupportedYet,
            Self::TooLong { .. } | Self::OutOfRange { .. } | Self::BadText { .. } => RejectCode::BadField,
        }
    }
}

impl From<&DecodeError> for Reject {
    fn from(error: &DecodeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<&FrameError> for Reject {
    fn from(error: &FrameError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
