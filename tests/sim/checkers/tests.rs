//! The checkers' own table, against what the specification says in words.

use heddle_wire::record::NodeState;

use super::{is_active, is_edge};

#[test]
fn nothing_leads_out_of_an_inactive_state_or_back_to_new() {
    for from in NodeState::ALL {
        for to in NodeState::ALL {
            if is_edge(from, to) {
                assert!(is_active(from), "{from:?} -> {to:?}");
                assert!(to != NodeState::New, "{from:?} -> {to:?}");
            }
        }
    }
    assert!(!is_edge(NodeState::Decommissioning, NodeState::Unhealthy), "unhealthy does not change it");
}
