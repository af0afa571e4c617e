//! Where the elements of a tensor are: a layout says of every slot of one or more ciphertexts which element it holds,
//! or that it holds zero, or something that nobody may rely on.
//!
//! The representations of Brutzkus, Elisha and Gilad-Bachrach, "Low latency privacy preserving inference" (ICML
//! 2019), section 4, are constructors: dense, sparse, stacked, interleaved, convolution. (SIMD, one ciphertext per
//! element and one image per slot, has no layout: see [`batch`](super::batch).) An element may be in many slots; a
//! client places them all at no cost, and products find them in whichever slot suits.

use phineus_model::graph::Conv;

/// The content of the slots of one or more ciphertexts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    slots: usize,
    elements: usize,
    content: Vec<u32>,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The element of this index.
    Element(usize),
    /// Zero.
    Zero,
    /// Something else.
    Garbage,
}

const ZERO: u32 = u32::MAX;
const GARBAGE: u32 = u32::MAX - 1;

impl Layout {
    /// Element `content(k)` in slot k of all slots, ciphertext by ciphertext.
    pub fn from_fn(
        slots: usize,
        ciphers: usize,
        elements: usize,
        content: impl Fn(usize) -> Content,
    ) -> Self {
        let code = |k| match content(k) {
            Content::Element(e) if e < elements => u32::try_from(e).unwrap_or(GARBAGE),
            Content::Zero => ZERO,
            _ => GARBAGE,
        };
        Self { slots, elements, content: (0..slots * ciphers).map(code).collect() }
    }

    /// Element i in slot `offset` + i modulo the number of slots, zero elsewhere.
    #[must_use]
    pub fn dense(slots: usize, elements: usize, offset: usize) -> Self {
        Self::from_fn(slots, elements.div_ceil(slots).max(1), elements, |k| {
            let place = k - k % slots + (k % slots + slots - offset % slots) % slots;
            if place < elements { Content::Element(place) } else { Content::Zero }
        })
    }

    /// Element i in every slot of ciphertext i.
    #[must_use]
    pub fn sparse(slots: usize, elements: usize) -> Self {
        Self::from_fn(slots, elements, elements, |k| Content::Element(k / slots))
    }

    /// The dense vector again after every `period` slots; `period` is a power of two, at least `elements` long.
    #[must_use]
    pub fn stacked(slots: usize, elements: usize, period: usize) -> Self {
        Self::from_fn(slots, 1, elements, |k| match k % period.max(1) {
            place if place < elements => Content::Element(place),
            _ => Content::Zero,
        })
    }

    /// Element i in slot `(i % rows) * stride + i / rows`: the results of `rows` packed inner products at a time,
    /// garbage elsewhere.
    #[must_use]
    pub fn interleaved(slots: usize, elements: usize, rows: usize, stride: usize) -> Self {
        Self::from_fn(slots, 1, elements, |k| {
            let (row, place) = (k / stride, k % stride);
            let element = place * rows + row;
            if row < rows && element < elements { Content::Element(element) } else { Content::Garbage }
        })
    }

    /// The columns of a convolution, made by the client: for tap t of the kernel (channel, row, column) a block of
    /// `block` slots with the pixel that the tap meets at every output position, zero in the padding. As many blocks
    /// to a ciphertext as there is room for; `order` gives the place of a position in its block.
    #[must_use]
    pub fn convolution(slots: usize, conv: &Conv, block: usize, order: &[usize]) -> Self {
        let ([_, columns], [kh, kw]) = (conv.output(), conv.kernel);
        let (taps, blocks) = (conv.in_channels * kh * kw, slots / block.max(1));
        let mut positions = vec![None; block];
        for (position, &place) in order.iter().enumerate() {
            positions[place] = Some(position);
        }
        Self::from_fn(slots, taps.div_ceil(blocks.max(1)), conv.input_len(), |k| {
            let (cipher, slot) = (k / slots, k % slots);
            let tap = cipher * blocks + slot / block;
            let position = positions[slot % block].filter(|_| slot / block < blocks && tap < taps);
            let pixel = position.and_then(|at| {
                let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
                pixel(conv, c, [at / columns, at % columns], [ky, kx])
            });
            pixel.map_or(Content::Zero, Content::Element)
        })
    }

