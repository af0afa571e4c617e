//! What a packing costs, in nanoseconds of one core and one link.

/// Prices of the parts of a homomorphic linear layer. Both parties must use the same prices to find the same
/// packing; the arithmetic is IEEE and has one order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostModel {
    /// Primes of the ciphertext modulus.
    pub limbs: f64,
    /// A multiply-accumulate of one coefficient modulo one prime, in one of the two halves of a ciphertext.
    pub product_ns: f64,
    /// A transform of 4,096 coefficients modulo one prime.
    pub ntt_ns: f64,
    /// Transforms per request, by both parties.
    pub request_ntts: f64,
    /// Transforms per response, by both parties: of the two halves, and of the fresh zero.
    pub response_ntts: f64,
    /// Randomness of a request or response per coefficient.
    pub sample_ns: f64,
    /// Bits per coefficient of a seeded request.
    pub request_bits: f64,
    /// Bits per coefficient of a response; its second half is priced with the coefficients asked for.
    pub response_bits: f64,
    /// Gigabits per second, that is bits per nanosecond.
    pub bandwidth: f64,
    /// Inferences that share one transform of the weights.
    pub weight_reuse: f64,
}

impl Default for CostModel {
    /// Two primes, 100-bit requests, 34-bit responses, 500 Mbit/s, weights transformed for each inference; times of one
    /// core with AVX-512.
    fn default() -> Self {
        Self {
            limbs: 2.0,
            product_ns: 0.22,
            ntt_ns: 3_700.0,
            request_ntts: 1.0,
            response_ntts: 4.0,
            sample_ns: 12.0,
            request_bits: 100.0,
            response_bits: 34.0,
            bandwidth: 0.5,
            weight_reuse: 1.0,
        }
    }
}

/// Numbers of polynomials of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight_polys: usize,
    pub(super) products: usize,
}

impl CostModel {
    /// The price of the amounts in polynomials of `n` coefficients. What does not depend on the packing, the wanted
    /// coefficients of the responses, is left out.
    pub(super) fn price(&self, n: usize, amounts: &Amounts) -> f64 {
        let size = n as f64;
        let ntt = self.limbs * self.ntt_ns * size * f64::from(n.max(2).ilog2()) / (4_096.0 * 12.0);
        let request = size * (self.request_bits / self.bandwidth + self.sample_ns) + self.request_ntts * ntt;
        let response =
            size * (self.response_bits / self.bandwidth + self.sample_ns) + self.response_ntts * ntt;
        let product = 2.0 * self.limbs * self.product_ns * size;
        amounts.inputs as f64 * request
            + amounts.outputs as f64 * response
            + amounts.products as f64 * product
            + amounts.weight_polys as f64 * ntt / self.weight_reuse
    }
}
