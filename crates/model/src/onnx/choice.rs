//! Layers whose elements have different activations: `Where` with a constant condition, or `mask f(x) + (1 - mask)
//! g(x)` with constant masks of zeros and ones, as networks are exported of which some rectifiers were replaced by lines or
//! polynomials (Cho et al., *Selective network linearization*, ICML 2022; Peng et al., *AutoReP*, ICCV 2023).
//!
//! `mask f(x)` alone is remembered and not computed: it is one half of a choice. Any other reader gets it as factors per
//! feature where the value is flat, and an error where it is an image.

use super::attributes::Reason;
use super::import::{Importer, Value, reason_of};
use super::proto::NodeProto;
use super::tensor::{Data, Tensor};
use crate::float::Op;
use crate::graph::{Mask, NodeId};

/// A constant of zeros and ones, one per element of a value of this shape; a batch axis of one may stand in front.
pub(super) fn mask(constant: &Tensor, shape: &[usize]) -> Option<Mask> {
    let sides = match constant.shape.split_first() {
        Some((1, rest)) if constant.shape.len() == shape.len() + 1 => rest,
        _ => &constant.shape[..],
    };
    if sides != shape {
        return None;
    }
    let bits: Option<Vec<bool>> = match &constant.data {
        Data::Real(values) => values.iter().map(|&v| bit(v == 0.0, v == 1.0)).collect(),
        Data::Int(values) => values.iter().map(|&v| bit(v == 0, v == 1)).collect(),
    };
    bits.map(|bits| Mask::new(&bits))
}

fn bit(zero: bool, one: bool) -> Option<bool> {
    (zero || one).then_some(one)
}

impl<'a> Importer<'a> {
    pub(super) fn choice(&mut self, node: &'a NodeProto) -> Result<Value, Reason> {
        let condition = self.constant(node, 0)?.ok_or("the condition is missing")?;
        let parts = [self.operand(node, 1)?, self.operand(node, 2)?];
        let shape = self.shape(parts[0]);
        let mask = mask(&condition, shape).ok_or_else(|| {
            let given = &condition.shape;
            format!(
                "a condition of shape {given:?} with values of shape {shape:?}; one per element is supported"
            )
        })?;
        self.chosen(node, parts, mask)
    }

    /// `mask x + rest y` for masked values.
    pub(super) fn halves(
        &mut self,
        node: &'a NodeProto,
        (x, mask): (NodeId, Mask),
        (y, rest): (NodeId, &Mask),
    ) -> Result<Value, Reason> {
        let len = self.shape(x).iter().product();
        if mask.complement(len) != *rest {
            return Err("the masks of the two summands do not complete each other".to_owned());
        }
        self.chosen(node, [x, y], mask)
    }

    /// A masked value as a node: a factor per feature of a flat value.
    pub(super) fn masked(&mut self, name: &str, id: NodeId, mask: &Mask) -> Result<NodeId, Reason> {
        let &[features] = self.shape(id) else {
            let what = "a value times a mask, which only a sum `mask f(x) + (1 - mask) g(x)` may read";
            return Err(format!("`{name}` is {what}"));
        };
        self.spend(2 * features)?;
        let scale = (0..features).map(|i| f32::from(u8::from(mask.contains(i)))).collect();
        let op = Op::Affine { scale, shift: vec![0.0; features] };
        self.builder.push(name, op, &[id]).map_err(reason_of)
    }

    fn chosen(&mut self, node: &'a NodeProto, parts: [NodeId; 2], mask: Mask) -> Result<Value, Reason> {
        if self.shape(parts[0]) != self.shape(parts[1]) {
            return Err("the two values of a choice are of one shape".to_owned());
        }
        let len: usize = self.shape(parts[0]).iter().product();
        self.spend(len)?;
        match mask.count() {
            0 => Ok(Value::Node(parts[1])),
            count if count == len => Ok(Value::Node(parts[0])),
            _ => self.push(node, Op::Where { mask }, &parts),
        }
    }
}
