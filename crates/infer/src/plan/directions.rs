//! Which directions of oblivious transfers a plan uses, and how each is made: by the two engines that take least time, waits
//! for messages and work included, among those whose rounds fit into [`STOCK`] together.

use phineus_kernel::block::Block;
use phineus_mpc::ot::engine::Engine;
use phineus_mpc::ot::silent::Set;

use super::options::{Link, Options, Transfers};

/// How transfers are made in each direction; `None` where no layer needs any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directions {
    /// The client chooses, the server holds the offset.
    pub down: Option<Engine>,
    /// The server chooses.
    pub up: Option<Engine>,
}

impl Directions {
    /// Whether any layer needs transfers.
    #[must_use]
    pub fn any(&self) -> bool {
        self.down.is_some() || self.up.is_some()
    }

    /// Tells states of transfers made in these ways from all others: `plan` of the lot that a store keeps them in.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("phineus directions of transfers 1");
        *hasher.update(format!("{self:?}").as_bytes()).finalize().as_bytes()
    }

    /// For so many transfers per inference, down and up.
    pub(super) fn choose([down, up]: [usize; 2], options: &Options) -> Self {
        let candidates = |n: usize, receiver_is_client: bool| -> Vec<(Option<Engine>, f64)> {
            let kinds = match (n, options.transfers) {
                (0, _) => return vec![(None, 0.0)],
                (_, Transfers::SoftSpoken) => &ENGINES[..1],
                (_, Transfers::Silent) => &ENGINES[1..],
                (_, Transfers::Auto) => &ENGINES[..],
            };
            let seconds = |engine: &Engine| seconds(*engine, n, receiver_is_client, &options.link);
            kinds.iter().map(|engine| (Some(*engine), seconds(engine))).collect()
        };
        let (of_down, of_up) = (candidates(down, true), candidates(up, false));
        let pairs = of_down.iter().flat_map(|down| of_up.iter().map(move |up| (down, up)));
        let fits = pairs.filter(|(down, up)| stock(down.0) + stock(up.0) <= STOCK);
        // Ties go to the first.
        let best = fits.min_by(|(a, b), (c, d)| (a.1 + b.1).total_cmp(&(c.1 + d.1)));
        best.map_or_else(Self::default, |(down, up)| Self { down: down.0, up: up.0 })
    }
}

impl Directions {
    /// Bytes up and down that `down` and `up` transfers add to the filling of stocks, on average over many fillings: none
    /// where transfers are made one extension at a time.
    pub(super) fn filling(&self, [down, up]: [usize; 2]) -> [u64; 2] {
        let fill = |engine: Option<Engine>, n: usize| match engine {
            Some(engine @ Engine::Silent(set)) => {
                let round = set.round();
                let (filled, stocked) = (engine.extend_cost(0, round), engine.extend_cost(round, round));
                let each = |with: u64, without: u64| (with - without) as f64 / round as f64;
                [
                    each(filled.receiver_to_sender, stocked.receiver_to_sender),
                    each(filled.sender_to_receiver, stocked.sender_to_receiver),
                ]
                .map(|bytes| (bytes * n as f64) as u64)
            }
            _ => [0; 2],
        };
        // The receiver of transfers down is the client.
        let ([a, b], [c, d]) = (fill(self.down, down), fill(self.up, up));
        [a + d, b + c]
    }
}

/// Most bytes of transfers that a party has in stock, both directions together.
const STOCK: usize = 132 << 20;

/// Seconds of one core of both parties per transfer.
const SOFTSPOKEN: f64 = 50e-9;
/// Seconds of one core of both parties per leaf of a tree.
const SILENT: f64 = 36e-9;

/// All engines, the silent ones last.
const ENGINES: [Engine; 5] = [
    Engine::SoftSpoken,
    Engine::Silent(Set::B10),
    Engine::Silent(Set::B11),
    Engine::Silent(Set::B12),
    Engine::Silent(Set::B13),
];

/// Bytes that a party has in stock after a round.
fn stock(engine: Option<Engine>) -> usize {
    match engine {
        Some(Engine::Silent(set)) => set.n() * Block::BYTES,
        _ => 0,
    }
}

/// Seconds of an engine that makes `n` transfers over a link, from the base transfers on.
fn seconds(engine: Engine, n: usize, receiver_is_client: bool, link: &Link) -> f64 {
    let (setup, run) = (engine.setup_cost(), engine.extend_cost(0, n));
    let to_sender = setup.receiver_to_sender + run.receiver_to_sender;
    let to_receiver = setup.sender_to_receiver + run.sender_to_receiver;
    let (up, down) = if receiver_is_client { (to_sender, to_receiver) } else { (to_receiver, to_sender) };
    link.seconds(up, down, rounds(engine, n)) + work(engine, n)
}

/// Seconds of one core of both parties: a silent round is made as a whole.
fn work(engine: Engine, n: usize) -> f64 {
    match engine {
        Engine::SoftSpoken => n as f64 * SOFTSPOKEN,
        Engine::Silent(set) => {
            let reserve = set.reserve() as f64 * SOFTSPOKEN;
            reserve + (n.div_ceil(set.round()) * set.n()) as f64 * SILENT
        }
    }
}

/// Round trips that an engine adds.
fn rounds(engine: Engine, n: usize) -> u64 {
    match engine {
        Engine::SoftSpoken => 0,
        Engine::Silent(set) => 1 + 2 * n.div_ceil(set.round()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_transfers_pay_in_bulk_over_slow_links() {
        let choose = |n: usize, link: Link| {
            Directions::choose([n, 0], &Options { link, transfers: Transfers::Auto, ..Options::default() })
                .down
        };
        assert_eq!(choose(0, Link::WAN), None);
        assert_eq!(choose(10_000, Link::WAN), Some(Engine::SoftSpoken));
        assert!(matches!(choose(10_000_000, Link::WAN), Some(Engine::Silent(_))));
        for n in [1, 1_000_000] {
            let forced = Options { transfers: Transfers::Silent, ..Options::default() };
            let both = Directions::choose([n, n], &forced);
            assert!(matches!((both.down, both.up), (Some(Engine::Silent(_)), Some(Engine::Silent(_)))));
        }
        // On the fastest links as well; rounds in stock must not be large.
        for (link, kind) in [Link::LAN, Link::METRO, Link::WAN]
            .into_iter()
            .flat_map(|link| [Transfers::Auto, Transfers::Silent].map(|kind| (link, kind)))
        {
            let options = Options { link, transfers: kind, ..Options::default() };
            let Directions { down, up } = Directions::choose([100_000_000; 2], &options);
            assert!(matches!((down, up), (Some(Engine::Silent(_)), Some(Engine::Silent(_)))), "{link:?}");
            assert!(stock(down) + stock(up) <= STOCK, "{link:?}");
        }
        let plain = Options { transfers: Transfers::SoftSpoken, ..Options::default() };
        assert_eq!(
            Directions::choose([0, 1 << 30], &plain),
            Directions { down: None, up: Some(Engine::SoftSpoken) }
        );
    }
}
