//! A client and a server on this machine that prepare in the background and answer requests at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phineus_infer::ProtocolError;
use phineus_infer::plan::Plan;
use phineus_infer::report::Report;
use phineus_infer::session::client::{Prepared, Session};
use phineus_infer::store::{Limits, MemoryStore};
use phineus_model::fixed::Model;
use phineus_model::phn;
use phineus_net::shaped::LinkProfile;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::command::zoo::random_pixels;
use crate::compile;
use crate::failure::Failure;
use crate::options::PlanFlags;
use crate::pair::{self, ServerProcess};

/// A server process, and two sessions of one client with it.
pub(crate) struct Station {
    /// Prepares, and gives way to requests.
    making: Session,
    /// Asks.
    using: Session,
    input: Vec<i32>,
    server: ServerProcess,
    _folder: TempDir,
}

/// What is prepared in the background.
pub(crate) struct Stock {
    ready: mpsc::UnboundedReceiver<Prepared>,
    places: Arc<Semaphore>,
    /// Whether something is being prepared.
    busy: Arc<AtomicBool>,
    maker: JoinHandle<Result<(), ProtocolError>>,
}

impl Station {
    /// Starts a server for a model and connects.
    pub(crate) async fn open(
        model: &Model,
        flags: &PlanFlags,
        link: Option<LinkProfile>,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("model.phn");
        std::fs::write(&file, phn::write(model))?;
        let server = ServerProcess::start_over(link, &file, flags).await?;
        let shape = compile::shape_of(&model.graph.nodes)?;
        let pixels = random_pixels(shape, 1).into_iter().next();
        let input = model.encode_pixels(&pixels.ok_or_else(|| Failure::new("no input"))?.pixels)?;
        let store = MemoryStore::new(Limits::default(), &mut rand::rng());
        let mut making = pair::connect_over(link, &store, &server.address, flags).await?;
        making.set_background();
        let using = pair::connect_over(link, &store, &server.address, flags).await?;
        Ok(Self { making, using, input, server, _folder: folder })
    }

    /// What both parties agreed on.
    pub(crate) fn plan(&self) -> &Plan {
        self.making.plan()
    }

    /// `count` inferences one after the other whose pre-computes are made `bulk` at a time, with nothing else going on; the
    /// first bulk, which also sets the session up, is not reported.
    pub(crate) async fn probe(&mut self, count: usize, bulk: usize) -> Result<Vec<Report>, Failure> {
        let mut reports = Vec::new();
        while reports.len() < count + bulk {
            for prepared in prepare(&mut self.making, bulk).await? {
                reports.push(self.using.infer(prepared, &self.input).await?.report);
            }
        }
        Ok(reports.split_off(bulk))
    }

    /// Prepares from now on, `bulk` at a time, whenever there is room for them among `room`.
    pub(crate) fn stock_up(self, room: usize, bulk: usize) -> (Desk, Stock) {
        let Self { mut making, using, input, server, _folder } = self;
        let (stock, ready) = mpsc::unbounded_channel();
        let bulk = bulk.clamp(1, room.max(1));
        let places = Arc::new(Semaphore::new(room));
        let busy = Arc::new(AtomicBool::new(false));
        let (free, preparing) = (places.clone(), busy.clone());
        let maker = tokio::spawn(async move {
            while let Ok(taken) = free.acquire_many(u32::try_from(bulk).unwrap_or(u32::MAX)).await {
                taken.forget();
                preparing.store(true, Ordering::Relaxed);
                let made = prepare(&mut making, bulk).await?;
                preparing.store(false, Ordering::Relaxed);
                for prepared in made {
                    if stock.send(prepared).is_err() {
                        // Nobody asks any more.
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        (Desk { using, input, _server: server, _folder }, Stock { ready, places, busy, maker })
    }
}

/// Where requests are answered.
pub(crate) struct Desk {
    using: Session,
    input: Vec<i32>,
    _server: ServerProcess,
    _folder: TempDir,
}

impl Desk {
    /// One request.
    pub(crate) async fn answer(&mut self, prepared: Prepared) -> Result<Report, Failure> {
        Ok(self.using.infer(prepared, &self.input).await?.report)
    }
}

impl Stock {
    /// Whether a pre-compute is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether something is being prepared.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// A request that took from it is answered: its place is free again. What would be prepared there before would only stand
    /// still.
    pub(crate) fn answered(&self) {
        self.make_room(1);
    }

    /// Adds places.
    pub(crate) fn make_room(&self, places: usize) {
        self.places.add_permits(places);
    }

    /// Waits until so many are there, or nothing is prepared any more.
    pub(crate) async fn filled(&self, count: usize) {
        while self.ready.len() < count && !self.maker.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for one and takes it.
    pub(crate) async fn take(&mut self) -> Result<Prepared, Failure> {
        match self.ready.recv().await {
            Some(prepared) => Ok(prepared),
            // It ended before its time: the reason is more telling.
            None => match (&mut self.maker).await {
                Ok(Err(error)) => Err(error.into()),
                _ => Err(Failure::new("nothing is prepared any more")),
            },
        }
    }

    /// Prepares no more.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        self.places.close();
        self.ready.close();
        self.maker.await.map_err(|e| Failure::new(e.to_string()))?.map_err(Failure::from)
    }
}

async fn prepare(session: &mut Session, bulk: usize) -> Result<Vec<Prepared>, ProtocolError> {
    let mut all = Vec::with_capacity(bulk);
    let keep = |prepared| {
        all.push(prepared);
        Ok(())
    };
    session.prepare_many(bulk, keep).await?;
    Ok(all)
}
