//! One connection and its streams: from chunks to frames to the owning role.
//! Owns: the reading half of every stream, the peer's identity. Called by: the accept loop, one task per connection and
//! one per stream. Thread: one `rm-net-N`. Does not: write answers (the stream table does), decide anything about nodes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use heddle_wire::error::FrameError;
use heddle_wire::frame::{Frame, HEADER_SIZE};
use heddle_wire::message::{write_frame_error, write_reject};
use heddle_wire::{Flags, FrameDecoder, FrameHeader, Opcode, Reject, RejectCode, WriteMessage};
use quinn::{Connection, RecvStream};

use super::administered_nodes::{NodeCalls, named_nodes};
use super::files_service::{AdministratorCall, FilesDoor, Refreshed};
use super::net::Net;
use super::node_lists_service::{NodeListsDoor, RefreshError};
use super::pace::Pace;
use super::router::{Route, route};
use super::stream_table::close_for;
use crate::engine::batch::{Caller, StreamRef};
use crate::pki::PeerIdentity;
use crate::ring::Full;

/// Chunks taken from QUIC at once. A relay's write of 64 beats is about seven packets.
const CHUNKS: usize = 8;

/// How long a peer whose bytes were no frames may take to read why.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the answers to a peer that has finished may take.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(10);

/// Doors to services that read files.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) node_lists: NodeListsDoor,
    pub(crate) files: FilesDoor,
}

