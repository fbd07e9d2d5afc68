//! Calls against a scripted peer over loopback: answers in pieces, rejects, silence, nonsense, closes.

use heddle_wire::application_client::{
    GetClusterMetricsRequest, GetClusterMetricsResponse, GetClusterNodesRequest, GetClusterNodesResponse,
};
use heddle_wire::message::write_reject;
use heddle_wire::record::NodeId;
use heddle_wire::{Reject, write_frame};

use super::*;
use crate::client::AdminClient;
use crate::pki::{Authority, Role};

const OPTIONS: ClientOptions = ClientOptions { timeout: Duration::from_millis(1_500) };

/// What the scripted peer does with the n-th request: bytes to write, in pieces, or a close.
enum Act {
    Write(Vec<Vec<u8>>),
    Close(u32, &'static str),
}

fn metrics(shard_count: u32) -> GetClusterMetricsResponse {
    GetClusterMetricsResponse { shard_count, running_containers: 7, ..Default::default() }
}

fn answer(id: u64, flags: Flags, shard_count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, flags, id, 0, &metrics(shard_count));
    bytes
}

async fn serve(endpoint: Endpoint, script: impl Fn(usize, Frame<'_>) -> Act) {
    let Some(incoming) = endpoint.accept().await else { return };
    let Ok(connection) = incoming.await else { return };
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let mut decoder = FrameDecoder::new();
    let mut count = 0;
    while let Ok(Some(chunk)) = recv.read_chunk(CHUNK_SIZE_MAX, true).await {
        let (mut acts, mut left) = (Vec::new(), chunk.bytes.len());
        while left > 0 {
            let mut input = &chunk.bytes[chunk.bytes.len() - left..];
            if let Some(frame) = decoder.next_frame(&mut input).unwrap() {
                acts.push(script(count, frame));
                count += 1;
            }
            left = input.len();
        }
        for act in acts {
            match act {
                Act::Write(pieces) => {
                    for piece in pieces {
                        send.write_all(&piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
                Act::Close(code, reason) => connection.close(VarInt::from_u32(code), reason.as_bytes()),
            }
        }
    }
}

/// Runs `test` with an address where `script` answers.
fn with_peer<F: Future<Output = ()>>(
    script: impl Fn(usize, Frame<'_>) -> Act,
    test: impl FnOnce(Identity, SocketAddr) -> F,
) {
    let authority = Authority::create("test").unwrap();
    let server = authority.issue(Role::ResourceManager, "rm1").unwrap();
    let client = authority.issue(Role::Admin, "ops").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = quinn::ServerConfig::with_crypto(Arc::new(server.server_crypto().unwrap()));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = endpoint.local_addr().unwrap();
        tokio::select! {
            () = test(client, address) => {}
            () = async { serve(endpoint, script).await; std::future::pending().await } => {}
        }
    });
}

#[test]
fn an_answer_in_pieces_behind_a_push_and_a_stale_answer_is_found() {
    let script = |_: usize, frame: Frame<'_>| {
        let id = frame.header.correlation_id;
        let mut bytes = answer(0, Flags::PUSH, 99);
        bytes.extend(answer(id + 1_000, Flags::RESPONSE, 98));
        bytes.extend(answer(id, Flags::RESPONSE, 3));
        Act::Write(bytes.chunks(11).map(<[u8]>::to_vec).collect())
    };
    with_peer(script, |identity, address| async move {
        let mut client = RpcClient::connect(&identity, address, OPTIONS).await.unwrap();
        for _ in 0..3 {
            let found: GetClusterMetricsResponse =
                client.call(0, &GetClusterMetricsRequest {}).await.unwrap();
            assert_eq!(found, metrics(3));
        }
        client.close().await;
    });
}

#[test]
fn a_reject_arrives_with_code_and_words() {
    let script = |_: usize, frame: Frame<'_>| {
        let mut bytes = Vec::new();
        let reject = Reject::new(RejectCode::RoleNotAllowed, "role client may not send this");
        write_reject(&mut bytes, frame.header.opcode, frame.header.correlation_id, 0, &reject);
        Act::Write(vec![bytes])
    };
    with_peer(script, |identity, address| async move {
        let mut client = AdminClient::connect(&identity, address, OPTIONS).await.unwrap();
        let error = client.recommission(&[NodeId::new("n1", 1)]).await.unwrap_err();
        assert_eq!(error.reject_code(), Some(RejectCode::RoleNotAllowed));
        assert!(error.to_string().contains("may not send this"), "{error}");
    });
}

#[test]
fn silence_is_a_timeout_and_the_late_answer_does_no_harm() {
    let script = |count: usize, frame: Frame<'_>| {
        let id = frame.header.correlation_id;
        if count == 0 {
            return Act::Write(Vec::new());
        }
        let mut bytes = answer(id - 1, Flags::RESPONSE, 77);
        bytes.extend(answer(id, Flags::RESPONSE, 1));
        Act::Write(vec![bytes])
    };
    with_peer(script, |identity, address| async move {
        let options = OPTIONS.with_timeout(Duration::from_millis(300));
        let mut client = RpcClient::connect(&identity, address, options).await.unwrap();
        let first = client.call::<_, GetClusterMetricsResponse>(0, &GetClusterMetricsRequest {}).await;
        assert!(matches!(first, Err(ClientError::TimedOut { .. })), "{first:?}");
        let second = client.call::<_, GetClusterMetricsResponse>(0, &GetClusterMetricsRequest {}).await;
        assert_eq!(second.unwrap(), metrics(1));
    });
}

