//! Decryption of responses: `round((2^(g-g_0) c_0 + c_1 s) / 2^g) mod 2^l`, with the product computed over the integers.
//!
//! c_1, centred, is below 2^(w-1) for w = l + g; its product with a ternary s is below n 2^(w-1). If that is below
//! P/2 for the 50-bit prime P of the parameters, one transform modulo P gives the product; otherwise c_1 is split
//! into two halves of its bits, whose products are small enough for every w <= 52. Constant time in s.

use phineus_kernel::ntt::pointwise;
use zeroize::Zeroizing;

use crate::respond::check_positions;
use crate::{HeError, ReplySpec, Response, SecretKey};

impl SecretKey {
    /// The messages at `positions`, modulo 2^l.
    ///
    /// # Errors
    /// [`HeError::Position`], [`HeError::Count`] if the response was made for other positions or parameters.
    pub fn decrypt(
        &self,
        response: &Response,
        positions: &[u32],
        spec: &ReplySpec,
    ) -> Result<Vec<u32>, HeError> {
        let half_step = 1 << (spec.guard() - 1);
        let phase = self.phase(response, positions, spec)?;
        let message = |&v: &u64| spec.ring().reduce((v.wrapping_add(half_step) >> spec.guard()) as u32);
        Ok(phase.iter().map(message).collect())
    }

    /// `2^(g-g_0) c_0 + c_1 s` modulo 2^(l+g) at `positions`.
    pub(crate) fn phase(
        &self,
        response: &Response,
        positions: &[u32],
        spec: &ReplySpec,
    ) -> Result<Zeroizing<Vec<u64>>, HeError> {
        check_positions(self.params(), positions)?;
        let n = self.params().degree();
        for (what, expected, got) in
            [("positions", response.body.len(), positions.len()), ("response", n, response.uniform.len())]
        {
            if expected != got {
                return Err(HeError::Count { what, expected, got });
            }
        }
        let width = spec.width();
        let centre = |v: u64| ((v << (64 - width)) as i64) >> (64 - width);
        let p = self.params().exact().modulus().value();
        // n 2^(w-1) < p / 2.
        let product = if n as u128 * (1 << width) < u128::from(p) {
            self.exact_product(response.uniform.iter().map(|&v| centre(v)))
        } else {
            let cut = width / 2;
            let mut low = self.exact_product(response.uniform.iter().map(|&v| (v & ((1 << cut) - 1)) as i64));
            let high = self.exact_product(response.uniform.iter().map(|&v| centre(v) >> cut));
            low.iter_mut().zip(high.iter()).for_each(|(l, &h)| *l = l.wrapping_add(h << cut));
            low
        };
        let mask = (1 << width) - 1;
        let up = spec.guard() - spec.body_guard();
        let sum = |(&c, &i): (&u64, &u32)| (c << up).wrapping_add(product[i as usize]) & mask;
        Ok(Zeroizing::new(response.body.iter().zip(positions).map(sum).collect()))
    }

    /// `c s` over the integers, modulo 2^64, for |c s| below half the prime.
    fn exact_product(&self, c: impl Iterator<Item = i64>) -> Zeroizing<Vec<u64>> {
        let plan = self.params().exact();
        let p = plan.modulus().value();
        let mut product: Zeroizing<Vec<_>> =
            Zeroizing::new(c.map(|c| plan.modulus().lift_signed(c)).collect());
        plan.forward(&mut product);
        pointwise::mul_assign(plan.modulus(), &mut product, self.exact());
        plan.inverse(&mut product);
        for v in product.iter_mut() {
            let above = (p / 2).wrapping_sub(*v).cast_signed() >> 63;
            *v = v.wrapping_sub(p & above.cast_unsigned());
        }
        product
    }
}
