//! Which nodes an administrator's call names, in words, and which of its frames is the first.
//! Owns: [`named_nodes`] and [`NodeCalls`], how far a connection's call is on its walk over the shards.
//! Called by: stream tasks, for methods that shards carry out. Thread: one `rm-net-N`.
//! Does not: check access, write the audit log, or know which nodes there are.
//! Invariants: no frame is taken for a later part of a call unless the frame to the shard before it, on the same connection,
//! said the same; at most one body is kept per connection.

use heddle_wire::administration::{DecommissionNodesRequest, RecommissionNodesRequest};
use heddle_wire::{Opcode, Reject, RejectCode, access};

use crate::engine::application::nodes_in_words;

/// The nodes a request names, for people: the first few, and how many more there are.
///
/// # Errors
/// What is wrong with the body.
pub(super) fn named_nodes(opcode: Opcode, body: &[u8]) -> Result<Box<str>, Reject> {
    let node_ids = match opcode {
        Opcode::DecommissionNodes => access::<DecommissionNodesRequest>(body)
            .and_then(|request| request.check().map(|()| &request.node_ids)),
        Opcode::RecommissionNodes => access::<RecommissionNodesRequest>(body)
            .and_then(|request| request.check().map(|()| &request.node_ids)),
        other => {
            let text = format!("{} names no nodes", other.name());
            return Err(Reject::new(RejectCode::Internal, text));
        }
    };
    node_ids.map(|node_ids| nodes_in_words(node_ids.iter())).map_err(|error| Reject::from(&error))
}

/// A call goes to every shard in turn, in a frame each; see the module.
#[derive(Debug, Default)]
pub(super) struct NodeCalls {
    /// What the next part of the call would be.
    next: Option<(Opcode, usize)>,
    body: Vec<u8>,
}

impl NodeCalls {
    /// Whether a frame to `shard` begins a call. One that says what the last one said to the shard before goes on with it.
    pub(super) fn begins(&mut self, opcode: Opcode, shard: usize, shard_count: usize, body: &[u8]) -> bool {
        let goes_on = self.next == Some((opcode, shard)) && self.body == body;
        let next = shard + 1;
        if next >= shard_count {
            *self = Self::default();
        } else {
            self.next = Some((opcode, next));
            if !goes_on {
                self.body = body.to_vec();
            }
        }
        !goes_on
    }
}

#[cfg(test)]
mod tests {
    use heddle_wire::record::NodeId;
    use rkyv::rancor::BoxedError;

    use super::*;

    fn body(node_ids: Vec<NodeId>) -> Vec<u8> {
        rkyv::to_bytes::<BoxedError>(&RecommissionNodesRequest { node_ids }).unwrap().to_vec()
    }

    #[test]
    fn the_first_names_are_told_and_how_many_more() {
        let words = |count: u16| {
            let nodes =
                (0..count).map(|index| NodeId::new(format!("n{index}"), if index == 1 { 0 } else { 9 }));
            named_nodes(Opcode::RecommissionNodes, &body(nodes.collect())).unwrap()
        };
        assert_eq!(&*words(0), "");
        assert_eq!(&*words(3), "n0:9,n1,n2:9");
        assert!(words(10).ends_with(",n9:9"));
        assert!(words(1_024).ends_with(",n9:9 and 1014 more"));
    }

    #[test]
    fn a_body_that_is_none_is_refused_before_a_shard_has_it() {
        let code = |opcode, body: &[u8]| named_nodes(opcode, body).unwrap_err().code;
        assert_eq!(code(Opcode::DecommissionNodes, &[1, 2, 3]), RejectCode::BadBody as u16);
        let spaced = body(vec![NodeId::new("a b", 1)]);
        assert_eq!(code(Opcode::RecommissionNodes, &spaced), RejectCode::BadField as u16);
    }

    #[test]
    fn only_the_same_words_to_the_next_shard_go_on_with_a_call() {
        let (out, back) = (Opcode::DecommissionNodes, Opcode::RecommissionNodes);
        let mut calls = NodeCalls::default();
        let mut begins = |opcode, shard, body: &[u8]| calls.begins(opcode, shard, 3, body);
        assert_eq!([0, 1, 2].map(|shard| begins(out, shard, b"n1")), [true, false, false]);
        // The same again is a call of its own.
        assert_eq!([0, 1, 2].map(|shard| begins(out, shard, b"n1")), [true, false, false]);
        assert_eq!([begins(out, 0, b"n1"), begins(out, 1, b"n2")], [true, true], "other nodes");
        assert_eq!(
            [begins(back, 2, b"n2"), begins(back, 2, b"n2")],
            [true, true],
            "another method; no shard follows"
        );
        assert_eq!([begins(out, 0, b"n1"), begins(out, 2, b"n1")], [true, true], "a shard was left out");
    }
}
