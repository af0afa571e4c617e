//! Flags that settle how a network is run: engine, rounding, transfers, and the link that is planned for.

use std::str::FromStr;

use phineus_infer::plan::{Engine, Link, Offer, Options, Rounding, Transfers, UnknownName, Wishes};
use phineus_net::shaped::LinkProfile;
use tokio::process::Command;

use crate::failure::Failure;

/// An engine as flags name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineName {
    /// One that runs the non-linear layers on shares.
    Shares(Engine),
    /// `he`: the whole network under encryption.
    Encrypted,
}

impl FromStr for EngineName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "he" => Ok(Self::Encrypted),
            _ => name.parse().map(Self::Shares).map_err(|e: UnknownName| format!("{e}, he")),
        }
    }
}

impl EngineName {
    fn shares(self) -> Option<Engine> {
        match self {
            Self::Shares(engine) => Some(engine),
            Self::Encrypted => None,
        }
    }
}

/// Of commands that are both parties, or that only plan.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct PlanFlags {
    /// What runs the non-linear layers: delphi, client-garbler, ot, auto.
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
}

impl PlanFlags {
    /// The options, for a link that is imitated or not.
    pub(crate) fn options(&self, link: Option<LinkProfile>) -> Options {
        let Self { engine, rounding, transfers, plan_link } = *self;
        Options {
            engine,
            rounding,
            transfers,
            link: plan_link.or(link).map_or_else(Link::default, Link::from),
        }
    }

    /// The link that is planned for, where it is named.
    pub(crate) fn link(&self) -> Option<LinkProfile> {
        self.plan_link
    }

    /// What the client of such a pair wishes for.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes { engine: Some(self.engine), rounding: Some(self.rounding), link: None }
    }

    /// Makes a `phineus infer` wish for this.
    pub(crate) fn infer(&self, command: &mut Command) {
        command.args(["--engine", self.engine.name(), "--rounding", self.rounding.name()]);
    }

    /// Makes a `phineus serve` offer exactly this.
    pub(crate) fn serve(&self, command: &mut Command) {
        let Self { engine, rounding, transfers, plan_link } = self;
        command.args(["--engine", engine.name(), "--rounding", rounding.name()]);
        command.args(["--transfers", transfers.name()]);
        if let Some(link) = plan_link {
            command.args(["--plan-link", &link.to_string()]);
        }
    }
}

/// Of a server.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct OfferFlags {
    /// Engines that clients may choose from, the default one first: delphi, client-garbler, ot, auto. All by default.
    /// Or he alone: whole networks under encryption.
    #[arg(long, value_delimiter = ',')]
    engine: Vec<EngineName>,
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
}

impl OfferFlags {
    /// Whether networks are served under encryption, and nothing else.
    pub(crate) fn encrypted(&self) -> Result<bool, Failure> {
        match &self.engine[..] {
            [EngineName::Encrypted] => Ok(true),
            names if names.contains(&EngineName::Encrypted) => {
                Err(Failure::new("--engine he takes a server of its own: name no other engine"))
            }
            _ => Ok(false),
        }
    }

    /// What is offered over a link that is imitated or not.
    pub(crate) fn offer(&self, link: Option<LinkProfile>) -> Offer {
        let known = Offer::default();
        let links = if self.plan_link.is_empty() {
            link.map(Link::from).into_iter().chain(known.links).collect()
        } else {
            self.plan_link.iter().copied().map(Link::from).collect()
        };
        Offer {
            engines: if self.engine.is_empty() {
                known.engines
            } else {
                self.engine.iter().filter_map(|name| name.shares()).collect()
            },
            roundings: if self.rounding.is_empty() { known.roundings } else { self.rounding.clone() },
            links,
            transfers: self.transfers,
        }
    }
}

/// Of a client.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct WishFlags {
    /// Insist on this engine for the non-linear layers: delphi, client-garbler, ot, auto. The server chooses by default.
    /// Or he, of a server that serves that: the whole network under encryption.
    #[arg(long)]
    engine: Option<EngineName>,
    /// Accept this rounding: exact, or stochastic, which is off by at most one unit per rescale.
    #[arg(long)]
    rounding: Option<Rounding>,
    /// Tell the server to plan for a link like this one: lan, metro, wan, or rate and round trip as in 100Mbps,40ms.
    #[arg(long)]
    plan_link: Option<LinkProfile>,
}

impl WishFlags {
    /// Whether the whole network shall be evaluated under encryption.
    pub(crate) fn encrypted(&self) -> bool {
        self.engine == Some(EngineName::Encrypted)
    }

    /// The wishes.
    pub(crate) fn wishes(&self) -> Wishes {
        let Self { engine, rounding, plan_link } = *self;
        Wishes { engine: engine.and_then(EngineName::shares), rounding, link: plan_link.map(Link::from) }
    }
}
