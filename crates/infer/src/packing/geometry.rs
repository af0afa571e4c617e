//! A convolution as one of stride 1 on planes, axis by axis.

use std::collections::HashMap;
use std::ops::Range;

use phineus_model::graph::Conv;

use super::{Block, PackingError};

/// Sides, channels and pads beyond this are refused, so that no product of a few of them overflows.
const MAX_SIZE: usize = 1 << 16;
/// Tensors beyond this many elements are refused: positions are 32-bit numbers.
const MAX_LEN: usize = 1 << 31;

/// The planes of a convolution and what each tap reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    conv: Conv,
    axes: [Axis; 2],
}

/// A channel of the input at one pair of phases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    pub(super) channel: usize,
    pub(super) phases: [usize; 2],
}

/// Coefficients between neighbouring rows and neighbouring planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strides {
    pub(super) row: usize,
    pub(super) plane: usize,
}

/// One axis: which plane holds which coordinate, and which tap reads which plane.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Axis {
    stride: usize,
    pad: usize,
    output: usize,
    phases: Vec<Phase>,
    taps: Vec<Tap>,
    /// Width of the taps' reach in a plane: output i reads places `i..i + span`.
    span: usize,
}

/// The padded coordinates `stride (i + base) + residue` for places i = 0, 1, ..
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phase {
    residue: usize,
    base: usize,
    /// The places that hold input; the others hold padding.
    data: Range<usize>,
}

/// Tap `index` of the kernel reads place `i + offset` of a phase for output i.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tap {
    index: usize,
    phase: usize,
    offset: usize,
}

impl Geometry {
    pub(super) fn new(conv: &Conv) -> Result<Self, PackingError> {
        let sizes = [
            &[conv.in_channels, conv.out_channels, conv.groups][..],
            &conv.input,
            &conv.kernel,
            &conv.stride,
            &conv.dilation,
        ];
        let sane = sizes.into_iter().flatten().all(|s| (1..=MAX_SIZE).contains(s))
            && conv.pads.iter().all(|&p| p <= MAX_SIZE)
            && conv.in_channels.is_multiple_of(conv.groups)
            && conv.out_channels.is_multiple_of(conv.groups);
        let bounded = |factors: [usize; 4]| {
            factors.into_iter().try_fold(1usize, |a, b| a.checked_mul(b)).is_some_and(|len| len <= MAX_LEN)
        };
        if !sane {
            return Err(PackingError::Geometry);
        }
        let [out_h, out_w] = conv.output();
        if !(bounded([conv.in_channels, conv.input[0], conv.input[1], 1])
            && bounded([conv.out_channels, out_h, out_w, 1])
            && bounded([conv.out_channels, conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]]))
        {
            return Err(PackingError::Geometry);
        }
        let axes = [Axis::new(conv, 0, out_h), Axis::new(conv, 1, out_w)];
        if axes.iter().any(|a| a.output == 0 || a.taps.is_empty()) {
            return Err(PackingError::Empty);
        }
        Ok(Self { conv: *conv, axes })
    }

    pub(super) fn conv(&self) -> &Conv {
        &self.conv
    }

    /// Rows and columns of outputs that tiles are cut from: one row of pixels for a pointwise convolution.
    pub(super) fn grid(&self) -> [usize; 2] {
        let [rows, cols] = &self.axes;
        if self.pointwise() { [1, rows.output * cols.output] } else { [rows.output, cols.output] }
    }

    pub(super) fn outputs_per_group(&self) -> usize {
        self.conv.out_channels / self.conv.groups
    }

    pub(super) fn planes_per_group(&self) -> usize {
        self.conv.in_channels / self.conv.groups * self.axes[0].phases.len() * self.axes[1].phases.len()
    }

    /// Weights of one output that ever meet an input.
    pub(super) fn taps_per_output(&self) -> usize {
        self.conv.in_channels / self.conv.groups * self.axes[0].taps.len() * self.axes[1].taps.len()
    }

    /// Plane `index`, channels first; groups are consecutive.
    pub(super) fn plane(&self, index: usize) -> Plane {
        let [rows, cols] = [self.axes[0].phases.len(), self.axes[1].phases.len()];
        Plane { channel: index / (rows * cols), phases: [index / cols % rows, index % cols] }
    }

    /// Rows and columns of a plane that a tile of outputs reads.
    pub(super) fn read_size(&self, tile: [usize; 2]) -> [usize; 2] {
        [tile[0] + self.axes[0].span - 1, tile[1] + self.axes[1].span - 1]
    }

    /// The element `h w` of a channel at a place of a plane, `None` where that is padding.
    pub(super) fn source(&self, phases: [usize; 2], place: [usize; 2]) -> Option<usize> {
        let [rows, cols] = &self.axes;
        let [i, j] = if self.pointwise() { [place[1] / cols.output, place[1] % cols.output] } else { place };
        Some(rows.source(phases[0], i)? * self.conv.input[1] + cols.source(phases[1], j)?)
    }

    /// The taps on a plane: index in the kernel and offset in rows and columns.
    pub(super) fn taps(&self, phases: [usize; 2]) -> impl Iterator<Item = (usize, [usize; 2])> {
        let on = move |axis: usize| self.axes[axis].taps.iter().filter(move |t| t.phase == phases[axis]);
        on(0).flat_map(move |u| {
            on(1).map(move |v| (u.index * self.conv.kernel[1] + v.index, [u.offset, v.offset]))
        })
    }

    /// The smallest strides that keep what a tile wants apart, see the head of the parent module.
    pub(super) fn strides(&self, tile: [usize; 2]) -> Strides {
        let [height, width] = self.read_size(tile);
        let [rows, cols] = if self.pointwise() {
            [0..1, 0..width]
        } else {
            [self.axes[0].data_in_tiles(tile[0]), self.axes[1].data_in_tiles(tile[1])]
        };
        let row = apart(&cols, width - 1).max(tile[1]);
        let data = rows.start * row + cols.start..(rows.end - 1) * row + cols.end;
        let plane = apart(&data, (height - 1) * row + width - 1).max((tile[0] - 1) * row + tile[1]);
        Strides { row, plane }
    }

    /// The strides of a block in n coefficients, aligned where there is room for it; `None` where it does not fit.
    pub(super) fn strides_in(&self, n: usize, block: &Block) -> Option<Strides> {
        let close = self.strides(block.tile);
        [close.aligned(self), close].into_iter().find(|strides| {
            let needed = strides.plane.checked_mul(block.planes).and_then(|p| p.checked_mul(block.outputs));
            needed.is_some_and(|needed| needed <= n)
        })
    }

    /// Whether every plane is read at one offset only.
    fn pointwise(&self) -> bool {
        self.axes.iter().all(|a| a.span == 1)
    }
}

