//! Identifiers: applications, attempts, containers, nodes, and the handle a node has on the wire.
//! Owns: their text forms and the routing key of a node. Called by: everyone. Does not: allocate ids.
//! Invariants: text forms are YARN's; a routing key and a digest share are the same in every implementation.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// An application: start time of the ResourceManager that issued it, and a counter from 1.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct ApplicationId {
    /// Start of the issuing ResourceManager, milliseconds since 1970.
    pub cluster_timestamp: u64,
    /// Counter from 1.
    pub id: u32,
}

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application_{}_{:04}", self.cluster_timestamp, self.id)
    }
}

/// One attempt of an application.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct ApplicationAttemptId {
    /// The application.
    pub application_id: ApplicationId,
    /// Counter from 1.
    pub attempt_id: u32,
}

impl fmt::Display for ApplicationAttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplicationId { cluster_timestamp, id } = self.application_id;
        write!(f, "appattempt_{cluster_timestamp}_{id:04}_{:06}", self.attempt_id)
    }
}

/// A container: the attempt that asked for it and a 64-bit id, epoch × 2^40 + sequence.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct ContainerId {
    /// The attempt that asked.
    pub application_attempt_id: ApplicationAttemptId,
    /// Epoch × 2^40 + sequence; the sequence counts from 1 in each attempt.
    pub container_id: u64,
}

/// Size of a [`ContainerId`] on the wire: it has no padding and no offsets, so its bytes are its archive.
pub const CONTAINER_ID_SIZE: usize = size_of::<ArchivedContainerId>();
const _: () = assert!(CONTAINER_ID_SIZE == 24);

impl ContainerId {
    /// The application it belongs to.
    #[must_use]
    pub const fn application_id(&self) -> ApplicationId {
        self.application_attempt_id.application_id
    }

    /// This container's share of a [`ContainersDigest`](super::ContainersDigest).
    ///
    /// The finaliser of splitmix64 over the four numbers, folded in the order cluster timestamp, application id,
    /// attempt id, container id. Any implementation must agree on it; `wire/PROTOCOL.md` gives test values.
    #[must_use]
    pub const fn digest_share(&self) -> u64 {
        let attempt = self.application_attempt_id;
        let mut hash = mix(attempt.application_id.cluster_timestamp);
        hash = mix(hash ^ attempt.application_id.id as u64);
        hash = mix(hash ^ attempt.attempt_id as u64);
        mix(hash ^ self.container_id)
    }
}

/// The finaliser of splitmix64, with its increment.
const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplicationId { cluster_timestamp, id } = self.application_id();
        let attempt = self.application_attempt_id.attempt_id;
        let (epoch, sequence) = (self.container_id >> 40, self.container_id & ((1 << 40) - 1));
        if epoch == 0 {
            write!(f, "container_{cluster_timestamp}_{id:04}_{attempt:02}_{sequence:06}")
        } else {
            write!(f, "container_e{epoch:02}_{cluster_timestamp}_{id:04}_{attempt:02}_{sequence:06}")
        }
    }
}

/// A text that is not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("accepted is {accepted}")]
pub struct ParseIdError {
    accepted: &'static str,
}

/// Takes a number off the front, up to the next `_` or the end.
fn take<T: core::str::FromStr>(text: &mut &str) -> Option<T> {
    let (part, rest) = text.split_once('_').unwrap_or((text, ""));
    *text = rest;
    // `parse` would take a sign.
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

impl core::str::FromStr for ApplicationId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let read = || {
            let mut rest = text.strip_prefix("application_")?;
            let id = Self { cluster_timestamp: take(&mut rest)?, id: take(&mut rest)? };
            rest.is_empty().then_some(id)
        };
        read().ok_or(ParseIdError { accepted: "application_<start of the ResourceManager>_<number>" })
    }
}

impl core::str::FromStr for ApplicationAttemptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let read = || {
            let mut rest = text.strip_prefix("appattempt_")?;
            let application_id = ApplicationId { cluster_timestamp: take(&mut rest)?, id: take(&mut rest)? };
            let id = Self { application_id, attempt_id: take(&mut rest)? };
            rest.is_empty().then_some(id)
        };
        read().ok_or(ParseIdError {
            accepted: "appattempt_<start of the ResourceManager>_<application>_<attempt>",
        })
    }
}

