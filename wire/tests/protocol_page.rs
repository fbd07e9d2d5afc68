//! `PROTOCOL.md` against the code: every table in it is written from the code and compared with what stands there.
//! Owns: the generated parts, between `<!-- begin NAME -->` and `<!-- end NAME -->`. Called by: `cargo test`.
//! Does not: write the prose. Meanings in the tables are the doc comments of the source.
//!
//! To bring the page up to date: `HEDDLE_BLESS=1 cargo test -p heddle-wire --test protocol_page`. It refuses where `CI`
//! is set. A changed layout of a published message is a fault and not a reason to do this (see `tests/golden.rs`).

mod describe;
#[path = "protocol_page/source.rs"]
mod source;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use describe::{Body, BodyVisitor, Shape, for_each_body, layouts};
use heddle_wire::frame::{Flags, HEADER_SIZE, offset};
use heddle_wire::record::{
    ApplicationAttemptId, ApplicationId, AttemptHandle, ContainerId, ContainersDigest, ExecutionType,
    NodeHandle, NodeId, Resource, ResourceInformation,
};
use heddle_wire::resource_tracker::UnRegisterNodeManagerRequest;
use heddle_wire::token::{
    AmRmTokenIdentifier, ContainerTokenIdentifier, Identifier, NmTokenIdentifier, TokenKey,
};
use heddle_wire::{ALPN, Opcode, PROTOCOL_MINOR, PROTOCOL_VERSION, RejectCode, limits, resource_tracker};
use source::Docs;

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")
}

/// The generated parts, by name.
fn parts() -> Vec<(&'static str, String)> {
    let docs = Docs::of_the_crate();
    vec![
        ("constants", constants()),
        ("header", header()),
        ("opcodes", opcodes(&docs)),
        ("records", records(&docs)),
        ("reject codes", reject_codes(&docs)),
        ("limits", limit_table(&docs)),
        ("routing values", routing_values()),
        ("handle values", handle_values()),
        ("token values", token_values()),
        ("digest values", digest_values()),
        ("example", example()),
    ]
}

fn constants() -> String {
    let alpn = std::str::from_utf8(ALPN).expect("ASCII");
    format!(
        "| constant | value |\n|---|---|\n| ALPN | `{alpn}` |\n| major version | {PROTOCOL_VERSION} |\n| minor version \
         | {PROTOCOL_MINOR} |\n| header size | {HEADER_SIZE} |\n"
    )
}

fn header() -> String {
    let rows = [
        (offset::MAGIC, 4, "magic", "the bytes `48 44 4c 31`, ASCII `HDL1`"),
        (offset::VERSION, 2, "version", "major version"),
        (offset::OPCODE, 2, "opcode", "the method, §5; an answer repeats its request's"),
        (offset::FLAGS, 2, "flags", "request, answer, reject or push, §3.1"),
        (offset::RESERVED, 2, "reserved", "zero"),
        (offset::BODY_LENGTH, 4, "body_length", "bytes of body behind the header; bounded per opcode, §5"),
        (
            offset::CORRELATION_ID,
            8,
            "correlation_id",
            "chosen by the requester, repeated in the answer; 0 in a push",
        ),
        (
            offset::ROUTING_KEY,
            8,
            "routing_key",
            "whom the frame is about, §4; an answer repeats its request's",
        ),
    ];
    let mut end = 0;
    let mut text = "| offset | size | field | meaning |\n|---:|---:|---|---|\n".to_owned();
    for (offset, size, name, meaning) in rows {
        assert_eq!(offset, end, "{name}");
        end += size;
        writeln!(text, "| {offset} | {size} | `{name}` | {meaning} |").expect("into a string");
    }
    assert_eq!(end, HEADER_SIZE);
    text
}

fn opcodes(docs: &Docs) -> String {
    struct WithRecord(Vec<Opcode>);
    impl BodyVisitor for WithRecord {
        fn visit<B: Body>(&mut self) {
            self.0.extend(B::opcode().map(|(opcode, _)| opcode));
        }
    }
    let mut with_record = WithRecord(Vec::new());
    for_each_body(&mut with_record);
    let mut text =
        "| number | method | body limit | records | what it does |\n|---|---|---:|---|---|\n".to_owned();
    for &opcode in Opcode::ALL {
        let name = opcode.name();
        let records = if with_record.0.contains(&opcode) { "yes" } else { "not yet" };
        let doc = docs.of("opcode", name);
        writeln!(text, "| `{:#06x}` | {name} | {} | {records} | {doc} |", opcode as u16, opcode.body_max())
            .expect("into a string");
    }
    text
}

