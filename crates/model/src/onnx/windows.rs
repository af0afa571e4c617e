//! Pooling.

use super::attributes::Reason;
use super::fold;
use super::import::{Importer, Value};
use super::layers::pads;
use super::proto::NodeProto;
use crate::float::Op;
use crate::graph::Window;

impl<'a> Importer<'a> {
    pub(super) fn max_pool(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if node.sizes("dilations", 1, Some([1, 1]))? != [1, 1] {
            return Err("a dilated window".to_owned());
        }
        let x = self.operand(node, 0)?;
        let window = self.window(node, x)?;
        self.push(node, Op::MaxPool(window), &[x])
    }

    pub(super) fn average_pool(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if node.sizes("dilations", 1, Some([1, 1]))? != [1, 1] {
            return Err("a dilated window".to_owned());
        }
        let x = self.operand(node, 0)?;
        let window = self.window(node, x)?;
        let count_pad = node.int("count_include_pad", 0)? != 0;
        self.push(node, Op::AvgPool { window, count_pad }, &[x])
    }

    pub(super) fn global_average_pool(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let (_, kernel) = self.image(x)?;
        let window = Window { kernel, stride: [1, 1], pads: [0; 4], ceil: false };
        self.push(node, Op::AvgPool { window, count_pad: false }, &[x])
    }

    /// The mean over height and width.
    pub(super) fn reduce_mean(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let (channels, _) = self.image(x)?;
        let axes = match self.ints(node, 1)? {
            Some(axes) => axes,
            None => node.ints("axes").unwrap_or_default().to_vec(),
        };
        let mut axes = axes.iter().map(|&axis| fold::axis(axis, 4)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes != [2, 3] {
            return Err("only the mean over height and width".to_owned());
        }
        let mean = self.global_average_pool(node)?;
        match mean {
            Value::Node(id) if node.int("keepdims", 1)? == 0 => self.reshaped(node, id, &[channels]),
            mean => Ok(mean),
        }
    }

    fn window(&self, node: &'a NodeProto, x: usize) -> Result<Window, Reason> {
        let (_, image) = self.image(x)?;
        let kernel = node.sizes("kernel_shape", 1, None)?;
        let stride = node.sizes("strides", 1, Some([1, 1]))?;
        let pads = pads(node, image, kernel, stride, [1, 1])?;
        Ok(Window { kernel, stride, pads, ceil: node.int("ceil_mode", 0)? != 0 })
    }
}
