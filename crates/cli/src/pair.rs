//! Server and client as two processes on this machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use phineus_infer::report::Output;
use phineus_infer::session::client::{Request, Session};
use phineus_infer::store::{Limits, MemoryStore, Store};
use phineus_model::fixed::{Model, Reveal};
use phineus_net::shaped::LinkProfile;
use phineus_net::tcp;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::options::PlanFlags;

/// A running `phineus serve`; it ends when this value is dropped.
pub(crate) struct ServerProcess {
    /// Where it listens.
    pub(crate) address: String,
    child: Child,
}

impl ServerProcess {
    /// Starts a server for one compiled model on a free loopback port.
    pub(crate) async fn start(model: &Path, flags: &PlanFlags) -> Result<Self, Failure> {
        Self::start_over(None, model, flags).await
    }

    /// As [`Self::start`]; the server sends as slowly as over `link`. Its clients have to do the same.
    pub(crate) async fn start_over(
        link: Option<LinkProfile>,
        model: &Path,
        flags: &PlanFlags,
    ) -> Result<Self, Failure> {
        let mut command = itself()?;
        command.arg("serve").arg(model).args(["--listen", "127.0.0.1:0", "--until-stdin-closes"]);
        command.args(["--deadline", "600"]);
        flags.serve(&mut command);
        if let Some(link) = link {
            command.args(["--link", &link.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        let first = match &mut lines {
            Some(lines) => lines.next_line().await?,
            None => None,
        };
        let address = first.as_deref().and_then(|line| line.strip_prefix("listening on ")).map(str::to_owned);
        match address {
            Some(address) => Ok(Self { address, child }),
            None => Err(Failure::new("the server process did not start")),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

/// This program, to be run again; killed when its handle is dropped.
pub(crate) fn itself() -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.kill_on_drop(true);
    Ok(command)
}

/// A session with a server of this machine.
pub(crate) async fn connect(address: &str, flags: &PlanFlags) -> Result<Session, Failure> {
    let store = MemoryStore::new(Limits::default(), &mut rand::rng());
    connect_as(&store, address, flags).await
}

/// As [`connect`], for a client that may have several sessions.
pub(crate) async fn connect_as(
    store: &dyn Store,
    address: &str,
    flags: &PlanFlags,
) -> Result<Session, Failure> {
    let mut channel = tcp::connect(address, DEADLINE).await?;
    channel.set_deadline(DEADLINE);
    let request = Request { wishes: flags.wishes(), ..Request::default() };
    Ok(Session::connect(channel, &request, store, &mut rand::rng()).await?)
}

/// Whether a report's output is the reference's, bit for bit.
pub(crate) fn same_output(model: &Model, expected: &[i64], output: &Output) -> bool {
    match model.graph.reveal {
        Reveal::Logits | Reveal::Scores => model.decode_output(expected) == output.logits,
        Reveal::ArgMax => expected.first().and_then(|i| usize::try_from(*i).ok()) == Some(output.argmax),
    }
}

/// Both parties share this machine: a large layer may keep either of them busy for long.
const DEADLINE: Duration = Duration::from_secs(600);