#[test]
fn nonsense_is_named() {
    let script = |count: usize, frame: Frame<'_>| {
        let id = frame.header.correlation_id;
        match count {
            0 => {
                let mut bytes = Vec::new();
                write_frame(&mut bytes, Flags::RESPONSE, id, 0, &GetClusterNodesResponse::default());
                Act::Write(vec![bytes])
            }
            1 => {
                let mut bytes = answer(id, Flags::RESPONSE, 1);
                let end = bytes.len();
                bytes[heddle_wire::HEADER_SIZE..end].fill(0xff);
                Act::Write(vec![bytes])
            }
            _ => Act::Write(vec![b"HTTP/1.1 400 Bad Request, and more than thirty-two bytes".to_vec()]),
        }
    };
    with_peer(script, |identity, address| async move {
        let mut client = RpcClient::connect(&identity, address, OPTIONS).await.unwrap();
        let mut next = async || {
            client.call::<_, GetClusterMetricsResponse>(0, &GetClusterMetricsRequest {}).await.unwrap_err()
        };
        let error = next().await;
        assert!(matches!(error, ClientError::Unexpected { .. }), "{error:?}");
        let error = next().await;
        assert!(matches!(error, ClientError::Decode(_)), "{error:?}");
        let error = next().await;
        assert!(matches!(error, ClientError::Frame(FrameError::BadMagic { .. })), "{error:?}");
    });
}

#[test]
fn a_close_is_told_with_its_reason() {
    let script = |_: usize, _: Frame<'_>| Act::Close(RejectCode::SlowReader as u32, "too slow");
    with_peer(script, |identity, address| async move {
        let mut client = RpcClient::connect(&identity, address, OPTIONS).await.unwrap();
        let error =
            client.call::<_, GetClusterMetricsResponse>(0, &GetClusterMetricsRequest {}).await.unwrap_err();
        assert_eq!(error.reject_code(), Some(RejectCode::SlowReader));
        assert!(error.to_string().contains("too slow"), "{error}");
    });
}

#[test]
fn a_listing_walks_shards_and_pages_and_ends() {
    let script = |_: usize, frame: Frame<'_>| {
        let request: GetClusterNodesRequest = heddle_wire::decode(frame.body()).unwrap();
        let shard = frame.header.routing_key >> 56;
        // Shard 0 has three pages, shard 1 one; asked for a node it does not go forward.
        let next_row = match (shard, request.start_row) {
            _ if !request.node_ids.is_empty() => Some(0),
            (0, 0) => Some(10),
            (0, 10) => Some(20),
            _ => None,
        };
        let page = GetClusterNodesResponse { shard_count: 2, next_row, nodes: Vec::new() };
        let mut bytes = Vec::new();
        write_frame(&mut bytes, Flags::RESPONSE, frame.header.correlation_id, 0, &page);
        Act::Write(vec![bytes])
    };
    with_peer(script, |identity, address| async move {
        let mut client = AdminClient::connect(&identity, address, OPTIONS).await.unwrap();
        assert!(client.nodes(&[], &[]).await.unwrap().is_empty());
        let error = client.nodes(&[], &[NodeId::new("n1", 0)]).await.unwrap_err();
        assert!(error.to_string().contains("next_row"), "{error}");
    });
}

#[test]
fn metrics_are_added_up_over_shards() {
    let script = |_: usize, frame: Frame<'_>| {
        Act::Write(vec![answer(frame.header.correlation_id, Flags::RESPONSE, 4)])
    };
    with_peer(script, |identity, address| async move {
        let mut client = AdminClient::connect(&identity, address, OPTIONS).await.unwrap();
        let found = client.cluster_metrics().await.unwrap();
        assert_eq!((found.running_containers, found.shard_count), (28, 4));
    });
}

#[test]
fn a_foreign_authority_is_a_matter_of_trust_and_nobody_there_of_reach() {
    let never = |_: usize, _: Frame<'_>| Act::Write(Vec::new());
    with_peer(never, |_, address| async move {
        let stranger = Authority::create("other").unwrap().issue(Role::Admin, "ops").unwrap();
        let error = RpcClient::connect(&stranger, address, OPTIONS).await.unwrap_err();
        assert!(matches!(error, ClientError::NotTrusted { .. }), "{error:?}");

        // A bound socket that nobody reads: the port is certainly free of ResourceManagers.
        let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let options = OPTIONS.with_timeout(Duration::from_millis(200));
        let error = RpcClient::connect(&stranger, silent.local_addr().unwrap(), options).await.unwrap_err();
        assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
    });
}