fn records(docs: &Docs) -> String {
    let mut text = String::new();
    for layout in layouts() {
        let name = layout.name;
        let unit = if layout.size == 1 { "byte" } else { "bytes" };
        write!(text, "#### `{name}` — {} {unit}\n\n{}\n", layout.size, docs.of("type", name))
            .expect("into a string");
        match layout.shape {
            Shape::Record(fields) if fields.is_empty() => {}
            Shape::Record(mut fields) => {
                fields.sort_by_key(|field| field.offset);
                text += "\n| offset | size | field | type | meaning |\n|---:|---:|---|---|---|\n";
                for field in fields {
                    let doc = docs.of(name, field.name);
                    writeln!(
                        text,
                        "| {} | {} | `{}` | `{}` | {doc} |",
                        field.offset, field.size, field.name, field.type_name
                    )
                    .expect("into a string");
                }
            }
            Shape::Enum(variants) => {
                text += "\n| number | variant | meaning |\n|---:|---|---|\n";
                for (variant, _, number) in variants {
                    writeln!(text, "| {number} | `{variant}` | {} |", docs.of(name, variant))
                        .expect("into a string");
                }
            }
            Shape::Union(variants) => {
                text += "\n| number | variant | holds | meaning |\n|---:|---|---|---|\n";
                for (variant, number, holds) in variants {
                    let holds = holds.map_or("nothing".to_owned(), |holds| format!("`{holds}`"));
                    writeln!(text, "| {number} | `{variant}` | {holds} | {} |", docs.of(name, variant))
                        .expect("into a string");
                }
            }
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn reject_codes(docs: &Docs) -> String {
    let mut text = "| code | name | may succeed later | meaning |\n|---:|---|---|---|\n".to_owned();
    for (number, name) in describe::reject_codes() {
        let code = RejectCode::from_number(number).expect("it is in the list");
        let later = if code.is_retryable() { "yes" } else { "no" };
        writeln!(text, "| {number} | {name} | {later} | {} |", docs.of("RejectCode", &name))
            .expect("into a string");
    }
    text
}

fn limit_table(docs: &Docs) -> String {
    macro_rules! values {
        ($($name:ident)*) => { vec![$( (stringify!($name), u64::try_from(limits::$name).expect("positive")) ),*] };
    }
    let mut rows = values! {
        HEARTBEAT_BODY_MAX BODY_MAX SUBMIT_BODY_MAX HOST_MAX NAME_MAX TEXT_MAX DIAGNOSTICS_MAX DIAGNOSTICS_BODY_MAX CONTAINER_STATUSES_MAX
        REGISTER_CONTAINERS_MAX CONTAINERS_PER_NODE_MAX APPLICATIONS_MAX EXTENDED_RESOURCES_MAX LABELS_MAX
        ATTRIBUTES_MAX CONTAINER_ATTRIBUTES_MAX REPORTS_MAX SECRET_MAX COMMANDS_PER_ANSWER_MAX
        COMMANDS_PER_NODE_MAX NODES_PER_PAGE_MAX NODE_IDS_MAX SHARDS_MAX ROWS_PER_SHARD_MAX
        HEARTBEAT_INTERVAL_MS_MAX ASKS_MAX RELEASES_MAX BLACKLIST_MAX UPDATE_REQUESTS_MAX
        SCHEDULING_REQUESTS_MAX PLACEMENT_CONSTRAINTS_MAX GRANTS_PER_ANSWER_MAX COMPLETIONS_PER_ANSWER_MAX EVENTS_PUSHED_MAX
        RETAINED_CONTAINERS_MAX RETAINED_NODES_MAX UPDATED_NODES_MAX LAUNCH_CONTEXT_MAX LAUNCH_BYTES_PER_ANSWER_MAX
        LAUNCH_TEXT_MAX LAUNCH_COMMANDS_MAX LAUNCH_ENVIRONMENT_MAX LOCAL_RESOURCES_MAX SERVICE_DATA_MAX
        RETRY_ERROR_CODES_MAX APPLICATION_ACLS_MAX ACL_MAX APPLICATION_NAME_MAX URL_MAX QUEUE_PATH_MAX
        APPLICATION_TAGS_MAX APPLICATION_TAG_MAX AM_ASKS_MAX TIMEOUTS_MAX TIMEOUT_S_MAX
        SCHEDULING_PROPERTIES_MAX FILTER_MAX APPLICATIONS_PER_PAGE_MAX ATTEMPTS_PER_PAGE_MAX
        CONTAINERS_PER_PAGE_MAX QUEUES_PER_PAGE_MAX PENDING_ASKS_PER_ANSWER_MAX CLUSTER_LABELS_MAX
    };
    rows.push(("MEMORY_MB_MAX", resource_tracker::MEMORY_MB_MAX));
    let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    for name in docs.constants_of_limits() {
        assert!(names.contains(&name.as_str()), "limits.rs has {name}, the table above has not");
    }
    let mut text = "| limit | value | what and why |\n|---|---:|---|\n".to_owned();
    for (name, value) in rows {
        writeln!(text, "| {name} | {value} | {} |", docs.of("const", name)).expect("into a string");
    }
    text
}

fn routing_values() -> String {
    let mut text = "| node id | routing key |\n|---|---|\n".to_owned();
    for (host, port) in [("n", 1), ("node-0042.rack-17.example", 45_454), ("localhost", 65_535), ("a", 0)] {
        writeln!(text, "| `{host}:{port}` | `{:#018x}` |", NodeId::new(host, port).routing_key())
            .expect("into a string");
    }
    text
}

fn handle_values() -> String {
    let mut text = "| shard | row | generation | handle |\n|---:|---:|---:|---|\n".to_owned();
    for (shard, row, generation) in [(0, 0, 1), (3, 70_000, 5), (255, u32::MAX, NodeHandle::GENERATION_MAX)] {
        let handle = NodeHandle::new(shard, row, generation).0;
        writeln!(text, "| {shard} | {row} | {generation} | `{handle:#018x}` |").expect("into a string");
    }
    text
}

fn digest_values() -> String {
    let mut digest = ContainersDigest::default();
    let mut text = "| cluster_timestamp | application id | attempt id | container id | share |\n\
                    |---:|---:|---:|---:|---|\n"
        .to_owned();
    for (cluster_timestamp, id, attempt_id, container_id) in [
        (0, 0, 0, 0),
        (1_763_625_600_000, 7, 1, 1),
        (1_763_625_600_000, 7, 1, 2),
        (1_763_625_600_000, 4_000_000_000, 2, (17 << 40) + 3),
    ] {
        let application_id = ApplicationId { cluster_timestamp, id };
        let container = ContainerId {
            application_attempt_id: ApplicationAttemptId { application_id, attempt_id },
            container_id,
        };
        digest.add(&container);
        writeln!(
            text,
            "| {cluster_timestamp} | {id} | {attempt_id} | {container_id} | `{:#018x}` |",
            container.digest_share()
        )
        .expect("into a string");
    }
    writeln!(text, "\nDigest of these four together: count {}, hash `{:#018x}`.", digest.count, digest.hash)
        .expect("into a string");
    text
}

/// What is signed of each kind of token, and the signature with the key `00 01 … 1f`.
fn token_values() -> String {
    let secret: Vec<u8> = (0..32).collect();
    let key = TokenKey::new(7, &secret);
    let application_id = ApplicationId { cluster_timestamp: 1_763_625_600_000, id: 7 };
    let application_attempt_id = ApplicationAttemptId { application_id, attempt_id: 1 };
    let node_id = NodeId::new("node-0042.rack-17.example", 45_454);
    let extended =
        vec![ResourceInformation { name: "yarn.io/gpu".to_owned(), value: 8, units: String::new() }];
    let am_rm =
        AmRmTokenIdentifier { application_attempt_id, attempt_handle: AttemptHandle::new(2, 1_234, 9) };
    let container = ContainerTokenIdentifier {
        container_id: ContainerId { application_attempt_id, container_id: 2 },
        node_id: &node_id,
        resource: &Resource { memory_mb: 4_096, virtual_cores: 2, extended },
        priority: 10,
        allocation_request_id: -1,
        version: 0,
        execution_type: ExecutionType::Guaranteed,
        user: "ada",
        expires_at_ms: 1_763_626_200_000,
    };
    let nm = NmTokenIdentifier { application_attempt_id, node_id: &node_id, user: "ada" };
    let identifiers: [(&str, &dyn Identifier); 3] =
        [("AMRMToken", &am_rm), ("ContainerToken", &container), ("NMToken", &nm)];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut text = "| token | identifier | mac |\n|---|---|---|\n".to_owned();
    for (name, identifier) in identifiers {
        let mut bytes = Vec::new();
        identifier.write(&mut bytes);
        let token = identifier.sign(&key, &mut Vec::new());
        writeln!(text, "| {name} | `{}` | `{}` |", hex(&bytes), hex(&token.mac)).expect("into a string");
    }
    text
}

/// A whole frame, byte by byte, with a text that does not fit in place.
fn example() -> String {
    let record = UnRegisterNodeManagerRequest {
        node_handle: NodeHandle::new(3, 70_000, 5),
        reason: "disk replaced".to_owned(),
    };
    let mut bytes = Vec::new();
    heddle_wire::write_frame(&mut bytes, Flags::REQUEST, 7, record.node_handle.0, &record);
    let rows = [
        (4, "magic `HDL1`"),
        (2, "version 1"),
        (2, "opcode `0x0103`, UnRegisterNodeManager"),
        (2, "flags 0: a request"),
        (2, "reserved"),
        (4, "body_length 29"),
        (8, "correlation_id 7"),
        (8, "routing_key: shard 3, generation 5, row 70000"),
        (13, "the text `disk replaced`, outside its record because it is longer than 8 bytes"),
        (8, "root record, `node_handle` at its offset 0: the routing key again"),
        (4, "`reason` at its offset 8: 13 bytes long, with the two bits that say \"not in place\""),
        (4, "the text begins -21 bytes from the first byte of `reason`"),
    ];
    let mut text = "| at | bytes | meaning |\n|---:|---|---|\n".to_owned();
    let mut at = 0;
    for (size, meaning) in rows {
        let hex: Vec<String> = bytes[at..at + size].iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "| {at} | `{}` | {meaning} |", hex.join(" ")).expect("into a string");
        at += size;
    }
    assert_eq!(at, bytes.len());
    // The words of the rows, held against the bytes.
    assert_eq!(bytes[12], 29);
    assert_eq!(i32::from_le_bytes(*bytes.last_chunk().expect("four bytes")), -21);
    assert_eq!(bytes[53], 0x80 | 13);
    text
}

/// The page with its generated parts as they should be.
fn renewed(page: &str) -> String {
    let mut page = page.to_owned();
    for (name, text) in parts() {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let from = page.find(&begin).unwrap_or_else(|| panic!("PROTOCOL.md has no {begin}")) + begin.len();
        let to = page.find(&end).unwrap_or_else(|| panic!("PROTOCOL.md has no {end}"));
        page.replace_range(from..to, &format!("\n{text}\n"));
    }
    page
}

#[test]
fn the_page_says_what_the_code_does() {
    let page = std::fs::read_to_string(page_path()).expect("wire/PROTOCOL.md");
    let renewed = renewed(&page);
    if std::env::var("HEDDLE_BLESS").is_ok_and(|value| value == "1") && page != renewed {
        assert!(std::env::var_os("CI").is_none(), "PROTOCOL.md is not written in CI");
        std::fs::write(page_path(), &renewed).expect("PROTOCOL.md is writable");
        return;
    }
    let difference = page.lines().zip(renewed.lines()).enumerate().find(|(_, (page, code))| page != code);
    if let Some((line, (page, code))) = difference {
        panic!("PROTOCOL.md, line {}:\n  it says {page}\n  code is {code}", line + 1);
    }
    assert_eq!(page, renewed);
}

#[test]
fn every_generated_part_is_marked_once_and_none_is_left_over() {
    let page = std::fs::read_to_string(page_path()).expect("wire/PROTOCOL.md");
    let marked: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("<!-- begin ").and_then(|rest| rest.strip_suffix(" -->")))
        .collect();
    let known: Vec<&str> = parts().iter().map(|part| part.0).collect();
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    let marked: Vec<&'static str> = known
        .iter()
        .copied()
        .filter(|name| marked.iter().filter(|found| *found == name).count() == 1)
        .collect();
    assert_eq!(sorted(marked), sorted(known.clone()));
    assert_eq!(page.matches("<!-- begin ").count(), known.len());
    assert_eq!(page.matches("<!-- end ").count(), known.len());
}
