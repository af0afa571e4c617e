//! Sums and products: of two values, of a value and a constant, and symbolically of polynomials of one value.
//!
//! A value times or plus a scalar is not computed but remembered as a polynomial `p(x)` of the value `x`; sums and
//! products of polynomials of one `x` are polynomials of `x`. A reader that needs the numbers turns the
//! polynomial into a node: nothing for `x` itself, an affine map for degree one, [`Op::Poly`] above. `Identity` is
//! such a reader, which keeps a polynomial of a polynomial apart.

use std::rc::Rc;

use super::attributes::Reason;
use super::choice;
use super::import::{Importer, ONLY_AT_THE_END, Value, input, output_name, reason_of};
use super::proto::NodeProto;
use super::tensor::Tensor;
use crate::float::Op;
use crate::graph::NodeId;

/// `coefficients[0] + coefficients[1] x + ...` of the value `of`, without zeros at the end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Polynomial {
    pub(super) of: NodeId,
    pub(super) coefficients: Vec<f64>,
}

impl Polynomial {
    fn new(of: NodeId, mut coefficients: Vec<f64>) -> Self {
        while coefficients.last() == Some(&0.0) {
            coefficients.pop();
        }
        Self { of, coefficients }
    }

    fn identity(of: NodeId) -> Self {
        Self { of, coefficients: vec![0.0, 1.0] }
    }

    fn times(&self, other: &[f64]) -> Self {
        let mut product = vec![0.0; (self.coefficients.len() + other.len()).saturating_sub(1)];
        for (shift, a) in self.coefficients.iter().enumerate() {
            for (place, b) in product.iter_mut().skip(shift).zip(other) {
                *place += a * b;
            }
        }
        Self::new(self.of, product)
    }

    fn plus(&self, other: &[f64]) -> Self {
        let length = self.coefficients.len().max(other.len());
        let padded =
            |c: &[f64]| c.iter().copied().chain(std::iter::repeat(0.0)).take(length).collect::<Vec<_>>();
        let sum = padded(&self.coefficients).iter().zip(padded(other)).map(|(a, b)| a + b).collect();
        Self::new(self.of, sum)
    }
}

impl From<Polynomial> for Value {
    fn from(polynomial: Polynomial) -> Self {
        match polynomial.coefficients[..] {
            [0.0, 1.0] => Self::Node(polynomial.of),
            _ => Self::Polynomial(polynomial),
        }
    }
}

/// One side of a binary operation.
enum Side {
    Value(Polynomial),
    Scalar(f64),
    Tensor(Rc<Tensor>),
}

impl<'a> Importer<'a> {
    pub(super) fn add(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        if let (Value::Masked(x, mask), Value::Masked(y, rest)) = (self.value(node, 0)?, self.value(node, 1)?)
        {
            return self.halves(node, (x, mask), (y, &rest));
        }
        match self.sides(node)? {
            (Side::Value(x), Side::Value(y)) if x.of == y.of => Ok(x.plus(&y.coefficients).into()),
            (Side::Value(_), Side::Value(_)) => self.join(node, Op::Add),
            (Side::Value(x), Side::Scalar(c)) | (Side::Scalar(c), Side::Value(x)) => Ok(x.plus(&[c]).into()),
            (Side::Value(_), Side::Tensor(c)) => self.add_constant(node, 0, &c),
            (Side::Tensor(c), Side::Value(_)) => self.add_constant(node, 1, &c),
            _ => Err("both sides are constant".to_owned()),
        }
    }

    pub(super) fn sub(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match self.sides(node)? {
            (Side::Value(x), Side::Value(y)) if x.of == y.of => {
                Ok(x.plus(&y.times(&[-1.0]).coefficients).into())
            }
            (Side::Value(_), Side::Value(y)) => {
                let x = self.operand(node, 0)?;
                let negated =
                    self.materialise(&format!("{}.negated", output_name(node)), &y.times(&[-1.0]))?;
                self.push(node, Op::Add, &[x, negated])
            }
            (Side::Value(x), Side::Scalar(c)) => Ok(x.plus(&[-c]).into()),
            (Side::Scalar(c), Side::Value(x)) => Ok(x.times(&[-1.0]).plus(&[c]).into()),
            (Side::Value(_), Side::Tensor(c)) => self.affine(node, 0, &c, |c| (1.0, -c)),
            (Side::Tensor(c), Side::Value(_)) => self.affine(node, 1, &c, |c| (-1.0, c)),
            _ => Err("both sides are constant".to_owned()),
        }
    }

