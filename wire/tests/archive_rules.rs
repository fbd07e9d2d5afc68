//! The archive rules of `PROTOCOL.md` §6, on bodies laid by hand as a writer in another language would lay them.
//! Owns: what is accepted and what is refused of bodies that are not our own. Called by: `cargo test`. Thread: any.
//! Does not: repeat what golden frames show of bodies that are.

use heddle_wire::administration::{DecommissionNodesRequest, RecommissionNodesRequest};
use heddle_wire::application_master::AllocateRequest;
use heddle_wire::record::{NodeId, ResourceName};
use heddle_wire::resource_tracker::{UnRegisterNodeManagerRequest, UnRegisterNodeManagerResponse};
use heddle_wire::{DecodeError, Flags, HEADER_SIZE, RejectCode, decode, write_frame};

const HOSTS: [&str; 2] = ["host-number-one", "host-number-two"];

/// The 8 bytes of a text of `length` bytes at `target`, themselves at `at`.
fn outside(length: u32, target: i32, at: i32) -> Vec<u8> {
    let word = (length & 0x3f) | 0x80 | ((length & !0x3f) << 2);
    [word.to_le_bytes(), (target - at).to_le_bytes()].concat()
}

/// A list of two node ids whose texts lie at `targets`, with `gap` unused bytes before the items.
fn two_nodes(text: &str, targets: [i32; 2], gap: usize) -> Vec<u8> {
    let mut body = text.as_bytes().to_vec();
    body.extend(vec![0xcc; gap]);
    let items = i32::try_from(body.len()).expect("short");
    for (at, target) in [items, items + 10].into_iter().zip(targets) {
        body.extend(outside(15, target, at));
        body.extend(80_u16.to_le_bytes());
    }
    body.extend((-20_i32).to_le_bytes());
    body.extend(2_u32.to_le_bytes());
    body
}

fn read(body: &[u8]) -> Result<RecommissionNodesRequest, DecodeError> {
    decode(body)
}

fn is_refused<T>(result: Result<T, DecodeError>) -> bool {
    result.is_err_and(|error| error.code() == RejectCode::BadBody)
}

#[test]
fn a_body_laid_in_order_is_the_one_we_write() {
    let body = two_nodes(&HOSTS.concat(), [0, 15], 0);
    let record = RecommissionNodesRequest { node_ids: HOSTS.map(|host| NodeId::new(host, 80)).to_vec() };
    let mut frame = Vec::new();
    write_frame(&mut frame, Flags::REQUEST, 1, 2, &record);
    assert_eq!(frame[HEADER_SIZE..], body);
    assert_eq!(read(&body), Ok(record));
}

#[test]
fn gaps_are_allowed() {
    let text = format!("..{}...{}", HOSTS[0], HOSTS[1]);
    let record = read(&two_nodes(&text, [2, 20], 7)).expect("gaps are allowed");
    assert_eq!(record.node_ids[0].host, HOSTS[0]);
    assert_eq!(record.node_ids[1].host, HOSTS[1]);
}

#[test]
fn another_order_and_shared_bytes_are_refused() {
    assert!(is_refused(read(&two_nodes(&HOSTS.concat(), [15, 0], 0))), "the second text before the first");
    assert!(is_refused(read(&two_nodes(&HOSTS.concat(), [0, 0], 0))), "one text pointed to twice");
    assert!(is_refused(read(&two_nodes(&HOSTS.concat(), [0, 14], 0))), "texts that overlap");
    assert!(is_refused(read(&two_nodes(&HOSTS.concat(), [0, 16], 0))), "a text that runs into its own item");
}

#[test]
fn pointers_outside_the_body_are_refused() {
    for target in [-1, -16, i32::MIN / 2, 1_000, i32::MAX / 2] {
        assert!(is_refused(read(&two_nodes(&HOSTS.concat(), [target, 15], 0))), "{target}");
    }
    for length in [3_u32, 1 << 20, u32::MAX] {
        let mut body = two_nodes(&HOSTS.concat(), [0, 15], 0);
        let at = body.len() - 4;
        body[at..].copy_from_slice(&length.to_le_bytes());
        assert!(is_refused(read(&body)), "a list of {length}");
    }
}

