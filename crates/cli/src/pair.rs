//! Server and client as two processes on this machine.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use phineus_infer::plan::{Engine, Options};
use phineus_infer::report::Output;
use phineus_infer::served::Served;
use phineus_infer::session::client::{Request, Session};
use phineus_infer::store::{Limits, MemoryStore, Store};
use phineus_model::fixed::{Model, Reveal};
use phineus_model::reference;
use phineus_net::shaped::LinkProfile;
use phineus_net::{Channel, tcp};
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
    connect_over(None, &store, address, flags).await
}

/// As [`connect`], for a client that may have several sessions, each over an imitated link if there is one.
pub(crate) async fn connect_over(
    link: Option<LinkProfile>,
    store: &dyn Store,
    address: &str,
    flags: &PlanFlags,
) -> Result<Session, Failure> {
    let (read, write) = tcp::halves(tcp::dial(address, DEADLINE).await?, link)?;
    let mut channel = Channel::new(read, write);
    channel.set_deadline(DEADLINE);
    let request = Request { wishes: flags.wishes(), ..Request::default() };
    Ok(Session::connect(channel, &request, store, &mut rand::rng()).await?)
}

/// What private results of a model are compared with.
pub(crate) struct Judge<'m> {
    model: &'m Model,
    /// Under encryption: the same arithmetic in the clear.
    encrypted: Option<Served>,
}

/// How a private result compares.
pub(crate) struct Verdict {
    /// Class of the result in the clear.
    pub(crate) class: usize,
    /// Whether that is the private class.
    pub(crate) same_class: bool,
    /// Whether the private result equals the reference bit for bit; nothing of the kind is promised under encryption.
    pub(crate) equal: Option<bool>,
}

impl<'m> Judge<'m> {
    /// Of results under these options.
    pub(crate) fn new(model: &'m Model, options: &Options) -> Result<Self, Failure> {
        let encrypted = match options.engine {
            Engine::He => Some(Served::new(model.clone(), options, 0)?),
            _ => None,
        };
        Ok(Self { model, encrypted })
    }

    /// Of one result.
    pub(crate) fn verdict(&self, input: &[i32], output: &Output) -> Result<Verdict, Failure> {
        let (graph, reveal) = (&self.model.graph, self.model.graph.reveal);
        if let Some(service) = self.encrypted.as_ref().and_then(Served::service) {
            let input: Vec<f64> = input.iter().map(|&x| f64::from(x) * graph.facts[0].step).collect();
            let class = Output::of_real(graph, &service.clear(&input)).argmax;
            return Ok(Verdict { class, same_class: class == output.argmax, equal: None });
        }
        let expected = reference::run(self.model, input)?;
        let class = Output::of(graph, &expected).argmax;
        let same_class = class == output.argmax;
        let equal = match reveal {
            Reveal::Logits | Reveal::Scores => self.model.decode_output(&expected) == output.logits,
            Reveal::ArgMax => same_class,
        };
        Ok(Verdict { class, same_class, equal: Some(equal) })
    }
}

impl Verdict {
    /// Whether the result is what the engine promises.
    pub(crate) fn kept(&self) -> bool {
        self.equal.unwrap_or(self.same_class)
    }
}

/// Both parties share this machine: a large layer may keep either of them busy for long.
const DEADLINE: Duration = Duration::from_secs(600);