impl core::str::FromStr for ContainerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let read = || {
            let mut rest = text.strip_prefix("container_")?;
            let epoch: u64 = match rest.strip_prefix('e') {
                Some(with_epoch) => {
                    rest = with_epoch;
                    take(&mut rest)?
                }
                None => 0,
            };
            let application_id = ApplicationId { cluster_timestamp: take(&mut rest)?, id: take(&mut rest)? };
            let application_attempt_id =
                ApplicationAttemptId { application_id, attempt_id: take(&mut rest)? };
            let sequence: u64 = take(&mut rest)?;
            let is_whole = rest.is_empty() && sequence < 1 << 40 && epoch < 1 << 24;
            is_whole.then_some(Self { application_attempt_id, container_id: epoch << 40 | sequence })
        };
        read().ok_or(ParseIdError {
            accepted: "container_[e<epoch>_]<start of the ResourceManager>_<application>_<attempt>_<number>",
        })
    }
}

macro_rules! to_native {
    ($archived:ident => $native:ident { $($field:ident),* }) => {
        impl $archived {
            /// The record itself. Cost: a few loads.
            #[must_use]
            #[inline]
            pub const fn to_native(&self) -> $native {
                $native { $($field: self.$field.to_native()),* }
            }
        }
    };
}
to_native!(ArchivedApplicationId => ApplicationId { cluster_timestamp, id });
to_native!(ArchivedApplicationAttemptId => ApplicationAttemptId { application_id, attempt_id });
to_native!(ArchivedContainerId => ContainerId { application_attempt_id, container_id });

/// A NodeManager's identity: host and the port of its container-management server.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Host name, 1 to 253 bytes, no white space, no `:`.
    pub host: String,
    /// Port, 1 to 65535. In administration requests 0 means every NodeManager of the host.
    pub port: u16,
}

impl NodeId {
    /// A node id.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The routing key of frames sent before the node has a handle: FNV-1a, 64 bit, over the bytes of `host:port`.
    ///
    /// It decides which shard owns the node. The shard computes it again from the body and refuses a frame whose
    /// header says otherwise.
    #[must_use]
    pub fn routing_key(&self) -> u64 {
        routing_key(&self.host, self.port)
    }

    /// Reads `host:port`. `None` where there is no colon or the port is not a number up to 65535.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        if host.is_empty() {
            return None;
        }
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// [`NodeId::routing_key`] of a host and port that are not a [`NodeId`] yet.
#[must_use]
pub fn routing_key(host: &str, port: u16) -> u64 {
    let mut digits = [0_u8; 6];
    digits[0] = b':';
    let mut length = 1;
    let mut divisor = 10_000;
    while divisor > 0 {
        let digit = (port / divisor) % 10;
        if digit != 0 || length > 1 || divisor == 1 {
            digits[length] = b'0' + u8::try_from(digit).unwrap_or(0);
            length += 1;
        }
        divisor /= 10;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in host.as_bytes().iter().chain(&digits[..length]) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a node is called on the wire after it has registered: shard, generation and row in one number.
///
/// Bits 0–31 row, 32–55 generation (from 1), 56–63 shard. Never 0. A handle dies when its row is given to another node
/// or the node registers again; a frame with a dead one is answered RESYNC.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHandle(pub u64);

impl NodeHandle {
    /// Largest generation; the one after it is 1.
    pub const GENERATION_MAX: u32 = (1 << 24) - 1;

    /// The handle of a row. `generation` is taken modulo 2^24.
    #[must_use]
    pub const fn new(shard: u8, row: u32, generation: u32) -> Self {
        Self((shard as u64) << 56 | ((generation & Self::GENERATION_MAX) as u64) << 32 | row as u64)
    }

    /// The shard that owns the row.
    #[must_use]
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The row in its shard's table.
    #[must_use]
    pub const fn row(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// How often the row was given out.
    #[must_use]
    pub const fn generation(self) -> u32 {
        ((self.0 >> 32) & 0xff_ffff) as u32
    }
}

impl fmt::Display for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.shard(), self.row(), self.generation())
    }
}