    pub(super) fn mul(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match self.sides(node)? {
            (Side::Value(x), Side::Value(y)) => {
                let length = x.coefficients.len() + y.coefficients.len();
                if x.of == y.of && length <= MAX_COEFFICIENTS {
                    return Ok(x.times(&y.coefficients).into());
                }
                let (a, b) = (self.operand(node, 0)?, self.operand(node, 1)?);
                if a == b {
                    return Ok(Polynomial::new(a, vec![0.0, 0.0, 1.0]).into());
                }
                self.push(node, Op::Mul, &[a, b])
            }
            (Side::Value(x), Side::Scalar(c)) | (Side::Scalar(c), Side::Value(x)) => Ok(x.times(&[c]).into()),
            (Side::Value(_), Side::Tensor(c)) => self.mul_constant(node, 0, &c),
            (Side::Tensor(c), Side::Value(_)) => self.mul_constant(node, 1, &c),
            _ => Err("both sides are constant".to_owned()),
        }
    }

    pub(super) fn div(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match self.sides(node)? {
            (Side::Value(x), Side::Scalar(c)) => Ok(x.times(&[1.0 / c]).into()),
            (Side::Value(_), Side::Tensor(c)) => self.affine(node, 0, &c, |c| (1.0 / c, 0.0)),
            _ => Err("the divisor has to be a constant".to_owned()),
        }
    }

    pub(super) fn neg(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        match self.side(node, 0)? {
            Side::Value(x) => Ok(x.times(&[-1.0]).into()),
            _ => Err("the input is constant".to_owned()),
        }
    }

    /// `clamp(alpha x + beta, 0, 1)`.
    pub(super) fn hard_sigmoid(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
        let Side::Value(x) = self.side(node, 0)? else { return Err("the input is constant".to_owned()) };
        let line = x.times(&[alpha.into()]).plus(&[beta.into()]);
        let line = self.materialise(&format!("{}.line", output_name(node)), &line)?;
        self.push(node, Op::Clip { lo: 0.0, hi: 1.0 }, &[line])
    }

    pub(super) fn hard_swish(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let x = self.operand(node, 0)?;
        self.push(node, Op::HardSwish, &[x])
    }

    pub(super) fn pow(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let (Side::Value(x), Side::Scalar(exponent)) = self.sides(node)? else {
            return Err("the exponent has to be a scalar constant".to_owned());
        };
        let whole = (1..MAX_COEFFICIENTS).find(|&n| n as f64 == exponent);
        let degree = whole.map(|n| n * x.coefficients.len().saturating_sub(1));
        match (whole, degree) {
            (Some(n), Some(degree)) if degree < MAX_COEFFICIENTS => {
                Ok((1..n).fold(x.clone(), |power, _| power.times(&x.coefficients)).into())
            }
            _ => Err(format!(
                "exponent {exponent}; whole ones up to degree {} are supported",
                MAX_COEFFICIENTS - 1
            )),
        }
    }

    /// A polynomial as a node.
    pub(super) fn materialise(&mut self, name: &str, polynomial: &Polynomial) -> Result<NodeId, Reason> {
        let of = polynomial.of;
        let coefficients: Vec<f32> = polynomial.coefficients.iter().map(|&c| c as f32).collect();
        if coefficients.iter().any(|c| !c.is_finite()) {
            return Err(format!("`{name}` has a coefficient that is no finite number"));
        }
        let op = match coefficients[..] {
            [] | [_] => return Err(format!("`{name}` does not depend on the input")),
            [0.0, 1.0] => return Ok(of),
            [shift, scale] => {
                let channels = self.shape(of).first().copied().unwrap_or_default();
                self.spend(2 * channels)?;
                Op::Affine { scale: vec![scale; channels], shift: vec![shift; channels] }
            }
            _ => Op::Poly { coefficients },
        };
        self.builder.push(name, op, &[of]).map_err(reason_of)
    }

    fn sides(&mut self, node: &'a NodeProto) -> Result<(Side, Side), Reason> {
        Ok((self.side(node, 0)?, self.side(node, 1)?))
    }

