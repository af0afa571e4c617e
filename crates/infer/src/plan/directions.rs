//! Which directions of oblivious transfers a plan uses, and how each is made: by the engine that takes least time, waits
//! for messages and work included, among those whose rounds fit into [`STOCK`].

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
        let choose = |n: usize, receiver_is_client: bool| {
            (n > 0).then(|| match options.transfers {
                Transfers::SoftSpoken => Engine::SoftSpoken,
                Transfers::Silent => best(silent(), n, receiver_is_client, &options.link),
                Transfers::Auto => {
                    let all = std::iter::once(Engine::SoftSpoken).chain(silent());
                    best(all, n, receiver_is_client, &options.link)
                }
            })
        };
        Self { down: choose(down, true), up: choose(up, false) }
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

/// Most bytes of transfers that a party has in stock in one direction.
const STOCK: usize = 128 << 20;

/// Seconds of one core of both parties per transfer.
const SOFTSPOKEN: f64 = 50e-9;
/// Seconds of one core of both parties per leaf of a tree.
const SILENT: f64 = 36e-9;

/// The silent engines that fit into [`STOCK`].
fn silent() -> impl Iterator<Item = Engine> {
    Set::ALL.into_iter().filter(|set| set.n() * Block::BYTES <= STOCK).map(Engine::Silent)
}

/// The engine that makes `n` transfers fastest over a link, from the base transfers on. Ties go to the first.
fn best(engines: impl Iterator<Item = Engine>, n: usize, receiver_is_client: bool, link: &Link) -> Engine {
    let seconds = |engine: &Engine| {
        let (setup, run) = (engine.setup_cost(), engine.extend_cost(0, n));
        let to_sender = setup.receiver_to_sender + run.receiver_to_sender;
        let to_receiver = setup.sender_to_receiver + run.sender_to_receiver;
        let (up, down) = if receiver_is_client { (to_sender, to_receiver) } else { (to_receiver, to_sender) };
        link.seconds(up, down, rounds(*engine, n)) + work(*engine, n)
    };
    engines.min_by(|a, b| seconds(a).total_cmp(&seconds(b))).unwrap_or_default()
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
        // On the fastest links as well; a round in stock must not be large.
        for link in [Link::LAN, Link::METRO, Link::WAN] {
            let Some(Engine::Silent(set)) = choose(100_000_000, link) else { panic!("{link:?}") };
            assert!(set.n() * 16 <= STOCK, "{set:?}");
        }
        let plain = Options { transfers: Transfers::SoftSpoken, ..Options::default() };
        assert_eq!(
            Directions::choose([0, 1 << 30], &plain),
            Directions { down: None, up: Some(Engine::SoftSpoken) }
        );
    }
}