    /// An image `[c][h][w]` by phases of the stride: phase p = (y mod s, x mod s) of channel c is a block of `block`
    /// slots with rows of `row` slots, at `(c s s + p) block`, and everything again after every `period` slots.
    #[must_use]
    pub fn phases(slots: usize, conv: &Conv, row: usize, block: usize, period: usize) -> Self {
        let ([h, w], [sy, sx]) = (conv.input, conv.stride);
        let whole = (conv.in_channels * sy * sx * block).max(1);
        Self::from_fn(slots, whole.div_ceil(slots), conv.input_len(), |k| {
            let place = if whole <= period { k % period } else { k };
            let (phase, y, x) = (place / block, place % block / row, place % block % row);
            let (c, y, x) = (phase / (sy * sx), y * sy + phase / sx % sy, x * sx + phase % sx);
            if c < conv.in_channels && y < h && x < w {
                Content::Element((c * h + y) * w + x)
            } else {
                Content::Zero
            }
        })
    }

    /// Slots of a ciphertext.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Number of elements of the tensor.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Number of ciphertexts.
    #[must_use]
    pub fn ciphers(&self) -> usize {
        self.content.len() / self.slots.max(1)
    }

    /// Element in a slot of a ciphertext, if there is one.
    #[must_use]
    pub fn element(&self, cipher: usize, slot: usize) -> Option<usize> {
        let code = self.content[cipher * self.slots + slot];
        (code < GARBAGE).then_some(code as usize)
    }

