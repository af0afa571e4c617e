//! What a packing costs, in nanoseconds of one core per party and one link.

use phineus_he::Params;

use crate::plan::Link;

/// Prices of the parts of a homomorphic linear layer. Both parties must use the same prices to find the same
/// packing; the arithmetic is IEEE and has one order.
///
/// The times of both parties' cores and of both directions of the link add up, as if nothing overlapped: a plan that is
/// good by this measure wastes neither. Round trips do not depend on the packing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostModel {
    /// Primes of the ciphertext modulus.
    pub limbs: f64,
    /// A multiply-accumulate of one coefficient modulo one prime, in one of the two halves of a ciphertext.
    pub product_ns: f64,
    /// A transform of 4,096 coefficients modulo one prime.
    pub ntt_ns: f64,
    /// Transforms per request and prime, by both parties, and what else they do with its residues.
    pub request_ntts: f64,
    /// Transforms per response and prime by the server, of the two halves and of the fresh zero, and what else it does
    /// with its residues.
    pub response_ntts: f64,
    /// Transforms per ciphertext and prime by the client that decrypts it.
    pub decrypt_ntts: f64,
    /// Randomness of a request or response per coefficient.
    pub sample_ns: f64,
    /// Passes over the coefficients of a limb, priced as products, that a key switch makes beside its own products.
    pub switch_passes: f64,
    /// Bits per coefficient of a seeded request.
    pub request_bits: f64,
    /// Bits per coefficient of c_1 of a response.
    pub response_bits: f64,
    /// Of the link from the client to the server, in bits per nanosecond.
    pub up: f64,
    /// Of the link back.
    pub down: f64,
    /// Transforms per weight polynomial and inference; where transformed weights are kept, what reading them from memory
    /// costs instead.
    pub weight_ntts: f64,
    /// Inferences that share one set of keys.
    pub sharing: f64,
}

/// [`CostModel::weight_ntts`] where weights are packed and transformed for each inference.
const REGENERATED: f64 = 1.3;
/// [`CostModel::weight_ntts`] where transformed weights are kept.
const KEPT: f64 = 0.3;
/// Inferences per set of keys, where nothing else is known: of a session.
const SHARING: f64 = 8.0;
/// Bits of a response's coefficients below the message, about.
const GUARD: f64 = 10.0;

impl Default for CostModel {
    /// Two primes, 100-bit requests, 34-bit responses, 500 Mbit/s, weights transformed for each inference; times of one
    /// core with AVX-512.
    fn default() -> Self {
        Self {
            limbs: 2.0,
            product_ns: 0.1,
            ntt_ns: 3_450.0,
            request_ntts: 3.0,
            response_ntts: 8.0,
            decrypt_ntts: 2.0,
            sample_ns: 4.0,
            switch_passes: 25.0,
            request_bits: 100.0,
            response_bits: 34.0,
            up: 0.5,
            down: 0.5,
            weight_ntts: REGENERATED,
            sharing: SHARING,
        }
    }
}

/// Numbers of polynomials of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Ciphertexts of the response: as many as outputs, or fewer where these are merged.
    pub(super) ciphertexts: usize,
    pub(super) weight_polys: usize,
    pub(super) products: usize,
}

impl CostModel {
    /// For ciphertexts of these parameters, rings of `bits` bits, and this link.
    #[must_use]
    pub fn new(params: &Params, bits: u32, link: &Link) -> Self {
        Self {
            limbs: params.limbs() as f64,
            request_bits: params.log2_q(),
            response_bits: f64::from(bits) + GUARD,
            // Rates of at least one bit per second.
            up: link.up_bits_per_second.max(1) as f64 * 1e-9,
            down: link.down_bits_per_second.max(1) as f64 * 1e-9,
            ..Self::default()
        }
    }

    /// With transformed weights kept from inference to inference.
    #[must_use]
    pub fn keeping_weights(self) -> Self {
        Self { weight_ntts: KEPT, ..self }
    }

    /// With keys shared by at least so many inferences.
    #[must_use]
    pub fn shared_by(self, inferences: usize) -> Self {
        Self { sharing: self.sharing.max(inferences as f64), ..self }
    }

    /// The price of the amounts in polynomials of `n` coefficients. What does not depend on the packing, the wanted
    /// coefficients of the responses, is left out.
    pub(super) fn price(&self, n: usize, amounts: &Amounts) -> f64 {
        let size = n as f64;
        let up = amounts.inputs as f64 * size * self.request_bits / self.up;
        let down = amounts.ciphertexts as f64 * size * self.response_bits / self.down;
        let [client, server] = self.work(n, amounts);
        up + down + client + server
    }

    /// Nanoseconds of one core that the client and the server work for the amounts.
    pub(super) fn work(&self, n: usize, amounts: &Amounts) -> [f64; 2] {
        let size = n as f64;
        let ntt = self.limbs * self.ntt(n);
        // Either party transforms requests.
        let request = self.request_ntts / 2.0 * ntt;
        let response = size * self.sample_ns + self.response_ntts * ntt;
        let product = 2.0 * self.limbs * self.product_ns * size;
        // limbs^2 transforms of the digits, one more per limb for the leaf.
        let passes = 2.0 * self.limbs * self.limbs + self.switch_passes * self.limbs;
        let switch = (self.limbs + 1.0) * ntt + passes * self.product_ns * size;
        let client = amounts.inputs as f64 * (size * self.sample_ns + request)
            + amounts.ciphertexts as f64 * self.decrypt_ntts * ntt;
        let server = amounts.inputs as f64 * request
            + amounts.outputs as f64 * response
            + amounts.outputs.saturating_sub(amounts.ciphertexts) as f64 * switch
            + amounts.products as f64 * product
            + amounts.weight_polys as f64 * ntt * self.weight_ntts;
        [client, server]
    }

    /// The price of the Galois keys of so many levels, per inference.
    pub(crate) fn keys(&self, n: usize, levels: u32) -> f64 {
        let polynomials = f64::from(levels) * self.limbs;
        let ntts = (self.limbs + 1.0) * self.ntt(n);
        let sent = n as f64 * (self.request_bits / self.up + 2.0 * self.sample_ns);
        polynomials * (sent + ntts) / self.sharing
    }

    /// A transform modulo one prime.
    fn ntt(&self, n: usize) -> f64 {
        self.ntt_ns * n as f64 * f64::from(n.max(2).ilog2()) / (4_096.0 * 12.0)
    }
}
