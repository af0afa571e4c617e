//! Operators that only move elements. All shapes here are without the batch dimension, which stays in front and
//! takes part in nothing.

use super::attributes::Reason;
use super::fold;
use super::import::{Importer, Value, output_name, reason_of};
use super::layers::no_more_inputs;
use super::proto::NodeProto;
use crate::float::Op;
use crate::graph::NodeId;

impl<'a> Importer<'a> {
    pub(super) fn concat(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let parts = (0..node.input.len()).map(|i| self.operand(node, i)).collect::<Result<Vec<_>, _>>()?;
        let rank = parts.first().map_or(0, |&id| self.shape(id).len()) + 1;
        if fold::axis(node.int("axis", 0)?, rank)? != 1 {
            return Err("values are joined along the channels only".to_owned());
        }
        match parts[..] {
            [only] => Ok(Value::Node(only)),
            _ => self.push(node, Op::Concat, &parts),
        }
    }

    pub(super) fn flatten(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let rank = self.shape(x).len() + 1;
        if fold::axis(node.int("axis", 1)?, rank)? != 1 {
            return Err("the batch dimension has to stay".to_owned());
        }
        let length = self.shape(x).iter().product();
        self.reshaped(node, x, &[length])
    }

    pub(super) fn reshape(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let wanted = self.ints(node, 1)?.ok_or("the shape is missing")?;
        let literal = node.int("allowzero", 0)? != 0;
        let shape = fold::reshaped(&self.with_batch(x), &wanted, literal)?;
        self.without_batch(node, x, &shape)
    }

    pub(super) fn squeeze(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let axes =
            self.ints(node, 1)?.ok_or("without axes, a batch of one image would lose its dimension")?;
        let shape = fold::squeezed(&self.with_batch(x), Some(&axes))?;
        // Counting the axes tells whether the batch is still there.
        if axes.iter().any(|&axis| fold::axis(axis, self.shape(x).len() + 1) == Ok(0)) {
            return Err("the batch dimension has to stay".to_owned());
        }
        self.without_batch(node, x, &shape)
    }

    pub(super) fn unsqueeze(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let axes = self.ints(node, 1)?.ok_or("the axes are missing")?;
        let shape = fold::unsqueezed(&self.with_batch(x), &axes)?;
        if axes.iter().any(|&axis| fold::axis(axis, shape.len()) == Ok(0)) {
            return Err("the batch dimension has to stay in front".to_owned());
        }
        self.without_batch(node, x, &shape)
    }

    pub(super) fn pad(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if node.word("mode", "constant")? != "constant" {
            return Err("only padding with zeros".to_owned());
        }
        if self.constant(node, 2)?.is_some_and(|value| value.scalar() != Some(0.0)) {
            return Err("only padding with zeros".to_owned());
        }
        let x = self.operand(node, 0)?;
        let rank = self.shape(x).len() + 1;
        let given = self.ints(node, 1)?.ok_or("the padding is missing")?;
        let axes = self.ints(node, 3)?.unwrap_or_else(|| (0..rank as i64).collect());
        if given.len() != 2 * axes.len() {
            return Err(format!("{} paddings for {} axes", given.len(), axes.len()));
        }
        let mut pads = [[0; 2]; 4];
        let (before, after) = given.split_at_checked(axes.len()).ok_or("the padding is missing")?;
        for (&axis, (&before, &after)) in axes.iter().zip(before.iter().zip(after)) {
            let size = |n: i64| usize::try_from(n).map_err(|_| "negative padding".to_owned());
            let place = pads.get_mut(fold::axis(axis, rank)?).ok_or("only images are padded")?;
            *place = [size(before)?, size(after)?];
        }
        match pads {
            [[0, 0], [0, 0], [0, 0], [0, 0]] => Ok(Value::Node(x)),
            [[0, 0], channels, rows, columns] => {
                self.push(node, Op::Pad { pads: [channels, rows, columns] }, &[x])
            }
            _ => Err("the batch cannot be padded".to_owned()),
        }
    }