impl Strides {
    /// With planes a multiple of eight apart where that makes all weights polynomials in X^8.
    pub(super) fn aligned(self, geometry: &Geometry) -> Self {
        let plane = if geometry.pointwise() { self.plane.next_multiple_of(8) } else { self.plane };
        Self { plane, ..self }
    }

    /// Whether all weights are polynomials in X^8 modulo X^n + 1.
    pub(super) fn octets(&self, geometry: &Geometry, n: usize) -> bool {
        geometry.pointwise() && self.plane.is_multiple_of(8) && n.is_multiple_of(8)
    }
}

impl Axis {
    fn new(conv: &Conv, axis: usize, output: usize) -> Self {
        let (stride, pad, input) = (conv.stride[axis], conv.pads[axis], conv.input[axis]);
        let data = |residue: usize| {
            let first = |coordinate: usize| coordinate.saturating_sub(residue).div_ceil(stride);
            first(pad)..first(pad + input)
        };
        let reads = (0..conv.kernel[axis]).filter_map(|index| {
            let (quotient, residue) =
                (index * conv.dilation[axis] / stride, index * conv.dilation[axis] % stride);
            // Taps that only ever meet padding are left out.
            let data = data(residue);
            let met = !data.is_empty() && quotient < data.end && data.start < quotient + output;
            met.then_some((index, quotient, residue))
        });
        let (mut phases, mut taps) = (Vec::<Phase>::new(), Vec::new());
        let mut phase_of = HashMap::new();
        for (index, quotient, residue) in reads {
            // Quotients ascend: the first tap of a phase has its smallest.
            let phase = *phase_of.entry(residue).or_insert_with(|| {
                let Range { start, end } = data(residue);
                let data = start.saturating_sub(quotient)..end - quotient;
                phases.push(Phase { residue, base: quotient, data });
                phases.len() - 1
            });
            taps.push(Tap { index, phase, offset: quotient - phases[phase].base });
        }
        let span = taps.iter().map(|t| t.offset + 1).max().unwrap_or(1);
        Self { stride, pad, output, phases, taps, span }
    }

    fn source(&self, phase: usize, place: usize) -> Option<usize> {
        let Phase { residue, base, data } = &self.phases[phase];
        data.contains(&place).then(|| self.stride * (place + base) + residue - self.pad)
    }

    /// The places that hold input in some phase of some tile of this many outputs; not empty.
    fn data_in_tiles(&self, tile: usize) -> Range<usize> {
        let width = tile + self.span - 1;
        let mut all = width..0;
        for phase in &self.phases {
            for first in (0..self.output).step_by(tile) {
                let start = phase.data.start.saturating_sub(first);
                let end = phase.data.end.saturating_sub(first).min(width);
                if start < end {
                    all = all.start.min(start)..all.end.max(end);
                }
            }
        }
        all
    }
}

/// The smallest stride at which copies of something do not meet: data in `data`, reads in `0..=last`.
fn apart(data: &Range<usize>, last: usize) -> usize {
    data.end.max(last + 1 - data.start)
}
