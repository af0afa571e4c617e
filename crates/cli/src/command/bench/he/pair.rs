//! A client and a server in this process, on both ends of a loopback socket.

use std::sync::Arc;
use std::time::Duration;

use phineus_infer::plan::{Engine, Offer, Options, Precision, Wishes};
use phineus_infer::served::{Catalogue, Served};
use phineus_infer::session::client::{Request, Session};
use phineus_infer::session::server;
use phineus_infer::store::{Limits, MemoryStore};
use phineus_kernel::prg::Prg;
use phineus_net::tcp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::mode::{Mode, Task};
use crate::failure::Failure;
use crate::process;

/// Both ends.
pub(super) struct Pair {
    pub(super) session: Session,
    pub(super) served: Arc<Served>,
    serving: JoinHandle<Result<(), String>>,
}

/// How long a large network may take.
const DEADLINE: Duration = Duration::from_secs(600);

impl Pair {
    pub(super) async fn connect(mode: &Mode, task: &Task) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", mode.name));
        let precision = Precision::new(mode.precision).map_err(|e| failed(&e))?;
        let options = Options { form: mode.form, precision, ..Options::of(Engine::He) };
        let offer =
            Offer { engines: vec![Engine::He], forms: vec![mode.form], precision, ..Offer::default() };
        let mut catalogue = Catalogue::new(offer);
        let served = Served::with_inputs(task.model.clone(), &options, 0, &task.seen);
        catalogue.add(served.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
        let wishes = Wishes { engine: Some(Engine::He), link: Some(options.link), ..Wishes::default() };
        let served = catalogue.find(mode.name, &wishes).map_err(|e| failed(&e))?;

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
            let channel = tcp::from_stream(stream).map_err(|e| e.to_string())?;
            let mut rng = Prg::from_generator(&mut rand::rng());
            let store = MemoryStore::new(Limits::default(), &mut rng);
            let rss = process::peak_rss_bytes;
            let served = server::serve(channel, &catalogue, &store, rss, &mut rng).await;
            served.map(drop).map_err(|e| e.to_string())
        });
        let mut channel = tcp::connect(address, DEADLINE).await?;
        channel.set_deadline(DEADLINE);
        let store = MemoryStore::new(Limits::default(), &mut rand::rng());
        let request = Request { model: mode.name.to_owned(), wishes, ..Request::default() };
        let session = Session::connect(channel, &request, &store, &mut rand::rng()).await;
        Ok(Self { session: session.map_err(|e| failed(&e))?, served, serving })
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
        self.session.close().await.map_err(|e| failed(&e))?;
        self.serving.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }
}
