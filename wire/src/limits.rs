//! Every size limit of the wire, with the reason or the sum behind it.
//! Read by: the frame decoder, record validation, transport configuration, `wire/PROTOCOL.md` (checked by a test).
//! Does not: hold limits of configuration (rates, memory budgets); those are the ResourceManager's settings.
//! Invariant: every text and list of a request has one (held by `wire/tests/records.rs`).

/// Largest body of a frame that an agent sends often (heartbeats, un-registration), bytes.
///
/// Sum: 1,024 changed containers × ≈ 200 B with short diagnostics, plus the rest of a beat, rounded up. A full report
/// of a larger node is still possible: it is split over several beats ([`CONTAINER_STATUSES_MAX`]).
pub const HEARTBEAT_BODY_MAX: u32 = 256 * 1024;

/// Largest body of any frame, bytes.
///
/// Registration after an NM restart lists every container the node knows ([`REGISTER_CONTAINERS_MAX`] × ≈ 200 B); a
/// page of a node listing holds at most [`NODES_PER_PAGE_MAX`] reports. 1 MiB holds both and is what one connection may
/// make the receiver gather.
pub const BODY_MAX: u32 = 1024 * 1024;

/// Longest host name, bytes. RFC 1035: 255 octets, 253 visible.
pub const HOST_MAX: usize = 253;

/// Longest name of a label, attribute, rack, resource type, unit or version, bytes. YARN's own limit is 255 for labels.
pub const NAME_MAX: usize = 255;

/// Longest free text (diagnostics, health report), bytes. YARN keeps diagnostics to 64 Ki characters per
/// application; per container 4 KiB is what people read. Some 60 such texts fit one beat ([`HEARTBEAT_BODY_MAX`]); an
/// agent with more to say continues with the next.
pub const TEXT_MAX: usize = 4 * 1024;

/// Most container statuses in one heartbeat. More are sent in the following beats.
pub const CONTAINER_STATUSES_MAX: usize = 1_024;

/// Most containers in one registration. The densest nodes known run a few hundred; 4,096 is an order above.
pub const REGISTER_CONTAINERS_MAX: usize = 4_096;

/// Most containers the ResourceManager keeps for one node. Reports beyond it are refused by name.
pub const CONTAINERS_PER_NODE_MAX: usize = 8_192;

/// Most applications in one list (running, keep-alive, log aggregation).
pub const APPLICATIONS_MAX: usize = 4_096;

/// Most extended resource types of one `Resource`. YARN clusters use below ten.
pub const EXTENDED_RESOURCES_MAX: usize = 32;

/// Most labels of a node. YARN allows one partition per node; more are kept for the day that changes.
pub const LABELS_MAX: usize = 16;

/// Most attributes of a node.
pub const ATTRIBUTES_MAX: usize = 128;

/// Most attributes (key and value) or allocation tags of a container.
pub const CONTAINER_ATTRIBUTES_MAX: usize = 32;

/// Most collectors, log-aggregation reports or increased containers in one beat.
pub const REPORTS_MAX: usize = 1_024;

/// Largest secret (master key, credential), bytes.
pub const SECRET_MAX: usize = 16 * 1024;

/// Most commands of one kind in one answer. 512 × 24 B keeps an answer below 16 KiB; the rest follows with the next.
pub const COMMANDS_PER_ANSWER_MAX: usize = 512;

/// Most commands waiting for one node. Beyond it the sender of the command is told `Full`.
pub const COMMANDS_PER_NODE_MAX: usize = 8_192;

/// Most node reports in one page of a listing.
pub const NODES_PER_PAGE_MAX: u32 = 1_024;

/// Most node ids in one request.
pub const NODE_IDS_MAX: usize = 1_024;

/// Most shards: the handle keeps the shard in 8 bits.
pub const SHARDS_MAX: usize = 256;

/// Most rows of one shard: the handle keeps the row in 32 bits, tables stop far earlier.
pub const ROWS_PER_SHARD_MAX: u32 = 1 << 24;

/// Longest heartbeat interval that may be told to a node, milliseconds.
pub const HEARTBEAT_INTERVAL_MS_MAX: u32 = 600_000;