/// What an application attempt is called on the wire: scheduler thread, generation and slot in one number.
///
/// Bits 0–31 slot, 32–55 generation (from 1), 56–63 scheduler thread. Never 0. It is the routing key of every frame of
/// an ApplicationMaster, from its registration on; the ApplicationMaster is told it when it is launched, or finds it in
/// the report of an unmanaged application. It dies with the attempt.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Clone, Copy))]
pub struct AttemptHandle(pub u64);

impl AttemptHandle {
    /// Largest generation; the one after it is 1.
    pub const GENERATION_MAX: u32 = (1 << 24) - 1;

    /// The handle of a slot. `generation` is taken modulo 2^24.
    #[must_use]
    pub const fn new(scheduler: u8, slot: u32, generation: u32) -> Self {
        Self((scheduler as u64) << 56 | ((generation & Self::GENERATION_MAX) as u64) << 32 | slot as u64)
    }

    /// The scheduler thread that owns the attempt.
    #[must_use]
    pub const fn scheduler(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The slot in its scheduler's table.
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }

    /// How often the slot was given out.
    #[must_use]
    pub const fn generation(self) -> u32 {
        ((self.0 >> 32) & 0xff_ffff) as u32
    }
}

impl fmt::Display for AttemptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.scheduler(), self.slot(), self.generation())
    }
}

macro_rules! handle_to_native {
    ($($archived:ident => $native:ident;)*) => { $(
        impl $archived {
            /// The handle itself.
            #[must_use]
            #[inline]
            pub const fn to_native(&self) -> $native {
                $native(self.0.to_native())
            }
        }
    )* };
}
handle_to_native! {
    ArchivedNodeHandle => NodeHandle;
    ArchivedAttemptHandle => AttemptHandle;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_yarns() {
        let application_id = ApplicationId { cluster_timestamp: 1_700_000_000_000, id: 7 };
        let attempt = ApplicationAttemptId { application_id, attempt_id: 2 };
        assert_eq!(application_id.to_string(), "application_1700000000000_0007");
        assert_eq!(attempt.to_string(), "appattempt_1700000000000_0007_000002");
        let container = ContainerId { application_attempt_id: attempt, container_id: 3 };
        assert_eq!(container.to_string(), "container_1700000000000_0007_02_000003");
        let later = ContainerId { container_id: (17 << 40) + 3, ..container };
        assert_eq!(later.to_string(), "container_e17_1700000000000_0007_02_000003");
        // And back.
        assert_eq!(application_id.to_string().parse(), Ok(application_id));
        assert_eq!(attempt.to_string().parse(), Ok(attempt));
        assert_eq!(container.to_string().parse(), Ok(container));
        assert_eq!(later.to_string().parse(), Ok(later));
        for bad in [
            "",
            "application_",
            "application_1",
            "application_1_2_3",
            "application_+1_2",
            "application_1_99999999999",
        ] {
            assert!(bad.parse::<ApplicationId>().is_err(), "{bad}");
        }
        assert!("container_1_1_1_1099511627776".parse::<ContainerId>().is_err());
    }

    #[test]
    fn the_routing_key_is_fnv_1a_of_the_text() {
        for port in [1, 9, 10, 45, 45454, 65535, 100, 1000] {
            let node = NodeId::new("node-17.example", port);
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            for byte in node.to_string().bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            assert_eq!(node.routing_key(), hash, "port {port}");
        }
    }

    #[test]
    fn a_handle_keeps_its_parts() {
        let handle = NodeHandle::new(255, u32::MAX, NodeHandle::GENERATION_MAX);
        assert_eq!((handle.shard(), handle.row(), handle.generation()), (255, u32::MAX, 0xff_ffff));
        assert_eq!(NodeHandle::new(3, 10, 1).to_string(), "3/10#1");
        let handle = AttemptHandle::new(254, u32::MAX - 1, AttemptHandle::GENERATION_MAX);
        assert_eq!((handle.scheduler(), handle.slot(), handle.generation()), (254, u32::MAX - 1, 0xff_ffff));
        assert_eq!(AttemptHandle::new(3, 10, 1 << 24 | 1).to_string(), "3/10#1");
    }

    #[test]
    fn node_ids_parse() {
        assert_eq!(NodeId::parse("a.b:80"), Some(NodeId::new("a.b", 80)));
        for bad in ["a", ":80", "a:", "a:65536", "a:-1"] {
            assert_eq!(NodeId::parse(bad), None, "{bad}");
        }
    }
}