/// What the streams of a connection share.
pub(super) struct Peer {
    pub(super) identity: PeerIdentity,
    /// The same for roles that decide by user names.
    pub(super) caller: Caller,
    pub(super) connection: Connection,
    pub(super) doors: Doors,
    /// Over all streams of the connection.
    pub(super) pace: RefCell<Pace>,
    /// The same.
    pub(super) node_calls: RefCell<NodeCalls>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(net: Rc<Net>, peer: Rc<Peer>) {
    loop {
        match peer.connection.accept_bi().await {
            Ok((send, recv)) => {
                let stream = net.streams.borrow_mut().open(peer.connection.clone(), send);
                tokio::task::spawn_local(serve_stream(Rc::clone(&net), Rc::clone(&peer), recv, stream));
            }
            Err(reason) => {
                tracing::debug!(peer = %peer.identity.uri(), %reason, "connection ended");
                return;
            }
        }
    }
}

async fn serve_stream(net: Rc<Net>, peer: Rc<Peer>, mut recv: RecvStream, stream: StreamRef) {
    let mut decoder = FrameDecoder::new();
    let mut chunks: [Bytes; CHUNKS] = Default::default();
    // Requests handed to roles and services, each of which is answered once.
    let mut requests = 0_u64;
    loop {
        // A connection that broke is no event for the node: its silence is what counts.
        let count = match recv.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => {
                if let Err(error) = decoder.finish() {
                    refuse_frame(&net, &peer, stream, &error);
                }
                // The peer has said all it will: it is answered all it asked, then we finish too.
                let waiting = net.streams.borrow_mut().wait_for_answers(stream, requests);
                if let Some(answered) = waiting {
                    let _ = tokio::time::timeout(LAST_ANSWERS_TIMEOUT, answered.notified()).await;
                }
                break;
            }
            Err(_) => break,
        };
        let mut frames = 0;
        for chunk in chunks.iter_mut().take(count) {
            let chunk = core::mem::take(chunk);
            net.metrics.bytes_in.add(chunk.len() as u64);
            let mut rest: &[u8] = &chunk;
            loop {
                match decoder.next_frame(&mut rest) {
                    Ok(Some(frame)) => {
                        frames += 1;
                        loop {
                            match take_frame(&net, &peer, stream, &frame) {
                                Ok(Taken::Answered) => break,
                                Ok(Taken::AnsweredLater) => {
                                    requests += 1;
                                    break;
                                }
                                // The slow path: every batch is on its way. Wait with this frame in hand.
                                Err(Full(port)) => net.wait_for_room(port).await,
                            }
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        refuse_frame(&net, &peer, stream, &error);
                        if error.is_fatal() {
                            end(&net, &peer, stream, &error).await;
                            return;
                        }
                    }
                }
            }
        }
        net.metrics.frames_in.add(u64::from(frames));
        net.after_read();
        let wait = peer.pace.borrow_mut().after(frames, tokio::time::Instant::now);
        if let Some(wait) = wait {
            net.metrics.paced.increment();
            tokio::time::sleep(wait).await;
        }
    }
    let send = net.streams.borrow_mut().close(stream);
    drop(send);
}

/// What became of a frame.
enum Taken {
    /// The door has answered it.
    Answered,
    /// A role or service will.
    AnsweredLater,
}

/// Hands a frame on.
///
/// # Errors
/// [`Full`] with the port of the role that has no room.
#[inline]
fn take_frame(
    net: &Rc<Net>,
    peer: &Rc<Peer>,
    stream: StreamRef,
    frame: &Frame<'_>,
) -> Result<Taken, Full<usize>> {
    let refused = if net.is_stopping() {
        let mut reject = Reject::new(RejectCode::ShuttingDown, "this ResourceManager is stopping");
        reject.retry_after_ms = 1_000;
        reject
    } else {
        match route(frame, &peer.identity, net.shard_count()) {
            Route::Shard(shard) => {
                return match net.offer(shard, frame.bytes, stream, peer.identity.id) {
                    Ok(()) => Ok(Taken::AnsweredLater),
                    Err(Full(())) => Err(Full(shard)),
                };
            }
            Route::Scheduler(index) => {
                let port = net.scheduler_port(index);
                return match net.offer(port, frame.bytes, stream, peer.identity.id) {
                    Ok(()) => Ok(Taken::AnsweredLater),
                    Err(Full(())) => Err(Full(port)),
                };
            }
            Route::Application => {
                let port = net.application_port();
                return match net.offer_from(port, frame.bytes, stream, &peer.caller) {
                    Ok(()) => Ok(Taken::AnsweredLater),
                    Err(Full(())) => Err(Full(port)),
                };
            }
            Route::Files => {
                refresh_files(net, peer, stream, frame);
                return Ok(Taken::AnsweredLater);
            }
            Route::NodeLists => {
                refresh_nodes(net, peer, stream, frame);
                return Ok(Taken::AnsweredLater);
            }
            Route::ShardIfAdmitted(shard) => {
                administer_shard(net, peer, stream, frame, shard);
                return Ok(Taken::AnsweredLater);
            }
            Route::Refused(reject) => reject,
        }
    };
    refuse(
        net,
        peer,
        stream,
        frame.header.opcode,
        frame.header.correlation_id,
        frame.header.routing_key,
        &refused,
    );
    Ok(Taken::Answered)
}

/// Passes a refresh to its service; the answer comes when every shard has the lists.
fn refresh_nodes(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, frame: &Frame<'_>) {
    let (opcode, body) = (frame.header.opcode, frame.body().to_vec());
    let refreshing = Rc::clone(peer);
    serve_later(net, peer, stream, frame.header, async move {
        let (doors, caller) = (&refreshing.doors, &refreshing.caller);
        let call = AdministratorCall { opcode, caller: caller.clone(), nodes: Box::default() };
        doors.files.check_access(call.clone()).await?;
        let result = doors.node_lists.refresh(&body).await;
        let failure = result.as_ref().err().map(RefreshError::reason);
        doors.files.audit(call, failure).await?;
        let answer = result?;
        Ok(move |bytes: &mut Vec<u8>, header: FrameHeader| respond(bytes, header, &answer))
    });
}

/// Passes an administrator's frame to a shard when the application manager has said that he may; the shard answers. The
/// call is audited with its first frame.
fn administer_shard(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, frame: &Frame<'_>, shard: usize) {
    let (header, bytes) = (frame.header, frame.bytes.to_vec());
    let (net, peer) = (Rc::clone(net), Rc::clone(peer));
    tokio::task::spawn_local(async move {
        let (files, opcode) = (&peer.doors.files, header.opcode);
        let body = bytes.get(HEADER_SIZE..).unwrap_or_default();
        let named = named_nodes(opcode, body);
        let nodes = named.as_ref().map_or_else(|_| Box::default(), Box::clone);
        let call = AdministratorCall { opcode, caller: peer.caller.clone(), nodes };
        let mut admitted = files.check_access(call.clone()).await;
        if let (Ok(()), Err(reject)) = (&admitted, named) {
            let _ = files.audit(call.clone(), Some(reject.message.as_str().into())).await;
            admitted = Err(RefreshError::Refused(reject));
        }
        if let Err(error) = admitted {
            refuse_later(&net, &peer, stream, header, error);
            return net.streams.borrow_mut().note_answers(stream, 1);
        }
        let begins = peer.node_calls.borrow_mut().begins(opcode, shard, net.shard_count(), body);
        while net.offer(shard, &bytes, stream, peer.identity.id).is_err() {
            net.wait_for_room(shard).await;
        }
        if begins {
            // A ResourceManager that stops has nobody left to write it down.
            let _ = files.audit(call, None).await;
        }
    });
}

/// Passes a refresh of the scheduler's files to its service; the answer comes when it is in force.
fn refresh_files(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, frame: &Frame<'_>) {
    let (header, body) = (frame.header, frame.body().to_vec());
    let refreshing = Rc::clone(peer);
    serve_later(net, peer, stream, header, async move {
        let caller = refreshing.caller.clone();
        let answer = refreshing.doors.files.refresh(header.opcode, &body, caller).await?;
        Ok(move |bytes: &mut Vec<u8>, header: FrameHeader| match &answer {
            Refreshed::Queues(answer) => respond(bytes, header, answer),
            Refreshed::AdminAcls(answer) => respond(bytes, header, answer),
            Refreshed::Groups(answer) => respond(bytes, header, answer),
            Refreshed::ClusterMaxPriority(answer) => respond(bytes, header, answer),
        })
    });
}

/// Answers a request when `work` is done, in a task of its own.
fn serve_later<W>(
    net: &Rc<Net>,
    peer: &Rc<Peer>,
    stream: StreamRef,
    header: FrameHeader,
    work: impl Future<Output = Result<W, RefreshError>> + 'static,
) where
    W: FnOnce(&mut Vec<u8>, FrameHeader) + 'static,
{
    let (net, peer) = (Rc::clone(net), Rc::clone(peer));
    tokio::task::spawn_local(async move {
        match work.await {
            Ok(write) => {
                let mut bytes = Vec::new();
                write(&mut bytes, header);
                net.write(stream, &bytes);
            }
            Err(error) => refuse_later(&net, &peer, stream, header, error),
        }
        net.streams.borrow_mut().note_answers(stream, 1);
    });
}

fn refuse_later(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, header: FrameHeader, error: RefreshError) {
    let reject = match error {
        RefreshError::Refused(reject) => reject,
        RefreshError::Stopping => Reject::new(RejectCode::ShuttingDown, "this ResourceManager is stopping"),
    };
    let FrameHeader { opcode, correlation_id, routing_key, .. } = header;
    refuse(net, peer, stream, opcode, correlation_id, routing_key, &reject);
}

/// Appends an answer.
fn respond<M>(bytes: &mut Vec<u8>, header: FrameHeader, answer: &M)
where
    M: WriteMessage,
{
    heddle_wire::write_frame(bytes, Flags::RESPONSE, header.correlation_id, header.routing_key, answer);
}

fn refuse_frame(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, error: &FrameError) {
    net.metrics.reject(error.code() as u16);
    tracing::debug!(peer = %peer.identity.uri(), code = error.code() as u16, reason = %error, "refused");
    let mut bytes = Vec::new();
    // Repeats an opcode number that we do not know.
    write_frame_error(&mut bytes, error);
    net.write(stream, &bytes);
}

fn refuse(
    net: &Rc<Net>,
    peer: &Rc<Peer>,
    stream: StreamRef,
    opcode: Opcode,
    correlation_id: u64,
    routing_key: u64,
    reject: &Reject,
) {
    net.metrics.reject(reject.code);
    tracing::debug!(peer = %peer.identity.uri(), code = reject.code, reason = %reject.message, "refused");
    let mut bytes = Vec::new();
    write_reject(&mut bytes, opcode, correlation_id, routing_key, reject);
    net.write(stream, &bytes);
}

/// Ends a stream whose frame boundaries are lost: the reject is delivered first, then the connection is closed.
async fn end(net: &Rc<Net>, peer: &Rc<Peer>, stream: StreamRef, error: &FrameError) {
    let send = net.streams.borrow_mut().close(stream);
    if let Some(mut send) = send
        && send.finish().is_ok()
    {
        let _ = tokio::time::timeout(DELIVERY_TIMEOUT, send.stopped()).await;
    }
    close_for(&peer.connection, error.code(), &error.to_string());
}
