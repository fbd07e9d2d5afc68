//! Frames and events in one line each, for the story of a run.
//! Owns: nothing. Called by: the simulation, when a run is told. Thread: the run's.
//! Does not: lose what decides: ids, actions, digests, containers, orders. Invariant: any bytes give a line.

use core::fmt::Write as _;

use heddle::engine::event::NodeEvent;
use heddle_wire::AnyMessage;
use heddle_wire::frame::Frame;
use heddle_wire::record::{ContainerId, ContainerState, NodeHandle};
use heddle_wire::resource_tracker::{NodeHeartbeatRequest, NodeHeartbeatResponse};

fn short(id: &ContainerId) -> String {
    format!("{}.{}", id.application_id().id, id.container_id)
}

fn list<'a>(ids: impl IntoIterator<Item = &'a ContainerId>) -> String {
    ids.into_iter().map(short).collect::<Vec<_>>().join(" ")
}

/// A frame in one line.
pub(crate) fn frame(bytes: &[u8]) -> String {
    let frame = match Frame::from_slice(bytes) {
        Ok(frame) => frame,
        Err(error) => return error.to_string(),
    };
    let key = NodeHandle(frame.header.routing_key);
    match AnyMessage::read(&frame) {
        Ok(AnyMessage::NodeHeartbeatRequest(beat)) => self::beat(key, &beat),
        Ok(AnyMessage::NodeHeartbeatResponse(told)) => {
            let what = if frame.header.flags.is_push() { "push" } else { "answer" };
            answer(what, key, &told)
        }
        Ok(AnyMessage::RegisterNodeManagerRequest(request)) => {
            let mut line = format!("register {} {} MiB", request.node_id, request.capability.memory_mb);
            for status in &request.container_statuses {
                let _ = write!(line, " {}{}", mark(status.container_state), short(&status.container_id));
            }
            line
        }
        Ok(AnyMessage::RegisterNodeManagerResponse(told)) => {
            let next_ms = told.next_heartbeat_ms;
            format!(
                "registered {:?} {} next {next_ms} {}",
                told.node_action, told.node_handle, told.diagnostics
            )
        }
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("{:?} {error}", frame.header.opcode),
    }
}

const fn mark(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Complete => "-",
        _ => "+",
    }
}

fn beat(key: NodeHandle, beat: &NodeHeartbeatRequest) -> String {
    let mut line = format!(
        "beat {key} id {} ack {} runs {}:{:x}",
        beat.response_id,
        beat.acknowledged_command,
        beat.containers_digest.count,
        beat.containers_digest.hash & 0xffff
    );
    for (is_so, text) in [
        (beat.is_full_report, " full"),
        (beat.is_continued, " continued"),
        (!beat.is_node_healthy, " unhealthy"),
    ] {
        line.push_str(if is_so { text } else { "" });
    }
    for status in &beat.container_statuses {
        let _ = write!(line, " {}{}", mark(status.state), short(&status.container_id));
    }
    line
}

fn answer(what: &str, key: NodeHandle, told: &NodeHeartbeatResponse) -> String {
    let mut line = format!(
        "{what} {key} id {} {:?} next {}",
        told.response_id, told.node_action, told.next_heartbeat_ms
    );
    if told.is_full_report_requested {
        line.push_str(" wants full");
    }
    if let Some(commands) = &told.commands {
        let _ = write!(line, " orders to {}:", commands.last_sequence);
        let _ = write!(line, " kill [{}]", list(&commands.containers_to_cleanup));
        let _ = write!(line, " forget [{}]", list(&commands.containers_to_be_removed_from_nm));
        let _ = write!(line, " applications {}", commands.applications_to_cleanup.len());
        for signal in &commands.containers_to_signal {
            let _ = write!(line, " signal {} {}", signal.sequence, short(&signal.container_id));
        }
    }
    if let Some(updates) = &told.updates {
        let _ = write!(line, " {}", updates.diagnostics);
    }
    line
}

/// An event in one line.
pub(crate) fn event(event: &NodeEvent) -> String {
    let mut line = format!("scheduler hears of {}:", event.node);
    if let Some(removed) = &event.removed {
        let _ = write!(line, " removed {} {:?}", removed.node, removed.reason);
    }
    if let Some(added) = &event.added {
        let _ = write!(line, " added {}", added.host);
    }
    if event.was_interrupted {
        line.push_str(" interrupted");
    }
    if let Some(usability) = event.usability {
        let _ = write!(line, " {usability:?}");
    }
    if let Some(capability) = &event.capability {
        let _ = write!(line, " {} MiB", capability.memory_mb);
    }
    let _ = write!(line, " launched [{}]", list(event.launched.iter().map(|report| &report.container_id)));
    let _ = write!(line, " completed [{}]", list(event.completed.iter().map(|report| &report.container_id)));
    line
}