    fn side(&mut self, node: &'a NodeProto, index: usize) -> Result<Side, Reason> {
        Ok(match self.value(node, index)? {
            Value::Node(id) => Side::Value(Polynomial::identity(id)),
            Value::Polynomial(polynomial) => Side::Value(polynomial),
            Value::Constant(tensor) => match tensor.scalar() {
                // A constant of more axes than the value would add axes to the result.
                Some(c) if tensor.shape.len() <= self.partner_axes(node, index) => Side::Scalar(c),
                _ => Side::Tensor(tensor),
            },
            Value::Masked(..) => Side::Value(Polynomial::identity(self.operand(node, index)?)),
            Value::Head(..) => {
                return Err(ONLY_AT_THE_END.to_owned());
            }
        })
    }

    /// Number of axes, with the batch, of the other input of a binary node.
    fn partner_axes(&self, node: &'a NodeProto, index: usize) -> usize {
        match self.value(node, 1 - index.min(1)) {
            Ok(Value::Node(id) | Value::Masked(id, _) | Value::Polynomial(Polynomial { of: id, .. })) => {
                self.shape(id).len() + 1
            }
            _ => 0,
        }
    }

    fn join(&mut self, node: &'a NodeProto, op: Op) -> Result<Value, Reason> {
        let inputs = [self.operand(node, 0)?, self.operand(node, 1)?];
        self.push(node, op, &inputs)
    }

    /// A constant per channel added to a layer that nothing else reads is its bias.
    fn add_constant(&mut self, node: &'a NodeProto, side: usize, constant: &Tensor) -> Result<Value, Reason> {
        let id = self.operand(node, side)?;
        // Under its own name: an alias (a reshape to the same shape) may have other readers.
        let last = self.builder.nodes().last().map(|last| last.name.as_str());
        let is_last = id + 1 == self.builder.nodes().len() && last == input(node, side);
        let only_reader = is_last && self.readers(node, side) == 1;
        let per_channel = self.per_channel(id, constant)?;
        if let (true, Some(Op::Linear { bias, .. })) = (only_reader, self.builder.op_mut(id)) {
            for (b, c) in bias.iter_mut().zip(per_channel) {
                *b += c;
            }
            return Ok(Value::Node(id));
        }
        self.affine(node, side, constant, |c| (1.0, c))
    }

    /// A factor per channel; zeros and ones for every element are a mask.
    fn mul_constant(&mut self, node: &'a NodeProto, side: usize, factor: &Tensor) -> Result<Value, Reason> {
        let id = self.operand(node, side)?;
        match choice::mask(factor, self.shape(id)) {
            Some(mask) => Ok(Value::Masked(id, mask)),
            None => self.affine(node, side, factor, |c| (c, 0.0)),
        }
    }

    /// `scale x + shift` with both from the constant of each channel.
    fn affine(
        &mut self,
        node: &'a NodeProto,
        side: usize,
        constant: &Tensor,
        terms: impl Fn(f32) -> (f32, f32),
    ) -> Result<Value, Reason> {
        let id = self.operand(node, side)?;
        let (scale, shift): (Vec<_>, Vec<_>) = self.per_channel(id, constant)?.into_iter().map(terms).unzip();
        if scale.iter().chain(&shift).any(|c| !c.is_finite()) {
            return Err("a factor or summand is no finite number".to_owned());
        }
        self.spend(2 * scale.len())?;
        self.push(node, Op::Affine { scale, shift }, &[id])
    }

    /// The numbers of a constant that ONNX broadcasts over all axes of the value but the first.
    fn per_channel(&self, id: NodeId, constant: &Tensor) -> Result<Vec<f32>, Reason> {
        let shape = self.shape(id);
        let ones = constant.shape.iter().take_while(|&&side| side == 1).count();
        let sides: Vec<usize> = constant.shape.iter().copied().skip(ones).collect();
        let wanted: Vec<usize> =
            shape.first().copied().into_iter().chain(shape.iter().skip(1).map(|_| 1)).collect();
        if sides == wanted && constant.shape.len() <= shape.len() + 1 {
            return Ok(constant.reals());
        }
        Err(format!(
            "a constant of shape {:?} with a value of shape {shape:?}; scalars and one number per channel are supported",
            constant.shape
        ))
    }
}

/// Bound on the length of a symbolic polynomial: products beyond it are computed, not remembered.
const MAX_COEFFICIENTS: usize = 9;