    /// Whether slots without an element hold zero.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.content.contains(&GARBAGE)
    }

    /// In how many slots an element is at most, and how many slots hold something that nobody may rely on.
    #[must_use]
    pub fn copies_and_garbage(&self) -> [usize; 2] {
        let (mut copies, mut garbage) = (vec![0; self.elements], 0);
        for &code in &self.content {
            match copies.get_mut(code as usize) {
                Some(copies) => *copies += 1,
                None => garbage += usize::from(code == GARBAGE),
            }
        }
        [copies.into_iter().max().unwrap_or(0), garbage]
    }

    /// Whether every element is somewhere.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.positions().iter().all(Option::is_some)
    }

    /// The first slot of every element, counted over all ciphertexts.
    #[must_use]
    pub fn positions(&self) -> Vec<Option<usize>> {
        let mut first = vec![None; self.elements];
        for (place, &code) in self.content.iter().enumerate() {
            if let Some(first @ None) = first.get_mut(code as usize) {
                *first = Some(place);
            }
        }
        first
    }

    /// The vectors of slots that hold a tensor; what the layout calls garbage is zero.
    ///
    /// # Panics
    /// A tensor of another length.
    #[must_use]
    pub fn place(&self, tensor: &[f64]) -> Vec<Vec<f64>> {
        assert_eq!(tensor.len(), self.elements, "length of the tensor");
        let slot = |code: &u32| tensor.get(*code as usize).copied().unwrap_or(0.0);
        self.content.chunks_exact(self.slots).map(|cipher| cipher.iter().map(slot).collect()).collect()
    }

    /// The tensor in vectors of slots, each element from its first slot; an element that is nowhere is not a number.
    ///
    /// # Panics
    /// Fewer vectors or slots than the layout has.
    #[must_use]
    pub fn read(&self, slots: &[Vec<f64>]) -> Vec<f64> {
        let at = |place: Option<usize>| place.map_or(f64::NAN, |k| slots[k / self.slots][k % self.slots]);
        self.positions().into_iter().map(at).collect()
    }

    /// The smallest power of two after which all elements of the one ciphertext repeat; its number of slots if they
    /// do not.
    #[must_use]
    pub fn period(&self) -> usize {
        let mut period = self.slots;
        while self.ciphers() == 1 && period > 1 && period.is_multiple_of(2) {
            let half = period / 2;
            let repeats = (0..self.slots).all(|k| {
                let code = self.content[k];
                code >= GARBAGE || self.content[(k + half) % self.slots] == code
            });
            if !repeats {
                break;
            }
            period = half;
        }
        period
    }

    /// The layout of the first `period` slots, if the elements of every ciphertext repeat after that many.
    #[must_use]
    pub fn modulo(&self, period: usize) -> Option<Self> {
        if period == self.slots {
            return Some(self.clone());
        }
        if period == 0 || !self.slots.is_multiple_of(period) {
            return None;
        }
        let mut content = Vec::with_capacity(self.ciphers() * period);
        for cipher in self.content.chunks_exact(self.slots) {
            let (first, rest) = cipher.split_at(period);
            let same = |(a, b): (&u32, &u32)| a == b || (*a >= GARBAGE && *b >= GARBAGE);
            if !rest.chunks_exact(period).all(|part| part.iter().zip(first).all(same)) {
                return None;
            }
            content.extend_from_slice(first);
        }
        Some(Self { slots: period, elements: self.elements, content })
    }

    /// Every ciphertext again and again, up to `slots` slots, a multiple of those there are.
    #[must_use]
    pub fn repeated(&self, slots: usize) -> Self {
        let content =
            self.content.chunks_exact(self.slots).flat_map(|c| c.repeat(slots / self.slots)).collect();
        Self { slots, elements: self.elements, content }
    }

    /// This layout with only those elements that are where `target` has them and, for the smallest power of two for
    /// which that holds of all, again after every so many slots; everything else counts as garbage.
    #[must_use]
    pub fn regular(&self, target: &Self) -> Self {
        let goals: Vec<(usize, u32)> = (0..target.content.len())
            .filter(|&k| target.content[k] < GARBAGE)
            .map(|k| (k / target.slots * self.slots + k % target.slots, target.content[k]))
            .collect();
        let turned = |k: usize, by: usize| k - k % self.slots + (k + by) % self.slots;
        let mut period = self.slots;
        while period.is_multiple_of(2) && goals.iter().all(|&(k, code)| self.repeats(k, code, period / 2)) {
            period /= 2;
        }
        let mut content: Vec<u32> =
            self.content.iter().map(|&code| if code == ZERO { ZERO } else { GARBAGE }).collect();
        for (k, code) in goals {
            for by in (0..self.slots).step_by(period) {
                content[turned(k, by)] = code;
            }
        }
        Self { content, ..self.clone() }
    }

    /// Whether a slot and all that follow it after multiples of `period` hold this element.
    fn repeats(&self, k: usize, code: u32, period: usize) -> bool {
        (0..self.slots)
            .step_by(period)
            .all(|by| self.content[k - k % self.slots + (k + by) % self.slots] == code)
    }

    /// The largest distance of which all distances between slots with elements are multiples; 1 for one such slot.
    #[must_use]
    pub fn spacing(&self) -> usize {
        let used = (0..self.content.len()).filter(|&k| self.content[k] < GARBAGE).map(|k| k % self.slots);
        let first = used.clone().next().unwrap_or(0);
        match used.fold(self.slots, |gcd, k| greatest_common_divisor(gcd, k.abs_diff(first))) {
            whole if whole == self.slots => 1,
            spacing => spacing,
        }
    }

    /// First slot and length of the shortest cyclic range of one period that holds all elements, over all
    /// ciphertexts at once.
    #[must_use]
    pub fn window(&self) -> (usize, usize) {
        let period = self.period();
        let used = |k: usize| (0..self.ciphers()).any(|c| self.content[c * self.slots + k] < GARBAGE);
        let occupied: Vec<usize> = (0..period).filter(|&k| used(k)).collect();
        let Some((&first, &last)) = occupied.first().zip(occupied.last()) else { return (0, 0) };
        let wrap = (first + period - last, first, last - first + 1);
        let gaps =
            occupied.windows(2).map(|pair| (pair[1] - pair[0], pair[1], period + pair[0] - pair[1] + 1));
        let (_, start, length) = gaps.chain([wrap]).max_by_key(|&(gap, ..)| gap).unwrap_or(wrap);
        (start, length)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Index of the pixel that a tap of the kernel meets at an output position, unless it lies in the padding.
pub(super) fn pixel(conv: &Conv, channel: usize, at: [usize; 2], tap: [usize; 2]) -> Option<usize> {
    let side = |axis: usize| {
        let place = at[axis] * conv.stride[axis] + tap[axis] * conv.dilation[axis];
        place.checked_sub(conv.pads[axis]).filter(|&place| place < conv.input[axis])
    };
    Some((channel * conv.input[0] + side(0)?) * conv.input[1] + side(1)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn conv() -> Conv {
        Conv { input: [28, 28], kernel: [5, 5], stride: [2, 2], pads: [0, 0, 1, 1], ..Conv::dense(1, 5) }
    }

    fn order(conv: &Conv) -> Vec<usize> {
        (0..conv.output().iter().product()).collect()
    }

    proptest! {
        #[test]
        fn what_is_placed_is_read(
            elements in 1_usize..200,
            offset in 0_usize..256,
            seed in any::<u64>(),
        ) {
            let tensor: Vec<f64> =
                (0..elements).map(|i| (seed.wrapping_mul(2 * i as u64 + 1) >> 40) as f64).collect();
            for layout in [
                Layout::dense(256, elements, offset),
                Layout::dense(64, elements, offset),
                Layout::stacked(1024, elements, elements.next_power_of_two()),
                Layout::interleaved(1024, elements, 8, 64),
                Layout::sparse(4, elements),
            ] {
                prop_assert!(layout.is_complete());
                prop_assert_eq!(&layout.read(&layout.place(&tensor)), &tensor);
            }
        }
    }

    #[test]
    fn columns_of_a_convolution() {
        let conv = conv();
        let layout = Layout::convolution(8192, &conv, 256, &order(&conv));
        assert_eq!((layout.ciphers(), layout.period(), layout.is_clean()), (1, 8192, true));
        // Tap (2, 3) at position (4, 5) meets pixel (10, 13); tap (4, 4) at the last position lies in the padding.
        assert_eq!(layout.element(0, 13 * 256 + 4 * 13 + 5), Some(10 * 28 + 13));
        assert_eq!(layout.element(0, 24 * 256 + 168), None);
        let two = Layout::convolution(4096, &conv, 256, &order(&conv));
        assert_eq!(two.ciphers(), 2);
        assert_eq!(two.element(1, 8 * 256), Some(4 * 28 + 4));
    }

    #[test]
    fn phases_of_an_image() {
        let conv = conv();
        let layout = Layout::phases(4096, &conv, 16, 256, 1024);
        assert_eq!((layout.ciphers(), layout.period()), (1, 1024));
        assert!(layout.is_complete());
        assert_eq!(layout.element(0, 1024 + 3 * 256 + 5 * 16 + 6), Some(11 * 28 + 13));
        assert_eq!(layout.element(0, 14), None);
    }

    #[test]
    fn periods_and_windows() {
        assert_eq!(Layout::stacked(64, 5, 8).period(), 8);
        assert_eq!(Layout::dense(64, 5, 62).period(), 64);
        assert_eq!(Layout::dense(64, 5, 62).window(), (62, 5));
        assert_eq!(Layout::stacked(64, 5, 8).window(), (0, 5));
        assert_eq!(Layout::dense(64, 64, 0).window(), (0, 64));
        assert_eq!(Layout::dense(64, 1, 9).window(), (9, 1));
        assert_eq!(Layout::stacked(64, 5, 8).modulo(16), Some(Layout::stacked(16, 5, 8)));
        assert_eq!(Layout::stacked(16, 5, 8).repeated(64), Layout::stacked(64, 5, 8));
        assert_eq!(Layout::dense(64, 5, 0).modulo(32), None);
        assert_eq!(Layout::interleaved(64, 3, 3, 16).spacing(), 16);
        assert_eq!((Layout::dense(64, 2, 62).spacing(), Layout::dense(64, 1, 9).spacing()), (1, 1));
    }
}