    pub(super) fn slice(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        no_more_inputs(node, 5)?;
        let x = self.operand(node, 0)?;
        let shape = self.with_batch(x);
        let (starts, ends) = (self.ints(node, 1)?, self.ints(node, 2)?);
        let (Some(starts), Some(ends)) = (starts, ends) else { return Err("bounds are missing".to_owned()) };
        let axes = self.ints(node, 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.ints(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("starts, ends, axes and steps differ in number".to_owned());
        }
        let mut ranges: Vec<(usize, usize, usize)> = shape.iter().map(|&side| (0, side, 1)).collect();
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let range = ranges.get_mut(fold::axis(axis, shape.len())?).ok_or("no such axis")?;
            if step < 1 {
                return Err(format!("step {step}; values are sliced forwards"));
            }
            let (start, end) = fold::slice_bounds(range.1, start, end, step);
            *range = (start as usize, end as usize, step as usize);
        }
        match ranges.split_first() {
            Some((&(0, 1, _), ranges)) if shape.iter().skip(1).zip(ranges).all(|(&s, &r)| r == (0, s, 1)) => {
                Ok(Value::Node(x))
            }
            Some(((0, 1, _), ranges)) => self.push(node, Op::Slice { ranges: ranges.to_vec() }, &[x]),
            _ => Err("the batch dimension has to stay".to_owned()),
        }
    }

    /// One slice per output.
    pub(super) fn split(&mut self, node: &'a NodeProto) -> Result<Vec<Value>, Reason> {
        let x = self.operand(node, 0)?;
        let shape = self.shape(x).to_vec();
        let axis = fold::axis(node.int("axis", 0)?, shape.len() + 1)?;
        let axis = axis.checked_sub(1).ok_or("the batch dimension has to stay")?;
        let side = shape.get(axis).copied().unwrap_or_default();
        let parts = node.output.len();
        let sizes = match self.ints(node, 1)? {
            Some(sizes) => sizes,
            None => vec![side.div_ceil(parts.max(1)) as i64; parts],
        };
        if sizes.len() != parts {
            return Err(format!("{} sizes for {parts} outputs", sizes.len()));
        }
        let mut values = Vec::with_capacity(parts);
        let mut start = 0usize;
        for (name, size) in node.output.iter().zip(sizes) {
            let size = usize::try_from(size).map_err(|_| format!("a part of size {size}"))?;
            let end = start.saturating_add(size).min(side);
            let range = |at: usize, &side: &usize| if at == axis { (start, end, 1) } else { (0, side, 1) };
            let ranges = shape.iter().enumerate().map(|(at, side)| range(at, side)).collect();
            values.push(Value::Node(self.builder.push(name, Op::Slice { ranges }, &[x]).map_err(reason_of)?));
            start = end;
        }
        if start == side { Ok(values) } else { Err(format!("the parts do not add up to {side}")) }
    }

    pub(super) fn transpose(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let rank = self.shape(x).len() + 1;
        let given = node.ints("perm").ok_or("without `perm` the batch would move")?;
        let perm = given.iter().map(|&axis| fold::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        let Some((0, axes)) = perm.split_first() else {
            return Err("the batch dimension has to stay in front".to_owned());
        };
        let perm: Vec<usize> = axes
            .iter()
            .map(|axis| axis.checked_sub(1))
            .collect::<Option<_>>()
            .ok_or("an axis is named twice")?;
        if perm.iter().copied().eq(0..rank - 1) {
            return Ok(Value::Node(x));
        }
        self.push(node, Op::Transpose { perm }, &[x])
    }

    fn with_batch(&self, id: NodeId) -> Vec<usize> {
        std::iter::once(1).chain(self.shape(id).iter().copied()).collect()
    }

    fn without_batch(&mut self, node: &'a NodeProto, x: NodeId, shape: &[usize]) -> Result<Value, Reason> {
        match shape.split_first() {
            Some((1, sides)) if !sides.is_empty() => self.reshaped(node, x, sides),
            _ => Err(format!("`{}` of shape {shape:?} has no batch dimension in front", output_name(node))),
        }
    }
}
