//! The life of a net thread: runtime, endpoint, accept loop, and an end that delivers what was accepted.
//! Owns: [`NetThread`]. Called by: `runtime::topology`. Thread: it is `rm-net-N`. Does not: share anything but its ports.

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use heddle_wire::RejectCode;
use quinn::VarInt;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::watch;

use super::connection::Doors;
use super::endpoint::{Acceptor, ResetSecret, endpoint};
use super::files_service::FilesService;
use super::net::Net;
use super::node_lists_service::NodeListsService;
use crate::config::TransportSettings;
use crate::metrics::{RoleMetrics, TransportMetrics};
use crate::runtime::clock::Clock;
use crate::runtime::proxy::{NetWaker, RolePort};

/// How long the engine may take to answer what was accepted before the stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long peers may take to acknowledge the last answers.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    /// This thread's state, for the runtime's before-park hook, which is given nothing.
    static NET: RefCell<Option<Rc<Net>>> = const { RefCell::new(None) };
}

/// What a net thread is made of.
pub(crate) struct NetThreadParts {
    pub(crate) index: u8,
    pub(crate) socket: UdpSocket,
    pub(crate) server_config: quinn::ServerConfig,
    pub(crate) reset_secret: ResetSecret,
    pub(crate) ports: Vec<RolePort>,
    pub(crate) waker: Arc<NetWaker>,
    pub(crate) metrics: Arc<TransportMetrics>,
    pub(crate) role_metrics: Arc<RoleMetrics>,
    pub(crate) settings: TransportSettings,
    pub(crate) doors: Doors,
    /// Only the first net thread has them.
    pub(crate) services: Option<(NodeListsService, FilesService)>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Told when the endpoint is open, or why it is not.
    pub(crate) open: SyncSender<io::Result<()>>,
    pub(crate) clock: Clock,
}

/// A net thread.
pub(crate) struct NetThread(NetThreadParts);

impl NetThread {
    pub(crate) const fn new(parts: NetThreadParts) -> Self {
        Self(parts)
    }

    /// Runs until stopped. Call it on the thread that is to be the net thread.
    ///
    /// # Errors
    /// Where the runtime or the endpoint cannot be made.
    pub(crate) fn run(self) -> io::Result<()> {
        let parts = self.0;
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => return refuse_to_open(&parts.open, error),
        };
        let net = Net::new(
            parts.index,
            parts.ports,
            Arc::clone(&parts.waker),
            Arc::clone(&parts.metrics),
            &parts.settings,
            parts.clock,
        );
        NET.with(|slot| *slot.borrow_mut() = Some(Rc::clone(&net)));
        let waker = parts.waker;
        let result = runtime.block_on(async {
            let endpoint = match endpoint(parts.socket, Some(parts.server_config), Some(&parts.reset_secret))
            {
                Ok(endpoint) => endpoint,
                Err(error) => return refuse_to_open(&parts.open, error),
            };
            // Whoever started us waits for this; if it is gone, so are we soon.
            let _ = parts.open.send(Ok(()));
            let acceptor = Acceptor {
                net: Rc::clone(&net),
                endpoint: endpoint.clone(),
                settings: Rc::new(parts.settings),
                doors: parts.doors,
                clock: parts.clock,
            };
            let accepting = tokio::task::spawn_local(acceptor.run());
            if let Some((node_lists, files)) = parts.services {
                tokio::task::spawn_local(node_lists.run());
                tokio::task::spawn_local(files.run());
            }
            tokio::task::spawn_local(publish(Rc::clone(&net), parts.role_metrics));
            let woken = {
                let net = Rc::clone(&net);
                tokio::task::spawn_local(async move {
                    loop {
                        waker.woken().await;
                        net.turn();
                    }
                })
            };
            let mut stop = parts.stop;
            // An error means that whoever could stop us is gone: that is a stop too.
            let _ = stop.wait_for(|is_stopping| *is_stopping).await;
            accepting.abort();
            end(&net, &endpoint).await;
            woken.abort();
            Ok(())
        });
        NET.with(|slot| *slot.borrow_mut() = None);
        result
    }
}

/// Says why the door stays shut.
fn refuse_to_open(open: &SyncSender<io::Result<()>>, error: io::Error) -> io::Result<()> {
    let _ = open.send(Err(io::Error::new(error.kind(), error.to_string())));
    Err(error)
}

fn runtime() -> io::Result<LocalRuntime> {
    let on_net = |act: fn(&Rc<Net>)| {
        NET.with(|slot| {
            if let Ok(slot) = slot.try_borrow()
                && let Some(net) = slot.as_ref()
            {
                act(net);
            }
        });
    };
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .on_thread_park(move || on_net(Net::before_park))
        .on_thread_unpark(move || on_net(|net| net.after_park()))
        .build_local(LocalOptions::default())
}

/// Publishes now and then.
async fn publish(net: Rc<Net>, role: Arc<RoleMetrics>) {
    let mut tick = tokio::time::interval(crate::runtime::duty_cycle::PUBLISH_EVERY);
    loop {
        tick.tick().await;
        // A thread that never finds its queue empty never parks: this bounds how long a frame waits then.
        net.turn();
        net.publish(&role);
    }
}

/// Stops: no new requests, every accepted one answered, every answer delivered or its peer given up.
async fn end(net: &Rc<Net>, endpoint: &quinn::Endpoint) {
    net.begin_stop();
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
        while !net.is_finished() {
            net.turn();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        net.turn();
    });
    if drained.await.is_err() {
        tracing::error!(?DRAIN_TIMEOUT, "stopping although the engine has not answered everything");
    }
    let deadline = tokio::time::Instant::now() + DELIVERY_TIMEOUT;
    while net.streams.borrow().is_flushing() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut streams = net.streams.borrow_mut().take_all();
    streams.retain_mut(|send| send.finish().is_ok());
    for send in streams {
        if tokio::time::timeout_at(deadline, send.stopped()).await.is_err() {
            break;
        }
    }
    endpoint.close(VarInt::from_u32(RejectCode::ShuttingDown as u32), b"ShuttingDown");
    let _ = tokio::time::timeout(DELIVERY_TIMEOUT, endpoint.wait_idle()).await;
}
