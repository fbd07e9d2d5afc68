//! One call of a client or administrator: who asked, and where the answer goes.
//! Owns: [`Call`], and how requests are read and answers written. Called by: every method of the application manager.
//! Does not: decide anything. Invariant: an answer repeats the request's opcode, correlation id and routing key.

use heddle_wire::frame::{Flags, FrameHeader};
use heddle_wire::message::{try_write_frame, write_frame, write_reject};
use heddle_wire::record as wire;
use heddle_wire::{EncodeError, Reject, RejectCode, WriteMessage};

use crate::engine::batch::{AnswerBatch, Caller, StreamRef};
use crate::engine::event::{ExtendedResource, Resource};

/// Reads a request in place and checks it.
macro_rules! request {
    ($record:ty, $body:expr) => {{
        let request =
            ::heddle_wire::access::<$record>($body).map_err(|error| ::heddle_wire::Reject::from(&error))?;
        request.check().map_err(|error| ::heddle_wire::Reject::from(&error))?;
        request
    }};
}
pub(super) use request;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) stream: StreamRef,
    pub(super) header: FrameHeader,
    pub(super) caller: Caller,
}

impl Call {
    /// The caller's user name.
    pub(super) fn user(&self) -> &str {
        &self.caller.name
    }

    /// Answers with a record that is bounded by construction.
    pub(super) fn answer<M: WriteMessage>(&self, answers: &mut AnswerBatch, message: &M) {
        answers.push_with(self.stream, |out| {
            write_frame(out, Flags::RESPONSE, self.header.correlation_id, self.header.routing_key, message);
        });
    }

    /// Answers with a record that may be too large; nothing is written then.
    pub(super) fn try_answer<M: WriteMessage>(
        &self,
        answers: &mut AnswerBatch,
        message: &M,
    ) -> Result<(), EncodeError> {
        let mut frame = Vec::new();
        let header = &self.header;
        try_write_frame(&mut frame, Flags::RESPONSE, header.correlation_id, header.routing_key, message)?;
        answers.push(self.stream, &frame);
        Ok(())
    }

    /// Answers with a record that another role has archived.
    pub(super) fn answer_archived(&self, answers: &mut AnswerBatch, body: &[u8]) {
        let opcode = self.header.opcode;
        let accepted = opcode.body_max();
        match u32::try_from(body.len()) {
            Ok(body_length) if body_length <= accepted => {
                let header = FrameHeader { flags: Flags::RESPONSE, body_length, ..self.header };
                answers.push_with(self.stream, |out| {
                    out.extend_from_slice(&header.to_bytes());
                    out.extend_from_slice(body);
                });
            }
            _ => {
                let text = format!(
                    "the answer has {} bytes, a body of {} has at most {accepted}; ask for less",
                    body.len(),
                    opcode.name()
                );
                self.reject(answers, &Reject::new(RejectCode::Internal, text));
            }
        }
    }

    /// Answers with a reject.
    pub(super) fn reject(&self, answers: &mut AnswerBatch, reject: &Reject) {
        let header = &self.header;
        answers.push_with(self.stream, |out| {
            write_reject(out, header.opcode, header.correlation_id, header.routing_key, reject);
        });
    }
}

/// A resource as a peer sent it. Of an extended type that is named twice the first counts.
pub(super) fn resource_of(record: &wire::Resource) -> Resource {
    let mut extended: Vec<ExtendedResource> = record
        .extended
        .iter()
        .map(|item| ExtendedResource {
            name: item.name.as_str().into(),
            value: item.value,
            units: item.units.as_str().into(),
        })
        .collect();
    extended.sort_by(|left, right| left.name.cmp(&right.name));
    extended.dedup_by(|later, earlier| later.name == earlier.name);
    Resource { memory_mb: record.memory_mb, virtual_cores: record.virtual_cores, extended: extended.into() }
}

/// A resource as it goes on the wire.
pub(super) fn resource_to(resource: &Resource) -> wire::Resource {
    let extended = resource
        .extended
        .iter()
        .map(|item| wire::ResourceInformation {
            name: item.name.to_string(),
            value: item.value,
            units: item.units.to_string(),
        })
        .collect();
    wire::Resource { memory_mb: resource.memory_mb, virtual_cores: resource.virtual_cores, extended }
}
