//! Layers with weights, and the activations.

use super::attributes::Reason;
use super::import::{Importer, Value, input, op_of, output_name};
use super::proto::{NodeProto, data_type};
use super::tensor::{Data, Tensor};
use crate::float::{Head, Op};
use crate::graph::{Conv, NodeId};

impl<'a> Importer<'a> {
    pub(super) fn conv(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let (in_channels, image) = self.image(x)?;
        let stored = self.constant(node, 1)?.ok_or("the weights are missing")?;
        let &[out_channels, per_group, kh, kw] = &stored.shape[..] else {
            return Err(format!(
                "weights of shape {:?}; only convolutions of images are supported",
                stored.shape
            ));
        };
        let groups = usize::try_from(node.int("group", 1)?).unwrap_or_default();
        if per_group.checked_mul(groups) != Some(in_channels) {
            return Err(format!("{groups} groups of {per_group} channels on {in_channels} channels"));
        }
        let kernel = node.sizes("kernel_shape", 1, Some([kh, kw]))?;
        if kernel != [kh, kw] {
            return Err(format!("`kernel_shape` {kernel:?} but weights of {:?}", [kh, kw]));
        }
        let stride = node.sizes("strides", 1, Some([1, 1]))?;
        let dilation = node.sizes("dilations", 1, Some([1, 1]))?;
        let pads = pads(node, image, kernel, stride, dilation)?;
        let conv = Conv { in_channels, input: image, out_channels, kernel, stride, pads, dilation, groups };
        let bias = match self.constant(node, 2)? {
            Some(bias) => self.parameters(&bias)?,
            None => vec![0.0; out_channels],
        };
        let weights = self.parameters(&stored)?;
        self.push(node, Op::Linear { conv, weights, bias }, &[x])
    }

    pub(super) fn gemm(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if node.int("transA", 0)? != 0 {
            return Err("`transA` would multiply across the batch".to_owned());
        }
        let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
        let x = self.operand(node, 0)?;
        let stored = self.constant(node, 1)?.ok_or("the weights are missing")?;
        let (mut weights, outputs) = self.rows(&stored, node.int("transB", 0)? != 0)?;
        weights.iter_mut().for_each(|w| *w *= alpha);
        let bias = match self.constant(node, 2)? {
            None => vec![0.0; outputs],
            Some(bias) => {
                let numbers = self.parameters(&bias)?;
                let spread = match (&bias.shape[..], &numbers[..]) {
                    (&[n] | &[1, n], _) if n == outputs => numbers,
                    ([] | [1] | [1, 1], &[b]) => vec![b; outputs],
                    (shape, _) => return Err(format!("a bias of shape {shape:?} for {outputs} outputs")),
                };
                spread.into_iter().map(|b| b * beta).collect()
            }
        };
        self.dense(node, x, weights, bias)
    }

    pub(super) fn matmul(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        if !matches!(self.value(node, 1)?, Value::Constant(_)) {
            return Err(
                "a product of two values has no private protocol; one side has to be constant".to_owned()
            );
        }
        let stored = self.constant(node, 1)?.ok_or("the weights are missing")?;
        let (weights, outputs) = self.rows(&stored, false)?;
        self.dense(node, x, weights, vec![0.0; outputs])
    }

    pub(super) fn batch_normalization(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if node.int("training_mode", 0)? != 0 {
            return Err("training mode; export the model for inference".to_owned());
        }
        let x = self.operand(node, 0)?;
        let epsilon = f64::from(node.float("epsilon", 1e-5)?);
        let mut statistics = Vec::with_capacity(4);
        for index in 1..5 {
            let stored = self.constant(node, index)?.ok_or_else(|| format!("input {index} is missing"))?;
            statistics.push(self.parameters(&stored)?);
        }
        let [gamma, beta, mean, variance] = &statistics[..] else {
            return Err("inputs are missing".to_owned());
        };
        if statistics.iter().any(|numbers| self.shape(x).first() != Some(&numbers.len())) {
            return Err("one scale, shift, mean and variance per channel are required".to_owned());
        }
        let factor = |(g, v): (&f32, &f32)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt();
        let scale: Vec<f64> = gamma.iter().zip(variance).map(factor).collect();
        let shift =
            scale.iter().zip(mean).zip(beta).map(|((s, m), b)| (f64::from(*b) - f64::from(*m) * s) as f32);
        let shift: Vec<f32> = shift.collect();
        let scale: Vec<f32> = scale.into_iter().map(|s| s as f32).collect();
        if scale.iter().chain(&shift).any(|c| !c.is_finite()) {
            return Err("a variance is not positive".to_owned());
        }
        self.push(node, Op::Affine { scale, shift }, &[x])
    }

    pub(super) fn relu(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        self.push(node, Op::Clip { lo: 0.0, hi: f32::INFINITY }, &[x])
    }

    pub(super) fn clip(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        let bound = |index: usize, default: f32| match self.constant(node, index)? {
            None => Ok(default),
            Some(tensor) => {
                tensor.scalar().map(|b| b as f32).ok_or_else(|| format!("bound {index} is no scalar"))
            }
        };
        // The extreme numbers stand for no bound.
        let (lo, hi) = (bound(1, f32::MIN)?, bound(2, f32::MAX)?);
        let lo = if lo <= f32::MIN { f32::NEG_INFINITY } else { lo };
        let hi = if hi >= f32::MAX { f32::INFINITY } else { hi };
        self.push(node, Op::Clip { lo, hi }, &[x])
    }

