//! Golden frames: the bytes of every message as they were published, in `tests/golden/*.bin`, their values in `*.json`.
//! Owns: the comparison, both ways, and the writing of new ones. Called by: `cargo test`; the values are read again by
//! `wire/python/check_golden.py`, which knows the format from `wire/PROTOCOL.md` alone. Thread: any.
//! Does not: change a frame that exists. A published frame keeps its bytes for ever; a changed record gets a new opcode.
//!
//! To add one: add a case below `tests/golden/` and run `HEDDLE_BLESS=1 cargo test --test golden`. It writes files
//! that are missing, never over one that is there (remove it first), and refuses to write where `CI` is set.

#[path = "golden/administration.rs"]
mod administration;
#[path = "golden/application_client.rs"]
mod application_client;
#[path = "golden/application_master.rs"]
mod application_master;
#[path = "golden/cases.rs"]
mod cases;
#[path = "../wire/tests/describe/mod.rs"]
mod describe;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use describe::{Body, Describe, Layout, Shape};
use heddle_wire::administration::ArchivedDecommissionType;
use heddle_wire::application_client::ApplicationsRequestScope;
use heddle_wire::frame::Frame;
use heddle_wire::record::{
    ApplicationAccessType, ApplicationTimeoutType, ArchivedContainerState, ArchivedContainerSubState,
    ArchivedExecutionType, ArchivedLogAggregationStatus, ArchivedNodeAction, ArchivedNodeState,
    ArchivedSignalContainerCommand, ContainerRetryPolicy, ContainerUpdateType, FinalApplicationStatus,
    LocalResourceType, LocalResourceVisibility, NodeUpdateType, QueueAcl, QueueState, RejectionReason,
    SchedulerResourceTypes, YarnApplicationAttemptState, YarnApplicationState,
};
use heddle_wire::{AnyMessage, Flags, HEADER_SIZE, Opcode, Reject};
use serde_json::{Value, json};

/// A record that a golden frame carries.
trait Golden {
    fn opcode(&self) -> Opcode;
    fn type_name(&self) -> String;
    fn value(&self) -> Value;
    fn write(&self, flags: Flags, correlation_id: u64, routing_key: u64) -> Vec<u8>;
    /// Whether these bytes are the body of this very record.
    fn is_in(&self, body: &[u8]) -> Result<(), String>;
}

