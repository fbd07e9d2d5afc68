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

/// Largest body of an application's submission, bytes.
///
/// Sum: a launch context of [`LAUNCH_CONTEXT_MAX`], 64 asks of ≈ 300 B, a few short lists; doubled and rounded up.
pub const SUBMIT_BODY_MAX: u32 = 256 * 1024;

/// Longest host name, bytes. RFC 1035: 255 octets, 253 visible.
pub const HOST_MAX: usize = 253;

/// Longest name of a label, attribute, rack, resource type, unit or version, bytes. YARN's own limit is 255 for labels.
pub const NAME_MAX: usize = 255;

/// Longest other free text (diagnostics of a container, health report, a hint's value, what a reject says), bytes: what
/// people read. Some 60 such texts fit one beat ([`HEARTBEAT_BODY_MAX`]); an agent with more to say continues with the next.
pub const TEXT_MAX: usize = 4 * 1024;

/// Longest last word of an ApplicationMaster, or reason of a client, bytes: 64 Ki of YARN's characters, which is as many as
/// it keeps of an attempt, at 3 bytes each. What is kept is a setting and less; nobody is refused for saying more than that.
pub const DIAGNOSTICS_MAX: usize = 192 * 1024;

/// Largest body of a call that carries such a text, bytes: [`DIAGNOSTICS_MAX`], a URL, a token; rounded up.
pub const DIAGNOSTICS_BODY_MAX: u32 = 256 * 1024;

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

/// Most asks in one allocate call. A busy driver asks at some hundred hosts; the rest follows with the next call.
pub const ASKS_MAX: usize = 1_024;

/// Most releases in one allocate call: 4,096 × 24 B.
pub const RELEASES_MAX: usize = 4_096;

/// Most places added to or removed from the blacklist in one allocate call.
pub const BLACKLIST_MAX: usize = 1_024;

/// Most container updates in one allocate call.
pub const UPDATE_REQUESTS_MAX: usize = 1_024;

/// Most constraint-style asks in one allocate call.
pub const SCHEDULING_REQUESTS_MAX: usize = 256;

/// Most constraints by tags in one registration.
pub const PLACEMENT_CONSTRAINTS_MAX: usize = 64;

/// Most grants in one answer or push: 1,024 × ≈ 140 B with two extended types. The rest follows with the next.
pub const GRANTS_PER_ANSWER_MAX: usize = 1_024;

/// Most completions in one answer or push, with texts of ≈ 200 B; fewer where texts are longer. The rest follows.
pub const COMPLETIONS_PER_ANSWER_MAX: usize = 1_024;

/// Most events that an ApplicationMaster may have been pushed beyond those it says it has seen; the rest waits for its call.
/// One that calls as soon as it has taken in half of them is never kept waiting, however many it gets.
pub const EVENTS_PUSHED_MAX: usize = 4_096;

/// Most inherited containers in one answer: 4,096 × ≈ 120 B. Others follow with the answers to allocate.
pub const RETAINED_CONTAINERS_MAX: usize = 4_096;

/// Most nodes of the inherited containers in one answer: 2,048 × ≈ 150 B. Containers of others follow with their node.
pub const RETAINED_NODES_MAX: usize = 2_048;

/// Most node updates in one answer. The rest follows with the next.
pub const UPDATED_NODES_MAX: usize = 256;

/// Largest launch context in all, bytes: three of them fit an answer to a heartbeat ([`HEARTBEAT_BODY_MAX`]).
pub const LAUNCH_CONTEXT_MAX: usize = 64 * 1024;

/// Most bytes of launch contexts in one answer to a heartbeat; the rest follows with the next. With the other commands
/// ([`COMMANDS_PER_ANSWER_MAX`]) and their own frame around each, the answer stays below [`HEARTBEAT_BODY_MAX`].
pub const LAUNCH_BYTES_PER_ANSWER_MAX: usize = 2 * LAUNCH_CONTEXT_MAX;

/// Longest command, value of a variable, or credentials of a launch context, bytes. Class paths are long.
pub const LAUNCH_TEXT_MAX: usize = 32 * 1024;

/// Most parts of a command.
pub const LAUNCH_COMMANDS_MAX: usize = 64;

/// Most environment variables.
pub const LAUNCH_ENVIRONMENT_MAX: usize = 1_024;

/// Most files to localise.
pub const LOCAL_RESOURCES_MAX: usize = 512;

/// Most auxiliary services with data.
pub const SERVICE_DATA_MAX: usize = 32;

/// Most exit codes of a retry rule: as many as there are, and YARN's own.
pub const RETRY_ERROR_CODES_MAX: usize = 272;

/// Most ACLs of an application: one to see, one to change.
pub const APPLICATION_ACLS_MAX: usize = 2;

/// Longest ACL, bytes: some hundred users and groups.
pub const ACL_MAX: usize = 4 * 1024;

/// Longest application name, bytes. Frameworks put the query into it.
pub const APPLICATION_NAME_MAX: usize = 1_024;

/// Longest URL, bytes.
pub const URL_MAX: usize = 2 * 1024;

/// Longest path of a queue, bytes.
pub const QUEUE_PATH_MAX: usize = 1_024;

/// Most tags of an application. YARN's own.
pub const APPLICATION_TAGS_MAX: usize = 10;

/// Longest tag of an application, bytes. YARN's own.
pub const APPLICATION_TAG_MAX: usize = 100;

/// Most asks for the container of an ApplicationMaster: one for any place, the others name hosts and racks.
pub const AM_ASKS_MAX: usize = 64;

/// Most lifetimes of an application. YARN knows one type.
pub const TIMEOUTS_MAX: usize = 4;

/// Longest lifetime of an application, seconds: 100 years, so that sums of times do not overflow.
pub const TIMEOUT_S_MAX: u64 = 100 * 366 * 24 * 3_600;

/// Most hints for the scheduler.
pub const SCHEDULING_PROPERTIES_MAX: usize = 32;

/// Most values of one filter of a listing.
pub const FILTER_MAX: usize = 256;

/// Most application reports in one page of a listing. A page ends earlier where texts are long.
pub const APPLICATIONS_PER_PAGE_MAX: u32 = 1_024;

/// Most attempt reports in one page of a listing. A page ends earlier where texts are long.
pub const ATTEMPTS_PER_PAGE_MAX: u32 = 256;

/// Most container reports in one page of a listing. A page ends earlier where texts are long.
pub const CONTAINERS_PER_PAGE_MAX: u32 = 1_024;

/// Most queues in one page of a listing. A page ends earlier where there are many partitions.
pub const QUEUES_PER_PAGE_MAX: u32 = 512;

/// Most asks explained in one answer; more are counted. 2,048 × ≈ 300 B.
pub const PENDING_ASKS_PER_ANSWER_MAX: u32 = 2_048;

/// Most labels of the cluster.
pub const CLUSTER_LABELS_MAX: usize = 1_024;