#[test]
fn an_empty_list_points_to_where_it_would_be() {
    let list = |offset: i32| [offset.to_le_bytes(), [0; 4]].concat();
    assert_eq!(read(&list(0)), Ok(RecommissionNodesRequest::default()));
    assert!(is_refused(read(&list(1))), "into its own record");
    assert!(is_refused(read(&list(-1))), "before the body");
}

#[test]
fn a_text_has_one_form_for_its_length() {
    let with = |text: &[u8], place: &[u8]| {
        let body = [text, &7_u64.to_le_bytes(), place].concat();
        decode::<UnRegisterNodeManagerRequest>(&body).map(|record| record.reason)
    };
    assert_eq!(with(b"", b"\xff\xff\xff\xff\xff\xff\xff\xff"), Ok(String::new()));
    assert_eq!(with(b"", b"12345678"), Ok("12345678".to_owned()));
    assert_eq!(with(b"", b"12\xff45678"), Ok("12".to_owned()), "what follows the end is not looked at");
    assert_eq!(with(b"123456789", &outside(9, 0, 17)), Ok("123456789".to_owned()));
    assert!(is_refused(with(b"12345678", &outside(8, 0, 16))), "8 bytes lie in place");
    assert!(is_refused(with(b"", b"\xc3\x28345678")), "not UTF-8, in place");
    assert!(is_refused(with(b"12345678\xc3", &outside(9, 0, 17))), "not UTF-8, outside");
    let long = "x".repeat(4_000);
    assert_eq!(with(long.as_bytes(), &outside(4_000, 0, 4_008)), Ok(long.clone()));
}

#[test]
fn a_union_is_its_number_and_what_the_variant_holds() {
    // An ask whose place is written by hand: the union is 9 bytes behind priority and allocation request id.
    let with = |union: &[u8]| {
        let ask: &[u8] = &[
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            union,
            // capability: memory, cores, and an empty list whose items would lie before the ask
            &[0; 12],
            &(-33_i32).to_le_bytes(),
            &[0; 4],
            // count, relax_locality, no label, GUARANTEED, not enforced, no grants seen
            &[3, 0, 0, 0, 1],
            &[0; 9],
            &[1, 0],
            &[0; 9],
        ]
        .concat();
        // The root: numbers, the asks, five empty lists whose items would lie behind the ask, no URL, no token.
        let to_asks = (-16 - i32::try_from(ask.len()).expect("short")).to_le_bytes();
        let empty: Vec<u8> =
            [-24_i32, -32, -40, -48, -56].iter().flat_map(|to| [to.to_le_bytes(), [0; 4]].concat()).collect();
        let body = [ask, &[0; 16], &to_asks, &1_u32.to_le_bytes(), &empty, &[0; 9 + 37]].concat();
        decode::<AllocateRequest>(&body).map(|request| request.asks[0].resource_name.clone())
    };
    assert_eq!(with(&[0; 9]), Ok(ResourceName::Any));
    assert_eq!(with(b"\x00unread!!"), Ok(ResourceName::Any), "what a variant does not hold is not looked at");
    assert_eq!(with(b"\x01/rack-17"), Ok(ResourceName::Rack("/rack-17".to_owned())));
    assert_eq!(with(b"\x02host\xff\xff\xff\xff"), Ok(ResourceName::Host("host".to_owned())));
    assert!(is_refused(with(b"\x03host\xff\xff\xff\xff")), "no such variant");
    assert!(is_refused(with(b"\x02\xc3\x28st\xff\xff\xff\xff")), "not UTF-8");
}

#[test]
fn tags_are_among_those_defined() {
    assert_eq!(decode(&[1]), Ok(UnRegisterNodeManagerResponse { was_known: true }));
    assert!(is_refused(decode::<UnRegisterNodeManagerResponse>(&[2])), "a bool of 2");
    assert!(is_refused(decode::<UnRegisterNodeManagerResponse>(&[])), "no body");
    let body = |kind: u8, option: u8| [&[0; 8][..], &[kind, option], &60_i32.to_le_bytes()].concat();
    let read = |kind, option| decode::<DecommissionNodesRequest>(&body(kind, option));
    assert_eq!(read(1, 1).map(|record| record.decommission_timeout_s), Ok(Some(60)));
    assert_eq!(read(1, 0).map(|record| record.decommission_timeout_s), Ok(None));
    assert!(is_refused(read(0, 0)), "no such variant");
    assert!(is_refused(read(4, 0)), "no such variant");
    assert!(is_refused(read(1, 2)), "an option of 2");
}