impl<B: Body> Golden for B {
    fn opcode(&self) -> Opcode {
        B::opcode().expect("a reject is paired with the opcode it answers").0
    }
    fn type_name(&self) -> String {
        B::type_name()
    }
    fn value(&self) -> Value {
        self.to_json()
    }
    fn write(&self, flags: Flags, correlation_id: u64, routing_key: u64) -> Vec<u8> {
        let is_response = B::opcode().expect("not a reject").1;
        assert_eq!(flags.is_response(), is_response, "{}", B::type_name());
        let mut bytes = Vec::new();
        Body::write(self, &mut bytes, flags, correlation_id, routing_key);
        bytes
    }
    fn is_in(&self, body: &[u8]) -> Result<(), String> {
        match B::read(body) {
            Ok(found) if found == *self => Ok(()),
            Ok(found) => Err(format!("it holds {found:#?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Golden for (Opcode, Reject) {
    fn opcode(&self) -> Opcode {
        self.0
    }
    fn type_name(&self) -> String {
        <Reject as Describe>::type_name()
    }
    fn value(&self) -> Value {
        self.1.to_json()
    }
    fn write(&self, flags: Flags, correlation_id: u64, routing_key: u64) -> Vec<u8> {
        assert_eq!(flags, Flags::REJECT);
        let mut bytes = Vec::new();
        heddle_wire::message::write_reject(&mut bytes, self.0, correlation_id, routing_key, &self.1);
        bytes
    }
    fn is_in(&self, body: &[u8]) -> Result<(), String> {
        self.1.is_in(body)
    }
}

/// What a golden frame is called and what is to be found in it.
struct Case {
    stem: String,
    bytes: Vec<u8>,
    type_name: String,
    value: Value,
    found: Result<(), String>,
}

/// All cases, each compared with its stored frame as it is added.
#[derive(Default)]
pub(crate) struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        variant: &str,
        flags: Flags,
        correlation_id: u64,
        routing_key: u64,
        record: &dyn Golden,
    ) {
        let kind = match flags {
            Flags::REQUEST => "request",
            Flags::RESPONSE => "response",
            Flags::REJECT => "reject",
            _ => "push",
        };
        let parts = [record.opcode().name(), kind, variant];
        let stem = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        let bytes = record.write(flags, correlation_id, routing_key);
        // The stored bytes where there are any, so that reading is tested on what was published.
        let stored = std::fs::read(path(&stem, "bin")).unwrap_or_else(|_| bytes.clone());
        let found = record.is_in(stored.get(HEADER_SIZE..).unwrap_or_default());
        self.0.push(Case { stem, bytes, type_name: record.type_name(), value: record.value(), found });
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Cases::default();
    cases::add(&mut cases);
    application_master::add(&mut cases);
    application_client::add(&mut cases);
    administration::add(&mut cases);
    cases.0
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path(stem: &str, extension: &str) -> PathBuf {
    folder().join(format!("{stem}.{extension}"))
}

/// The text of a case's JSON file: header and value, as any reader of the frame must find them.
fn expected(case: &Case) -> String {
    let header = Frame::from_slice(&case.bytes).expect("a frame just written").header;
    let value = json!({
        "record": case.type_name,
        "header": {
            "opcode": header.opcode as u16,
            "opcode_name": header.opcode.name(),
            "flags": header.flags.bits(),
            "body_length": header.body_length,
            "correlation_id": header.correlation_id,
            "routing_key": header.routing_key,
        },
        "value": case.value,
    });
    let mut text = serde_json::to_string_pretty(&value).expect("plain values");
    text.push('\n');
    text
}

fn bless(path: &Path, bytes: &[u8]) {
    assert!(std::env::var_os("CI").is_none(), "golden files are not written in CI: {}", path.display());
    if !path.exists() {
        std::fs::write(path, bytes).expect("the golden folder is writable");
    }
}

#[test]
fn stored_frames_are_what_is_written_and_read_today() {
    let is_blessing = std::env::var("HEDDLE_BLESS").is_ok_and(|value| value == "1");
    let mut faults = Vec::new();
    for case in cases() {
        let text = expected(&case);
        for (extension, today) in [("bin", &case.bytes[..]), ("json", text.as_bytes())] {
            let path = path(&case.stem, extension);
            if is_blessing {
                bless(&path, today);
            }
            match std::fs::read(&path) {
                Ok(stored) if stored == today => {}
                Ok(stored) => {
                    let at = stored.iter().zip(today).take_while(|(stored, today)| stored == today).count();
                    faults.push(format!(
                        "{}: stored {} bytes, today {} bytes, first difference at {at}",
                        path.display(),
                        stored.len(),
                        today.len()
                    ));
                }
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        if let Err(fault) = &case.found {
            faults.push(format!("{}: does not read as expected: {fault}", case.stem));
        }
        let frame = Frame::from_slice(&case.bytes).expect("a frame just written");
        match AnyMessage::read(&frame) {
            Ok(message) => assert_eq!(message.record_name(), case.type_name, "{}", case.stem),
            Err(error) => faults.push(format!("{}: refused: {error}", case.stem)),
        }
    }
    assert!(
        faults.is_empty(),
        "a changed byte means a new opcode, not a new golden file; see the top of this test.\n{}",
        faults.join("\n")
    );
}

#[test]
fn every_stored_file_has_a_case() {
    let known: BTreeSet<String> = cases().into_iter().map(|case| case.stem).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if extension == "rs" {
            continue;
        }
        assert!(["bin", "json"].contains(&&*extension), "{}", path.display());
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(known.contains(&stem), "{} has no case", path.display());
    }
}

#[test]
fn every_record_has_a_frame() {
    let seen: BTreeSet<String> = cases().into_iter().map(|case| case.type_name).collect();
    let all: BTreeSet<String> = AnyMessage::RECORD_NAMES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(seen, all);
}

/// Which fields and variants the frames use, and which lists, texts and options they also leave empty.
#[derive(Default)]
struct Coverage {
    used: BTreeSet<String>,
    empty: BTreeSet<String>,
}

impl Coverage {
    fn walk(&mut self, layouts: &BTreeMap<&str, Layout>, type_name: &str, value: &Value, place: &str) {
        let inner = |outer: &str| type_name.strip_prefix(outer).and_then(|rest| rest.strip_suffix('>'));
        let is_empty = match value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Number(value) => value.as_u64() == Some(0),
            Value::String(value) => value.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(_) => false,
        };
        if is_empty { &mut self.empty } else { &mut self.used }.insert(place.to_owned());
        if let Some(item) = inner("list<") {
            value.as_array().expect("a list").iter().for_each(|value| self.walk(layouts, item, value, place));
        } else if let Some(item) = inner("option<").or(inner("box<")) {
            if !value.is_null() {
                self.walk(layouts, item, value, place);
            }
        } else if let Some(layout) = layouts.get(type_name) {
            match &layout.shape {
                Shape::Record(fields) => fields.iter().for_each(|field| {
                    let place = format!("{type_name}.{}", field.name);
                    self.walk(layouts, &field.type_name, &value[field.name], &place);
                }),
                Shape::Enum(_) => {
                    self.used.insert(format!("{type_name}::{}", value.as_str().expect("a variant")));
                }
                Shape::Union(variants) => {
                    let (name, inside) = match value {
                        Value::Object(map) => map.iter().next().expect("one variant"),
                        other => (&other.as_str().expect("a variant").to_owned(), &Value::Null),
                    };
                    let found = variants.iter().find(|(variant, ..)| variant == name);
                    if let Some(holds) = &found.expect("a known variant").2 {
                        self.walk(layouts, holds, inside, place);
                    }
                    self.used.insert(format!("{type_name}::{name}"));
                }
            }
        }
    }
}

#[test]
fn frames_use_every_field_and_variant_and_leave_out_what_may_be_left_out() {
    let layouts = describe::layouts();
    let by_name: BTreeMap<&str, Layout> =
        layouts.iter().map(|layout| (layout.name, layout.clone())).collect();
    let mut coverage = Coverage::default();
    for case in cases() {
        coverage.walk(&by_name, &case.type_name, &case.value, "");
    }
    let mut missing = Vec::new();
    for layout in &layouts {
        match &layout.shape {
            Shape::Record(fields) => {
                for field in fields {
                    let place = format!("{}.{}", layout.name, field.name);
                    // Minor version 0 is the only one there is.
                    if !coverage.used.contains(&place) && field.name != "protocol_minor" {
                        missing.push(format!("{place} is never used"));
                    }
                    if field.type_name.starts_with("option<") && !coverage.empty.contains(&place) {
                        missing.push(format!("{place} is never left out"));
                    }
                }
            }
            Shape::Union(variants) => {
                for (variant, ..) in variants {
                    let place = format!("{}::{variant}", layout.name);
                    if !coverage.used.contains(&place) {
                        missing.push(format!("{place} is never used"));
                    }
                }
            }
            Shape::Enum(variants) => {
                for (variant, ..) in variants {
                    let place = format!("{}::{variant}", layout.name);
                    if !coverage.used.contains(&place) {
                        missing.push(format!("{place} is never used"));
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn archived_enums_have_yarns_numbers() {
    // Source: YARN, yarn_protos.proto and yarn_server_common_protos.proto; actions by their order.
    assert_eq!(ArchivedNodeAction::Normal as u8, 0);
    assert_eq!(ArchivedNodeAction::Resync as u8, 1);
    assert_eq!(ArchivedNodeAction::Shutdown as u8, 2);
    assert_eq!(ArchivedContainerState::New as u8, 1);
    assert_eq!(ArchivedContainerState::Running as u8, 2);
    assert_eq!(ArchivedContainerState::Complete as u8, 3);
    assert_eq!(ArchivedContainerSubState::Scheduled as u8, 1);
    assert_eq!(ArchivedContainerSubState::Running as u8, 2);
    assert_eq!(ArchivedContainerSubState::Paused as u8, 3);
    assert_eq!(ArchivedContainerSubState::Completing as u8, 4);
    assert_eq!(ArchivedContainerSubState::Done as u8, 5);
    assert_eq!(ArchivedExecutionType::Guaranteed as u8, 1);
    assert_eq!(ArchivedExecutionType::Opportunistic as u8, 2);
    assert_eq!(ArchivedSignalContainerCommand::OutputThreadDump as u8, 1);
    assert_eq!(ArchivedSignalContainerCommand::GracefulShutdown as u8, 2);
    assert_eq!(ArchivedSignalContainerCommand::ForcefulShutdown as u8, 3);
    assert_eq!(ArchivedLogAggregationStatus::Disabled as u8, 1);
    assert_eq!(ArchivedLogAggregationStatus::NotStart as u8, 2);
    assert_eq!(ArchivedLogAggregationStatus::Running as u8, 3);
    assert_eq!(ArchivedLogAggregationStatus::Succeeded as u8, 4);
    assert_eq!(ArchivedLogAggregationStatus::Failed as u8, 5);
    assert_eq!(ArchivedLogAggregationStatus::TimeOut as u8, 6);
    assert_eq!(ArchivedLogAggregationStatus::RunningWithFailure as u8, 7);
    assert_eq!(ArchivedNodeState::New as u8, 1);
    assert_eq!(ArchivedNodeState::Running as u8, 2);
    assert_eq!(ArchivedNodeState::Unhealthy as u8, 3);
    assert_eq!(ArchivedNodeState::Decommissioned as u8, 4);
    assert_eq!(ArchivedNodeState::Lost as u8, 5);
    assert_eq!(ArchivedNodeState::Rebooted as u8, 6);
    assert_eq!(ArchivedNodeState::Decommissioning as u8, 7);
    assert_eq!(ArchivedNodeState::Shutdown as u8, 8);
    assert_eq!(ArchivedDecommissionType::Normal as u8, 1);
    assert_eq!(ArchivedDecommissionType::Graceful as u8, 2);
    assert_eq!(ArchivedDecommissionType::Forceful as u8, 3);
}

#[test]
fn enums_of_applications_and_queues_have_yarns_numbers() {
    // Source: YARN, yarn_protos.proto. The archive has the same numbers (held by `wire/tests/records.rs`).
    macro_rules! numbers {
        ($($name:ident { $($variant:ident = $number:literal),* })*) => {
            $( $( assert_eq!($name::$variant as u8, $number, "{}::{}", stringify!($name), stringify!($variant)); )* )*
        };
    }
    numbers! {
        YarnApplicationState {
            New = 1, NewSaving = 2, Submitted = 3, Accepted = 4, Running = 5, Finished = 6, Failed = 7, Killed = 8
        }
        YarnApplicationAttemptState {
            New = 1, Submitted = 2, Scheduled = 3, AllocatedSaving = 4, Allocated = 5, Launched = 6, Failed = 7,
            Running = 8, Finishing = 9, Finished = 10, Killed = 11
        }
        FinalApplicationStatus { Undefined = 0, Succeeded = 1, Failed = 2, Killed = 3, Ended = 4 }
        ApplicationAccessType { ViewApp = 1, ModifyApp = 2 }
        ApplicationTimeoutType { Lifetime = 1 }
        ApplicationsRequestScope { All = 0, Viewable = 1, Own = 2 }
        QueueState { Stopped = 1, Running = 2, Draining = 3 }
        QueueAcl { SubmitApplications = 1, AdministerQueue = 2 }
        SchedulerResourceTypes { Memory = 0, Cpu = 1 }
        RejectionReason { CouldNotPlaceOnNode = 1, CouldNotScheduleOnNode = 2 }
        NodeUpdateType { NodeUsable = 0, NodeUnusable = 1, NodeDecommissioning = 2 }
        ContainerUpdateType {
            IncreaseResource = 0, DecreaseResource = 1, PromoteExecutionType = 2, DemoteExecutionType = 3
        }
        LocalResourceVisibility { Public = 1, Private = 2, Application = 3 }
        LocalResourceType { Archive = 1, File = 2, Pattern = 3 }
        ContainerRetryPolicy { NeverRetry = 0, RetryOnAllErrors = 1, RetryOnSpecificErrorCodes = 2 }
    }
}
