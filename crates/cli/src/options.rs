//! Flags that settle how a network is run: engine, rounding, transfers, and the link that is planned for.

use phineus_infer::plan::{Engine, Link, Offer, Options, Precision, Rounding, Transfers, Wishes};
use phineus_net::shaped::LinkProfile;
use tokio::process::Command;

/// Of commands that are both parties, or that only plan.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct PlanFlags {
    /// What runs the non-linear layers: delphi, client-garbler, ot, auto; or he: the whole network under encryption.
    #[arg(long, default_value_t)]
    engine: Engine,
    /// exact, or stochastic: off by at most one unit per rescale.
    #[arg(long, default_value_t)]
    rounding: Rounding,
    /// How oblivious transfers are made: softspoken, silent, auto.
    #[arg(long, default_value_t)]
    transfers: Transfers,
    /// Plan for this link: lan, metro, wan, or rate and round trip as in 100Mbps,40ms. By default the imitated one, if
    /// there is one.
    #[arg(long)]
    plan_link: Option<LinkProfile>,
    /// With `--engine he`: bits of the scale at least, 16 to 25; fewer are faster and less precise.
    #[arg(long, default_value_t)]
    precision: Precision,
}

impl PlanFlags {
    /// Which engine.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// The options, for a link that is imitated or not.
    pub(crate) fn options(&self, link: Option<LinkProfile>) -> Options {
        let Self { engine, rounding, transfers, plan_link, precision } = *self;
        Options {
            engine,
            rounding,
            transfers,
            link: plan_link.or(link).map_or_else(Link::default, Link::from),
            precision,
            ..Options::default()
        }
    }

    /// The same for another engine.
    pub(crate) fn with_engine(&self, engine: Engine) -> Self {
        Self { engine, ..self.clone() }
    }

    /// The link that is planned for, where it is named.
    pub(crate) fn link(&self) -> Option<LinkProfile> {
        self.plan_link
    }

    /// What the client of such a pair wishes for.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes { engine: Some(self.engine), rounding: Some(self.rounding), ..Wishes::default() }
    }

    /// Makes a `phineus infer` wish for this.
    pub(crate) fn infer(&self, command: &mut Command) {
        command.args(["--engine", self.engine.name(), "--rounding", self.rounding.name()]);
    }

    /// Makes a `phineus serve` offer exactly this.
    pub(crate) fn serve(&self, command: &mut Command) {
        let Self { engine, rounding, transfers, plan_link, precision } = self;
        command.args(["--engine", engine.name(), "--rounding", rounding.name()]);
        command.args(["--transfers", transfers.name(), "--precision", &precision.to_string()]);
        if let Some(link) = plan_link {
            command.args(["--plan-link", &link.to_string()]);
        }
    }
}

/// Of a server.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct OfferFlags {
    /// Engines that clients may choose from, the default one first: delphi, client-garbler, ot, auto, and he, which
    /// evaluates whole networks under encryption. All by default.
    #[arg(long, value_delimiter = ',')]
    engine: Vec<Engine>,
    /// Roundings that clients may choose from: exact, stochastic. Exact alone by default.
    #[arg(long, value_delimiter = ',')]
    rounding: Vec<Rounding>,
    /// How oblivious transfers are made: softspoken, silent, auto.
    #[arg(long, default_value_t)]
    transfers: Transfers,
    /// Links that there are plans for, the default one first; a client gets the nearest. By default the imitated one, if
    /// there is one, then lan, metro and wan.
    #[arg(long)]
    plan_link: Vec<LinkProfile>,
    /// Of networks under encryption: bits of the scale at least, 16 to 25; fewer are faster and less precise.
    #[arg(long, default_value_t)]
    precision: Precision,
}

impl OfferFlags {
    /// What is offered over a link that is imitated or not.
    pub(crate) fn offer(&self, link: Option<LinkProfile>) -> Offer {
        let known = Offer::default();
        let links = if self.plan_link.is_empty() {
            link.map(Link::from).into_iter().chain(known.links).collect()
        } else {
            self.plan_link.iter().copied().map(Link::from).collect()
        };
        Offer {
            engines: if self.engine.is_empty() { known.engines } else { self.engine.clone() },
            roundings: if self.rounding.is_empty() { known.roundings } else { self.rounding.clone() },
            links,
            transfers: self.transfers,
            forms: known.forms,
            precision: self.precision,
        }
    }
}

/// Of a client.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct WishFlags {
    /// Insist on this engine for the non-linear layers: delphi, client-garbler, ot, auto; or on he, the whole network under
    /// encryption. The server chooses by default.
    #[arg(long)]
    engine: Option<Engine>,
    /// Accept this rounding: exact, or stochastic, which is off by at most one unit per rescale.
    #[arg(long)]
    rounding: Option<Rounding>,
    /// Tell the server to plan for a link like this one: lan, metro, wan, or rate and round trip as in 100Mbps,40ms.
    #[arg(long)]
    plan_link: Option<LinkProfile>,
}

impl WishFlags {
    /// The wishes.
    pub(crate) fn wishes(&self) -> Wishes {
        let Self { engine, rounding, plan_link } = *self;
        Wishes { engine, rounding, link: plan_link.map(Link::from), ..Wishes::default() }
    }
}