    /// Softmax and arg-max over the features at the end.
    pub(super) fn head(&mut self, node: &'a NodeProto, head: Head) -> Result<Value, Reason> {
        // The largest probability is the largest logit.
        let x = match (self.value(node, 0)?, head) {
            (Value::Head(x, Head::Softmax), Head::ArgMax) => x,
            _ => self.operand(node, 0)?,
        };
        let rank = self.shape(x).len() + 1;
        let default = if head == Head::ArgMax { 0 } else { -1 };
        let axis = super::fold::axis(node.int("axis", default)?, rank)?;
        if axis != 1 || self.shape(x).iter().skip(1).any(|&side| side > 1) {
            return Err("only over the features of a flat value at the end of the network".to_owned());
        }
        if node.int("select_last_index", 0)? != 0 {
            return Err("of equal logits the first is chosen".to_owned());
        }
        Ok(Value::Head(x, head))
    }

    /// A probability per output at the end.
    pub(super) fn sigmoid(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        Ok(Value::Head(self.operand(node, 0)?, Head::Sigmoid))
    }

    /// The value itself; a polynomial is computed here and not combined with what follows.
    pub(super) fn identity(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match self.value(node, 0)? {
            Value::Polynomial(polynomial) => {
                self.materialise(output_name(node), &polynomial).map(Value::Node)
            }
            value => Ok(value),
        }
    }

    pub(super) fn dropout(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if self.constant(node, 2)?.is_some_and(|training| training.scalar() != Some(0.0)) {
            return Err("training mode; export the model for inference".to_owned());
        }
        self.value(node, 0)
    }

    pub(super) fn cast(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match i32::try_from(node.int("to", 0)?).unwrap_or_default() {
            data_type::FLOAT | data_type::FLOAT16 | data_type::DOUBLE => self.value(node, 0),
            other => Err(format!("a cast of a value to data type {other}")),
        }
    }

    /// Channels, height and width of a value.
    pub(super) fn image(&self, id: NodeId) -> Result<(usize, [usize; 2]), Reason> {
        match *self.shape(id) {
            [channels, h, w] => Ok((channels, [h, w])),
            ref shape => Err(format!("a value of shape {shape:?} is no image [channels, height, width]")),
        }
    }

    fn dense(
        &mut self,
        node: &'a NodeProto,
        x: NodeId,
        weights: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<Value, Reason> {
        let &[inputs] = self.shape(x) else {
            return Err(format!("a dense layer on a value of shape {:?}; flatten it first", self.shape(x)));
        };
        if weights.iter().chain(&bias).any(|w| !w.is_finite()) {
            return Err("a weight is no finite number".to_owned());
        }
        let conv = Conv::dense(inputs, bias.len());
        if conv.in_channels.checked_mul(conv.out_channels) != Some(weights.len()) {
            return Err(format!("{} weights for {inputs} inputs and {} outputs", weights.len(), bias.len()));
        }
        self.push(node, Op::Linear { conv, weights, bias }, &[x])
    }

    /// A matrix as rows of one output each, and their number.
    fn rows(&mut self, stored: &Tensor, transposed: bool) -> Result<(Vec<f32>, usize), Reason> {
        let &[rows, columns] = &stored.shape[..] else {
            return Err(format!("weights of shape {:?} are no matrix", stored.shape));
        };
        let numbers = self.parameters(stored)?;
        if transposed {
            return Ok((numbers, rows));
        }
        Ok((crate::op::transpose::run(&numbers, &[rows, columns], &[1, 0]), columns))
    }

    /// A copy of stored numbers, all finite.
    fn parameters(&mut self, stored: &Tensor) -> Result<Vec<f32>, Reason> {
        self.spend(stored.len())?;
        match &stored.data {
            Data::Real(values) if values.iter().all(|v| v.is_finite()) => Ok(values.clone()),
            Data::Real(_) => Err("a parameter is no finite number".to_owned()),
            Data::Int(_) => Err("parameters have to be real numbers".to_owned()),
        }
    }
}

/// `pads`, or what `auto_pad` means for this image.
pub(super) fn pads(
    node: &NodeProto,
    image: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
) -> Result<[usize; 4], Reason> {
    let auto = node.word("auto_pad", "NOTSET")?;
    if auto == "NOTSET" {
        return node.sizes("pads", 0, Some([0; 4]));
    }
    let mut pads = [0; 4];
    if auto == "VALID" {
        return Ok(pads);
    }
    if auto != "SAME_UPPER" && auto != "SAME_LOWER" {
        return Err(format!("`auto_pad` = {auto}"));
    }
    // As many outputs as strides fit into the image.
    let [height, width] = std::array::from_fn(|axis| {
        let pick = |sides: [usize; 2]| sides.into_iter().nth(axis).unwrap_or(1);
        let (side, stride) = (pick(image), pick(stride));
        let span = (side.div_ceil(stride) - 1) * stride + pick(dilation) * (pick(kernel) - 1) + 1;
        let total = span.saturating_sub(side);
        let small = total / 2;
        if auto == "SAME_UPPER" { (small, total - small) } else { (total - small, small) }
    });
    (pads[0], pads[1], pads[2], pads[3]) = (height.0, width.0, height.1, width.1);
    Ok(pads)
}

/// Inputs of a node beyond the first `known` are refused rather than ignored.
pub(super) fn no_more_inputs(node: &NodeProto, known: usize) -> Result<(), Reason> {
    match (known..node.input.len()).find(|&index| input(node, index).is_some()) {
        Some(index) => Err(format!("input {index} of {} is not supported", op_of(node))),
        None => Ok(()),
    }
}
