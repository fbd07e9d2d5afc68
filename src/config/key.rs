//! The table of keys: name, kind with range, default, and what it is for.
//! Owns: every key there is, the nearest one to a misspelt one, the example file. Called by: the rest of `config`.
//! Does not: hold values. Invariant: names are distinct, have one dot, and end in their unit where they have one.

use core::fmt;

use heddle_wire::limits::{HEARTBEAT_INTERVAL_MS_MAX, ROWS_PER_SHARD_MAX};

use crate::engine::application::settings::DIAGNOSTICS_SIZE_MAX;
use crate::engine::batch::PIECE_SIZE_MAX;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// `IP:port`.
    Address,
    /// `IP:port`, or `off`.
    AddressOrOff,
    /// A path; empty = none.
    Path,
    /// A whole number.
    Integer(i64, i64),
    /// A whole number, or `auto`.
    IntegerOrAuto(i64, i64),
    /// `true` or `false`.
    Switch,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// `NONE`, `EqualToRM`, or a version.
    Version,
    /// A `tracing` filter.
    Filter,
    /// An access control list.
    Acl,
    /// Node labels, each with whether it is exclusive.
    Labels,
    /// A label, or nothing.
    Label,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("IP:port, for example 0.0.0.0:8031 or [::]:8031"),
            Self::AddressOrOff => f.write_str("IP:port, or off"),
            Self::Path => f.write_str("a path, or empty for none"),
            Self::Integer(min, max) => write!(f, "{min} to {max}"),
            Self::IntegerOrAuto(min, max) => write!(f, "{min} to {max}, or auto"),
            Self::Switch => f.write_str("true or false"),
            Self::Choice(words) => f.write_str(&words.join(" or ")),
            Self::Version => f.write_str("NONE, EqualToRM, or a version such as 3.4.0"),
            Self::Filter => {
                f.write_str("a level (error, warn, info, debug, trace) or a list like info,heddle=debug")
            }
            Self::Acl => f.write_str(
                "* for everybody, a blank for nobody, or users and groups: user1,user2 group1,group2",
            ),
            Self::Labels => f.write_str(
                "names of letters, digits, - and _, separated by commas, each exclusive or NAME:shared; empty for none",
            ),
            Self::Label => f.write_str("a name of letters, digits, - and _, or empty for none"),
        }
    }
}

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.name`.
    pub(super) name: &'static str,
    /// Unit of its number; empty where it has none.
    pub(super) unit: &'static str,
    /// What it may be.
    pub(super) kind: Kind,
    /// Its default, as it would be written in a flag.
    pub(super) default: &'static str,
    /// What it is for.
    pub(super) summary: &'static str,
}

macro_rules! keys {
    ($( $constant:ident = $name:literal, $unit:literal, $kind:expr, $default:literal, $summary:literal; )*) => {
        $( pub(super) const $constant: &Key =
            &Key { name: $name, unit: $unit, kind: $kind, default: $default, summary: $summary }; )*

        /// Every key, in the order it is shown.
        pub(super) const ALL: &[&Key] = &[ $( $constant, )* ];
    };
}

const INTERVAL_MS_MAX: i64 = HEARTBEAT_INTERVAL_MS_MAX as i64;
const DAY_MS: i64 = 24 * 3_600_000;
const YEAR_S: i64 = 365 * 24 * 3_600;
const GIB: i64 = 1 << 30;

keys! {
    LISTEN = "listen.address", "", Kind::Address, "127.0.0.1:8031",
        "UDP address of the QUIC door. Loopback until you say otherwise; the port is the one NodeManagers know from YARN.";
    HTTP_ADDRESS = "http.address", "", Kind::AddressOrOff, "127.0.0.1:8088",
        "TCP address of /metrics and /health; YARN's web port. Without TLS: keep it inside.";
    HTTP_TIMEOUT = "http.request_timeout_ms", "ms", Kind::Integer(100, 600_000), "10000",
        "Longest time for one HTTP request.";
    HTTP_REQUESTS = "http.requests_max", "", Kind::Integer(1, 4_096), "64",
        "Most HTTP connections served at a time; the others wait.";

    PKI_DIR = "pki.dir", "", Kind::Path, "pki",
        "Directory of ca.pem, resourcemanager.pem and resourcemanager.key, as `heddle pki init` makes it.";
    PKI_CERTIFICATE = "pki.certificate", "", Kind::Path, "",
        "Certificate file; empty = resourcemanager.pem in pki.dir.";
    PKI_KEY = "pki.key", "", Kind::Path, "", "Key file; empty = resourcemanager.key in pki.dir.";
    PKI_CA = "pki.ca", "", Kind::Path, "", "Certificate of the authority; empty = ca.pem in pki.dir.";

    NET_THREADS = "runtime.net_threads", "", Kind::IntegerOrAuto(1, 64), "auto",
        "Threads that speak QUIC. auto: 1 on up to 3 cores, else all cores but the engine's and one.";
    ENGINE_THREADS = "runtime.engine_threads", "", Kind::IntegerOrAuto(1, 256), "auto",
        "Threads that step shards, one shard each. auto: 1 on up to 7 cores, else a quarter of them.";
    SCHEDULER_THREADS = "runtime.scheduler_threads", "", Kind::IntegerOrAuto(0, 2), "auto",
        "Threads of scheduler and application manager: 0 on the first engine thread, 1 together, 2 one each.";

    NODES_MAX = "nodes.max", "", Kind::Integer(1, ROWS_PER_SHARD_MAX as i64), "1048576",
        "Most nodes known at a time; a registration beyond it is answered SHUTDOWN.";
    INCLUDE = "nodes.include_path", "", Kind::Path, "",
        "File of hosts that may join, one per line; empty = every host.";
    EXCLUDE = "nodes.exclude_path", "", Kind::Path, "",
        "File of hosts that may not, one per line, each with an optional graceful timeout in seconds.";
    UNTRACKED = "nodes.untracked_timeout_s", "s", Kind::Integer(0, YEAR_S), "60",
        "Inactive nodes in neither list are forgotten after this, when an include list is in use.";
    RESYNC_RATE = "nodes.resync_per_second", "1/s", Kind::Integer(1, 1_000_000), "2000",
        "Nodes told to register again are spread to this many a second.";
    DISTRIBUTED_LABELS = "nodes.distributed_labels", "", Kind::Switch, "true",
        "Accept the labels and attributes that nodes report.";

    INTERVAL = "heartbeat.interval_ms", "ms", Kind::Integer(10, INTERVAL_MS_MAX), "1000",
        "Interval told to nodes when all is well.";
    INTERVAL_MIN = "heartbeat.interval_min_ms", "ms", Kind::Integer(10, INTERVAL_MS_MAX), "1000",
        "Least interval, by scaling.";
    INTERVAL_MAX = "heartbeat.interval_max_ms", "ms", Kind::Integer(10, INTERVAL_MS_MAX), "10000",
        "Most, by scaling or while the ResourceManager is busy.";
    SCALING = "heartbeat.scaling", "", Kind::Switch, "false",
        "Scale the interval by a node's CPU use against the cluster's.";
    SPEEDUP = "heartbeat.scaling_speedup_permille", "1/1000", Kind::Integer(0, 100_000), "1000",
        "How strongly less busy nodes beat faster.";
    SLOWDOWN = "heartbeat.scaling_slowdown_permille", "1/1000", Kind::Integer(0, 100_000), "1000",
        "How strongly busier nodes beat slower.";

    SUSPECT_AFTER = "liveliness.suspect_after_ms", "ms", Kind::Integer(20, DAY_MS), "30000",
        "A node quiet for this long is SUSPECT: nothing new is placed on it. For nodes of no [[node_class]].";
    LOST_AFTER = "liveliness.lost_after_ms", "ms", Kind::Integer(30, 30 * DAY_MS), "600000",
        "A node quiet for this long is LOST; it is also the lease after which an agent stops by itself.";
    BRAKE_PERMILLE = "brake.suspects_permille", "1/1000", Kind::Integer(0, 1_000), "100",
        "Nobody is declared LOST while at least this share of a shard's nodes is suspect; 0 = no brake.";
    BRAKE_MIN = "brake.suspects_min", "", Kind::Integer(1, ROWS_PER_SHARD_MAX as i64), "10",
        "And at least this many.";
    BRAKE_LIMIT = "brake.limit_s", "s", Kind::Integer(1, YEAR_S), "1800",
        "Longest time the brake holds; after it, nodes expire as usual.";

    MINIMUM_MEMORY = "minimum.memory_mb", "MiB", Kind::Integer(0, 1 << 40), "1024",
        "A node with less memory is refused.";
    MINIMUM_CORES = "minimum.virtual_cores", "", Kind::Integer(0, 1_000_000), "1",
        "A node with fewer virtual cores is refused.";
    MINIMUM_VERSION = "minimum.nm_version", "", Kind::Version, "NONE",
        "A node with an older version is refused; EqualToRM = older than this ResourceManager.";

    DECOMMISSION_TIMEOUT = "decommission.timeout_s", "s", Kind::Integer(-1, YEAR_S), "3600",
        "Longest graceful decommission; -1 = for ever.";
    DECOMMISSION_IGNORES = "decommission.ignores_applications", "", Kind::Switch, "false",
        "A node without containers leaves although applications still name it.";

    QUEUES_FILE = "scheduler.queues_file", "", Kind::Path, "",
        "The queues: capacity-scheduler.xml as it is, or Heddle's TOML (.toml). Empty = one queue, root.default.";
    YARN_SITE = "scheduler.yarn_site", "", Kind::Path, "",
        "A yarn-site.xml to take settings from that are given nowhere else; resource-types.xml beside it is read as well.";
    CALCULATOR = "scheduler.resource_calculator", "", Kind::Choice(&["memory", "dominant"]), "memory",
        "What counts: memory only (DefaultResourceCalculator), or all types by the dominant share.";
    MINIMUM_ALLOCATION_MB = "scheduler.minimum_allocation_mb", "MiB", Kind::Integer(1, 1 << 40), "1024",
        "Memory of the least container, and the step that sizes are rounded up to.";
    MINIMUM_ALLOCATION_VCORES = "scheduler.minimum_allocation_vcores", "", Kind::Integer(0, 1_000_000), "1",
        "Its virtual cores.";
    MAXIMUM_ALLOCATION_MB = "scheduler.maximum_allocation_mb", "MiB", Kind::Integer(1, 1 << 40), "8192",
        "Memory of the largest container; what asks for more is refused.";
    MAXIMUM_ALLOCATION_VCORES = "scheduler.maximum_allocation_vcores", "", Kind::Integer(0, 1_000_000), "4",
        "Its virtual cores.";
    ALLOCATION_EXPIRY = "scheduler.allocation_expiry_ms", "ms", Kind::Integer(100, 30 * DAY_MS), "600000",
        "A container that was granted and that its node does not report within this is taken back.";
    NODE_LABELS_ENABLED = "scheduler.node_labels_enabled", "", Kind::Switch, "false", "Whether node labels may be used.";
    NODE_LABELS = "scheduler.node_labels", "", Kind::Labels, "",
        "Labels that the cluster knows from the start, besides those added while it runs.";
    NODE_LABELS_FROM = "scheduler.node_labels_from", "", Kind::Choice(&["administrator", "nodes"]), "administrator",
        "Who says which label a node has.";
    NODE_LOCALITY = "scheduler.node_locality_delay_ms", "ms", Kind::Integer(0, DAY_MS), "3000",
        "How long an ask waits for a node it names before its rack will do.";
    RACK_LOCALITY = "scheduler.rack_locality_additional_delay_ms", "ms", Kind::Integer(0, DAY_MS), "3000",
        "How much longer before any node will do.";
    NON_EXCLUSIVE = "scheduler.non_exclusive_delay_ms", "ms", Kind::Integer(0, DAY_MS), "5000",
        "How long an ask without a label waits before it may use idle nodes of a shared label.";
    UNKNOWN_CONTAINERS = "scheduler.unknown_containers", "", Kind::Choice(&["clean-up", "accept"]), "clean-up",
        "What becomes of containers of unknown applications: killed as in YARN, or left to run as use of their node.";
    ATTEMPTS_MAX = "scheduler.attempts_max", "", Kind::Integer(1, 1 << 24), "1048576",
        "Most attempts of applications at a time.";
    MAX_PRIORITY = "scheduler.max_application_priority", "", Kind::Integer(0, i32::MAX as i64), "0",
        "Highest priority of an application; a higher one is lowered to it.";

    ACL_ENABLED = "applications.acl_enabled", "", Kind::Switch, "false",
        "Whether access control lists of queues and applications are enforced.";
    ADMIN_ACL = "applications.admin_acl", "", Kind::Acl, "*",
        "Administrators of the cluster, whatever acl_enabled says. They need an administrator's certificate besides.";
    GROUPS_FILE = "applications.groups_file", "", Kind::Path, "",
        "Groups of users, a line each: user: group1,group2. Empty = no groups.";
    AM_EXPIRY = "applications.am_expiry_ms", "ms", Kind::Integer(100, 30 * DAY_MS), "600000",
        "An ApplicationMaster that is silent for this long is failed.";
    AM_FINISHING = "applications.am_finishing_expiry_ms", "ms", Kind::Integer(100, 30 * DAY_MS), "600000",
        "An ApplicationMaster that has finished and whose container goes on for this long is stopped.";
    AM_MAX_ATTEMPTS = "applications.am_max_attempts", "", Kind::Integer(1, 1_000_000), "2",
        "Attempts of an application that says nothing.";
    AM_GLOBAL_MAX_ATTEMPTS = "applications.am_global_max_attempts", "", Kind::IntegerOrAuto(1, 1_000_000), "auto",
        "Most attempts an application may ask for; auto = as many as of one that says nothing.";
    AM_LABEL = "applications.am_default_node_label", "", Kind::Label, "",
        "Label of ApplicationMasters whose submission names none.";
    AM_BLACKLIST = "applications.am_blacklist_hosts_max", "", Kind::Integer(0, 100_000), "0",
        "Keep ApplicationMasters from up to this many hosts where earlier attempts failed for the host's sake; 0 = off.";
    LIFETIME_CHECK = "applications.lifetime_check_interval_ms", "ms", Kind::Integer(10, DAY_MS), "3000",
        "Lifetimes end on a multiple of this.";
    COMPLETED_MAX = "applications.completed_max", "", Kind::Integer(0, 10_000_000), "10000",
        "Completed applications kept for reports.";
    STORE_COMPLETED_MAX = "applications.store_completed_max", "", Kind::IntegerOrAuto(0, 10_000_000), "auto",
        "Completed applications kept in the state store; auto = as many as for reports.";
    ACTIVE_MAX = "applications.active_max", "", Kind::Integer(1, 1 << 24), "65536",
        "Most applications that have not completed; a submission beyond is refused.";
    LAUNCH_CONTEXTS = "applications.launch_contexts_max_bytes", "B", Kind::Integer(1 << 20, 1 << 40), "1073741824",
        "Most bytes of launch contexts kept for them; a submission beyond is refused.";
    ATTEMPTS_KEPT = "applications.attempts_kept_max", "", Kind::Integer(1, 1_000_000), "64",
        "Attempts of an application that are remembered.";
    DIAGNOSTICS_SIZE = "applications.diagnostics_max_bytes", "B", Kind::Integer(256, DIAGNOSTICS_SIZE_MAX as i64), "16384",
        "Longest diagnostics of an application or attempt; the end is kept.";
    QUERIES_MAX = "applications.queries_max", "", Kind::Integer(1, 1_000_000), "1024",
        "Clients' questions that wait for the scheduler; one beyond is answered Busy.";
    STORE_RETRY = "applications.store_retry_interval_ms", "ms", Kind::Integer(10, DAY_MS), "1000",
        "A write of the state store that failed is tried again after this.";

    IDLE = "transport.idle_timeout_ms", "ms", Kind::Integer(1_000, DAY_MS), "60000",
        "A connection without a packet for this long is closed. It says nothing about the node's state.";
    HANDSHAKES = "transport.handshakes_per_second", "1/s", Kind::Integer(1, 1_000_000), "2000",
        "Handshakes begun per second, over all net threads; 0.27-0.45 ms of CPU each. Others are told Retry, then refused.";
    HANDSHAKE_TIMEOUT = "transport.handshake_timeout_ms", "ms", Kind::Integer(100, 600_000), "10000",
        "A handshake that takes longer is given up.";
    HANDSHAKE_BURST = "transport.handshake_burst", "", Kind::Integer(1, 1_000_000), "256",
        "Handshakes that may begin at once after a quiet time.";
    CONNECTIONS = "transport.connections_max", "", Kind::Integer(1, 4_000_000), "65536",
        "Most connections, over all net threads; about 45 KiB each when idle, so 2.9 GiB at the default.";
    STREAMS = "transport.streams_per_connection", "", Kind::Integer(1, 64), "4",
        "Most streams a peer may have open: beats, bulk, and two to spare. Each one more costs memory on every connection.";
    STREAM_WINDOW = "transport.stream_receive_window_bytes", "B", Kind::Integer(16_384, GIB), "1048576",
        "Most bytes a peer may send on a stream ahead of what was read.";
    NODE_WINDOW = "transport.node_receive_window_bytes", "B", Kind::Integer(16_384, GIB), "2097152",
        "The same for a whole connection of a node or relay.";
    CLIENT_WINDOW = "transport.client_receive_window_bytes", "B", Kind::Integer(16_384, GIB), "262144",
        "The same for a whole connection of a client, and of anyone before his certificate is known.";
    ADMIN_WINDOW = "transport.admin_receive_window_bytes", "B", Kind::Integer(16_384, GIB), "262144",
        "The same for a whole connection of an administrator.";
    SEND_WINDOW = "transport.send_window_bytes", "B", Kind::Integer(16_384, GIB), "2097152",
        "Most bytes sent to a peer and not acknowledged yet.";
    SLOW_BYTES = "transport.slow_reader_bytes", "B", Kind::Integer(PIECE_SIZE_MAX as i64, GIB), "4194304",
        "A peer that leaves more answers than this unread is cut off. At least what a role answers in one piece.";
    SLOW_TIME = "transport.slow_reader_ms", "ms", Kind::Integer(100, 600_000), "30000",
        "And so is one that reads nothing for this long while answers wait.";
    FRAME_RATE = "transport.frames_per_second", "1/s", Kind::Integer(0, 100_000_000), "0",
        "Frames read per second and stream; a peer past it is read more slowly. 0 = as fast as shards take them.";
    SOCKET_BUFFER = "transport.socket_buffer_bytes", "B", Kind::Integer(212_992, GIB), "16777216",
        "Wanted SO_RCVBUF and SO_SNDBUF. With less than 4 MiB a thousand nodes lose packets.";
    GSO = "transport.segmentation_offload", "", Kind::Switch, "true",
        "Send many packets per system call. Off for network cards that fail with EIO.";

    RECORDER_DIR = "recorder.dir", "", Kind::Path, "", "Record each engine role's input into this directory; empty = no recording.";
    RECORDER_SIZE = "recorder.size_max_bytes", "B", Kind::Integer(1 << 20, 1 << 50), "8589934592",
        "A recording ends, marked truncated, before it is larger than this.";

    LOG_FORMAT = "log.format", "", Kind::Choice(&["text", "json"]), "text", "Form of log lines, on standard error.";
    LOG_LEVEL = "log.level", "", Kind::Filter, "info", "What is logged.";
}

/// The key with this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.name == name)
}

/// Keys of a `[[node_class]]` table.
pub(super) const NODE_CLASS: &str = "node_class";
pub(super) const NODE_CLASS_KEYS: [&str; 4] = ["name", "hosts", "suspect_after_ms", "lost_after_ms"];

/// Keys of a `[[resource_type]]` table.
pub(super) const RESOURCE_TYPE: &str = "resource_type";
pub(super) const RESOURCE_TYPE_KEYS: [&str; 4] =
    ["name", "units", "minimum_allocation", "maximum_allocation"];

/// The key that `name` was probably meant to be: the least edits away, if they are few for its length; the same last
/// part in another section counts as near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name: String = name.chars().take(128).collect();
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let by_name = ALL.iter().map(|key| (distance(&name, key.name), key.name));
    let by_last = ALL.iter().map(|key| (distance(&last(&name), &last(key.name)) + 1, key.name));
    let (edits, nearest) = by_name.chain(by_last).min_by_key(|(edits, _)| *edits)?;
    (edits <= 2.max(name.chars().count() / 4)).then_some(nearest)
}

/// The one of `known` that `name` was probably meant to be.
pub(super) fn closest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let name: String = name.chars().take(128).collect();
    let (edits, nearest) =
        known.map(|known| (distance(&name, known), known)).min_by_key(|(edits, _)| *edits)?;
    (edits <= 2.max(name.chars().count() / 4)).then_some(nearest)
}

/// The same of names that are made.
pub(super) fn closest_of(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let name: String = name.chars().take(128).collect();
    let nearest = known.map(|known| (distance(&name, &known), known)).min_by_key(|(edits, _)| *edits);
    nearest.filter(|(edits, _)| *edits <= 2.max(name.chars().count() / 4)).map(|(_, nearest)| nearest)
}

/// Said of a property of Hadoop's files that has no meaning in them.
pub(super) const NOT_YARNS: &str = "has no effect: it is not one of YARN's keys, and no ${…} names it";

/// Levenshtein distance.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// An example file: every key with its default, commented out, and what it is for.
#[must_use]
pub fn example() -> String {
    let mut text = String::from(
        "# Heddle's configuration. Every key is shown with its default; take away the # to change it.\n\
         # The environment (HEDDLE_SECTION__KEY) comes before this file, flags (--set section.key=value) before both.\n\
         # `heddle config show --origin` tells what is in force and why.\n",
    );
    let mut section = "";
    for key in ALL {
        let (of, name) = key.name.split_once('.').unwrap_or_default();
        if of != section {
            section = of;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let is_bare = matches!(key.kind, Kind::Integer(..) | Kind::Switch);
        let quote = if is_bare { "" } else { "\"" };
        text.push_str(&format!(
            "# {}\n# Accepted: {}.\n# {name} = {quote}{}{quote}\n",
            key.summary, key.kind, key.default
        ));
    }
    text.push_str(
        "\n# Classes of nodes with another patience: the first whose hosts match is used. One * stands for any text.\n\
         # [[node_class]]\n# name = \"gpu\"\n# hosts = \"gpu-*\"\n# suspect_after_ms = 60000\n# lost_after_ms = 1800000\n",
    );
    text.push_str(
        "\n# Resource types besides memory and virtual cores. Accepted units: p n u m k M G T P Ki Mi Gi Ti Pi, or none.\n\
         # [[resource_type]]\n# name = \"yarn.io/gpu\"\n# units = \"\"\n# minimum_allocation = 0\n# maximum_allocation = 8\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_end_in_their_unit() {
        for (index, key) in ALL.iter().enumerate() {
            assert!(ALL[index + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
            assert_eq!(key.name.matches('.').count(), 1, "{}", key.name);
            let suffix = match key.unit {
                "" => continue,
                "ms" => "_ms",
                "s" => "_s",
                "1/s" => "_per_second",
                "1/1000" => "_permille",
                "B" => "_bytes",
                "MiB" => "_mb",
                other => panic!("unit {other} of {}", key.name),
            };
            assert!(key.name.ends_with(suffix), "{}", key.name);
        }
    }

    #[test]
    fn sections_are_together() {
        let mut seen: Vec<&str> = ALL.iter().map(|key| key.name.split_once('.').unwrap().0).collect();
        seen.dedup();
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(seen.len(), sorted.len());
    }

    #[test]
    fn the_nearest_key_is_what_was_meant_or_nothing() {
        assert_eq!(nearest("heartbeat.intervall_ms"), Some("heartbeat.interval_ms"));
        assert_eq!(nearest("hartbeat.interval_ms"), Some("heartbeat.interval_ms"));
        assert_eq!(nearest("nodes.lost_after_ms"), Some("liveliness.lost_after_ms"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(&"x".repeat(100_000)), None);
    }

    #[test]
    fn distances() {
        for (from, to, edits) in [("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("a", "a", 0)] {
            assert_eq!(distance(from, to), edits);
        }
    }
}
