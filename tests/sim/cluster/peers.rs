//! The peers of a whole cluster: nodes, ApplicationMasters and clients, when they speak and what they want of each other.
//! Owns: the part of [`World`] that speaks for them. Called by: the run's loop. Thread: the run's.
//! Does not: know roles, or judge. Invariants: what a peer wrote goes out frame by frame; a new stream begins before the
//! first frame on it.

use heddle_wire::Opcode;
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::frame::Frame;
use heddle_wire::{Flags, decode, write_frame};

use super::kinds::Happening;
use super::plan::host_of;
use super::world::{Event, Link, World, tell};
use crate::describe;

impl World {
    /// A slot has a new owner: its stream is a new one.
    pub(super) fn renew(&mut self, slot: u32) {
        let link = Link::Master(slot);
        self.stream_paths.drop_connection(link.index());
        self.stream_paths.connect(link.index());
        self.masters.connected(slot);
    }

    pub(super) fn step_peers(&mut self) -> Result<(), String> {
        self.swept_us = self.now_us;
        let mut due = Vec::new();
        self.fleet.due(self.now_us, usize::MAX, &mut due);
        for node in due.drain(..) {
            self.write_node(node)?;
        }
        self.exchange()?;
        self.masters.due(self.now_us, usize::MAX, &mut due);
        for slot in due.drain(..) {
            self.write_master(slot)?;
        }
        self.client.due(self.now_us, usize::MAX, &mut due);
        for application in due {
            self.write_client(application)?;
        }
        let mut bytes = Vec::new();
        if self.client.write_look(self.now_us, &mut bytes) {
            self.send_to_rm(Link::Client(0), bytes)?;
        }
        Ok(())
    }

    fn write_node(&mut self, node: u32) -> Result<(), String> {
        let mut bytes = Vec::new();
        self.fleet.write(node, self.now_us, &mut bytes);
        // A copy sent on purpose is a frame of its own.
        for frame in frames(&bytes)? {
            self.send_to_rm(Link::Node(node), frame)?;
        }
        Ok(())
    }

    pub(super) fn write_master(&mut self, slot: u32) -> Result<(), String> {
        let mut bytes = Vec::new();
        self.masters.write(slot, self.now_us, &mut bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let bytes = self.meddle(slot, bytes)?;
        tell!(self, "master in slot {slot} -> {}", describe::frame(&bytes));
        self.send_to_rm(Link::Master(slot), bytes)
    }

    /// An ApplicationMaster that is choosy about its hosts, or whose owner loses patience at the last moment.
    fn meddle(&mut self, slot: u32, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        let frame = Frame::from_slice(&bytes).map_err(|error| error.to_string())?;
        let header = frame.header;
        match header.opcode {
            Opcode::FinishApplicationMaster
                if self.plan.kills_finishing && !self.is_healed && self.chance.hits(400) =>
            {
                if let Some(id) = self.masters.am(slot).map(|am| am.attempt_id().application_id) {
                    self.tally.hit(Happening::KilledFinishing);
                    self.kill_application(id)?;
                }
            }
            Opcode::Allocate if self.plan.has_blacklists && (self.is_healed || self.chance.hits(200)) => {
                let mut request: AllocateRequest = decode(frame.body()).map_err(|error| error.to_string())?;
                if self.is_healed {
                    request.blacklist_removals = (0..self.plan.nodes).map(host_of).collect();
                } else {
                    self.tally.hit(Happening::Blacklisted);
                    let host = host_of(self.chance.below(u64::from(self.plan.nodes)) as u32);
                    let is_added = self.chance.hits(600);
                    let list = if is_added {
                        &mut request.blacklist_additions
                    } else {
                        &mut request.blacklist_removals
                    };
                    list.push(host);
                }
                let mut changed = Vec::new();
                write_frame(
                    &mut changed,
                    Flags::REQUEST,
                    header.correlation_id,
                    header.routing_key,
                    &request,
                );
                return Ok(changed);
            }
            _ => {}
        }
        Ok(bytes)
    }

    fn write_client(&mut self, application: u32) -> Result<(), String> {
        let mut bytes = Vec::new();
        if self.client.write(application, self.now_us, &mut bytes) {
            self.send_to_rm(Link::Client(self.client.user_of(application)), bytes)?;
        }
        Ok(())
    }

    /// What nodes and ApplicationMasters want of each other.
    pub(super) fn exchange(&mut self) -> Result<(), String> {
        loop {
            let outbox = core::mem::take(&mut self.masters.outbox);
            for start in &outbox.starts {
                self.fleet.start_task(self.now_us, start);
            }
            outbox.exits.iter().for_each(|exit| self.fleet.exit(exit));
            let Some(handover) = self.fleet.handover().map(core::mem::take) else { return Ok(()) };
            if handover.launches.is_empty() && handover.killed.is_empty() && handover.removed.is_empty() {
                return Ok(());
            }
            for (node, order) in handover.launches {
                let attempt_id = order.container_id.application_attempt_id;
                tell!(self, "a node launches {}", order.container_id);
                self.tally.hit(Happening::MasterLaunched);
                self.seen.note_master(attempt_id, Some((order.container_id, node)));
                let Some(slot) = self.masters.launch(self.now_us, node, &order) else {
                    return Err(format!("{attempt_id} is launched and is nobody's"));
                };
                self.renew(slot);
            }
            for id in &handover.killed {
                self.masters.container_killed(id);
            }
            for id in &handover.removed {
                if !self.seen.is_gone(&id.application_attempt_id) && !self.seen.is_told(id) {
                    self.masters.container_removed(id);
                }
            }
        }
    }

    /// A connection ends; it is there again a little later.
    pub(super) fn cut(&mut self, link: Link) {
        tell!(self, "the stream of {link:?} is cut");
        self.paths(link).drop_connection(link.index());
        let after_us = self.chance.between(1_000, 1_500_000);
        self.after(after_us, Event::Reconnect(link));
    }

    pub(super) fn reconnect(&mut self, link: Link) -> Result<(), String> {
        let now_us = self.now_us;
        if self.paths(link).is_up(link.index()) {
            return Ok(());
        }
        self.paths(link).connect(link.index());
        let mut due = Vec::new();
        match link {
            Link::Node(node) => {
                self.fleet.reconnect(node, now_us, &mut due);
                due.into_iter().try_for_each(|node| self.write_node(node))
            }
            Link::Master(slot) => {
                self.masters.reconnect(slot, &mut due);
                due.into_iter().try_for_each(|slot| self.write_master(slot))
            }
            Link::Client(user) => {
                let users = u32::try_from(self.client.users().len()).unwrap_or(1);
                due.extend(self.client.awaiting(user, users));
                due.into_iter().try_for_each(|application| self.write_client(application))
            }
            Link::Admin | Link::Stranger => Ok(()),
        }
    }
}

/// Frames of a piece of a stream.
fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let (mut decoder, mut input) = (heddle_wire::FrameDecoder::new(), bytes);
    let mut found = Vec::new();
    while let Some(frame) = decoder.next_frame(&mut input).map_err(|error| error.to_string())? {
        found.push(frame.bytes.to_vec());
    }
    Ok(found)
}
