//! Nodes whose inputs are all constants, evaluated while importing. Frameworks export such subgraphs to compute
//! shapes, paddings and axes, and to transpose weights.

use std::rc::Rc;

use super::attributes::Reason;
use super::import::op_of;
use super::proto::{NodeProto, data_type};
use super::tensor::{Data, Tensor};
use crate::op;

/// Elements of a constant that is not made of a larger stored one.
const MAX_GROWN: usize = 1 << 20;

type Inputs = [Option<Rc<Tensor>>];

/// The result of a node on constants.
pub(super) fn evaluate(node: &NodeProto, inputs: &Inputs) -> Result<Tensor, Reason> {
    match op_of(node) {
        "Constant" => constant(node),
        "ConstantOfShape" => constant_of_shape(node, inputs),
        "Identity" | "Dropout" => Ok(Tensor::clone(required(inputs, 0)?)),
        "Cast" => cast(node, required(inputs, 0)?),
        "Concat" => concat(node, inputs),
        "Gather" => gather(node, required(inputs, 0)?, required(inputs, 1)?),
        "Slice" => slice(inputs),
        "Reshape" => reshape(node, required(inputs, 0)?, required(inputs, 1)?),
        "Transpose" => transpose(node, required(inputs, 0)?),
        "Squeeze" => {
            let x = required(inputs, 0)?;
            let shape = squeezed(&x.shape, optional_ints(inputs, 1)?)?;
            Ok(Tensor { shape, data: x.data.clone() })
        }
        "Unsqueeze" => {
            let x = required(inputs, 0)?;
            let axes = optional_ints(inputs, 1)?.ok_or("the axes are missing")?;
            Ok(Tensor { shape: unsqueezed(&x.shape, axes)?, data: x.data.clone() })
        }
        op @ ("Add" | "Sub" | "Mul" | "Div") => arithmetic(op, required(inputs, 0)?, required(inputs, 1)?),
        _ => Err("the operator is not evaluated on constants".to_owned()),
    }
}

/// The shape of a value as a constant; `start` and `end` as in ONNX.
pub(super) fn shape(node: &NodeProto, shape: &[usize]) -> Result<Tensor, Reason> {
    let rank = shape.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(node.int("start", 0)?), place(node.int("end", i64::MAX)?));
    let sides = shape.iter().take(end).skip(start).map(|&side| side as i64);
    Ok(Tensor::ints(sides.collect()))
}

/// `axis`, counted from the end where negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Reason> {
    let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    counted
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| format!("axis {axis} of {rank} axes"))
}

/// The shape that a reshape asks for: 0 keeps a side (unless `literal`), one -1 takes what is left.
pub(super) fn reshaped(shape: &[usize], wanted: &[i64], literal: bool) -> Result<Vec<usize>, Reason> {
    let fail = || format!("a reshape of {shape:?} to {wanted:?}");
    let mut sides = Vec::with_capacity(wanted.len());
    for (axis, &side) in wanted.iter().enumerate() {
        sides.push(match side {
            -1 => None,
            0 if !literal => Some(*shape.get(axis).ok_or_else(fail)?),
            _ => Some(usize::try_from(side).map_err(|_| fail())?),
        });
    }
    let total = op::elements(shape).ok_or_else(fail)?;
    let known: Vec<usize> = sides.iter().copied().flatten().collect();
    let known = op::elements(&known).ok_or_else(fail)?;
    let free = match sides.len() - sides.iter().flatten().count() {
        0 if known == total => 1,
        1 if known > 0 && total.is_multiple_of(known) => total / known,
        _ => return Err(fail()),
    };
    Ok(sides.into_iter().map(|side| side.unwrap_or(free)).collect())
}

/// The shape without the named axes of side 1, or without all such axes.
pub(super) fn squeezed(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, Reason> {
    let Some(axes) = axes else { return Ok(shape.iter().copied().filter(|&side| side != 1).collect()) };
    let axes = axes.iter().map(|&a| axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?;
    if axes.iter().any(|&axis| shape.get(axis) != Some(&1)) {
        return Err(format!("axes {axes:?} of {shape:?} are not all of side 1"));
    }
    Ok(shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, &side)| side).collect())
}

/// The shape with sides of 1 at the named axes of the result.
pub(super) fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, Reason> {
    if axes.len() > MAX_RANK {
        return Err(format!("{} axes", axes.len()));
    }
    let rank = shape.len() + axes.len();
    let axes = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sides = shape.iter().copied();
    let result: Vec<usize> = (0..rank)
        .map(|axis| if axes.contains(&axis) { Some(1) } else { sides.next() })
        .collect::<Option<_>>()
        .ok_or("an axis is named twice")?;
    if sides.next().is_some() { Err("an axis is named twice".to_owned()) } else { Ok(result) }
}

/// First index and end (exclusive, in the direction of `step`) of a slice of an axis, with the clamping of ONNX.
pub(super) fn slice_bounds(side: usize, start: i64, end: i64, step: i64) -> (i64, i64) {
    let side = side as i64;
    let counted = |at: i64| if at < 0 { at.saturating_add(side) } else { at };
    let (low, high) = if step > 0 { (0, side) } else { (-1, side - 1) };
    (counted(start).clamp(low.max(0), high.max(0)), counted(end).clamp(low, high))
}

fn required(inputs: &Inputs, index: usize) -> Result<&Rc<Tensor>, Reason> {
    inputs.get(index).and_then(Option::as_ref).ok_or_else(|| format!("input {index} is missing"))
}

fn ints(inputs: &Inputs, index: usize) -> Result<&[i64], Reason> {
    required(inputs, index)?.as_ints().ok_or_else(|| format!("input {index} holds no integers"))
}

fn optional_ints(inputs: &Inputs, index: usize) -> Result<Option<&[i64]>, Reason> {
    match inputs.get(index) {
        Some(Some(_)) => ints(inputs, index).map(Some),
        _ => Ok(None),
    }
}

fn constant(node: &NodeProto) -> Result<Tensor, Reason> {
    if let Some(tensor) = node.tensor("value")? {
        return Ok(tensor);
    }
    if let Some(values) = node.ints("value_ints") {
        return Ok(Tensor::ints(values.to_vec()));
    }
    if let Some(values) = node.floats("value_floats") {
        return Ok(Tensor { shape: vec![values.len()], data: Data::Real(values.to_vec()) });
    }
    let data = match node.has("value_int") {
        true => Data::Int(vec![node.int("value_int", 0)?]),
        false if node.has("value_float") => Data::Real(vec![node.float("value_float", 0.0)?]),
        false => return Err("the constant is neither a tensor nor numbers".to_owned()),
    };
    Ok(Tensor { shape: Vec::new(), data })
}

fn constant_of_shape(node: &NodeProto, inputs: &Inputs) -> Result<Tensor, Reason> {
    let shape: Vec<usize> = ints(inputs, 0)?
        .iter()
        .map(|&side| usize::try_from(side).map_err(|_| format!("side {side}")))
        .collect::<Result<_, _>>()?;
    let length = grown(&shape)?;
    let data = match node.tensor("value")?.map(|tensor| tensor.data) {
        None => Data::Real(vec![0.0; length]),
        Some(Data::Real(values)) => Data::Real(vec![*values.first().ok_or("no value")?; length]),
        Some(Data::Int(values)) => Data::Int(vec![*values.first().ok_or("no value")?; length]),
    };
    Ok(Tensor { shape, data })
}

fn grown(shape: &[usize]) -> Result<usize, Reason> {
    op::elements(shape)
        .filter(|&length| length <= MAX_GROWN)
        .ok_or_else(|| format!("a computed constant of shape {shape:?} is too large"))
}

fn cast(node: &NodeProto, x: &Tensor) -> Result<Tensor, Reason> {
    let to = i32::try_from(node.int("to", 0)?).unwrap_or_default();
    let data = match (&x.data, to) {
        (_, data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16) => Data::Real(x.reals()),
        (Data::Int(values), data_type::INT64 | data_type::INT32) => Data::Int(values.clone()),
        (Data::Real(values), data_type::INT64 | data_type::INT32) => {
            Data::Int(values.iter().map(|&v| v as i64).collect())
        }
        (_, other) => return Err(format!("a cast to data type {other}")),
    };
    Ok(Tensor { shape: x.shape.clone(), data })
}

fn concat(node: &NodeProto, inputs: &Inputs) -> Result<Tensor, Reason> {
    let first = required(inputs, 0)?;
    let axis = axis(node.int("axis", 0)?, first.shape.len())?;
    let (outer, tail) = first.shape.split_at_checked(axis).ok_or("no such axis")?;
    let blocks = op::elements(outer).ok_or("the shape is too large")?;
    let (mut side, mut reals, mut whole) = (0usize, Vec::new(), Vec::new());
    let parts = (0..inputs.len()).map(|i| required(inputs, i)).collect::<Result<Vec<_>, _>>()?;
    for part in &parts {
        let (lead, rest) = part.shape.split_at_checked(axis).ok_or("the parts differ in rank")?;
        let along = *rest.first().ok_or("the parts differ in rank")?;
        if lead != outer || rest.get(1..) != tail.get(1..) {
            return Err("the parts agree in all axes but one".to_owned());
        }
        side = side.checked_add(along).ok_or("the result is too large")?;
    }
    let mut shape = first.shape.clone();
    if let Some(place) = shape.get_mut(axis) {
        *place = side;
    }
    grown(&shape)?;
    for block in 0..blocks {
        for part in &parts {
            let length = part.len() / blocks.max(1);
            match (&part.data, &first.data) {
                (Data::Real(v), Data::Real(_)) => reals.extend(v.iter().skip(block * length).take(length)),
                (Data::Int(v), Data::Int(_)) => whole.extend(v.iter().skip(block * length).take(length)),
                _ => return Err("the parts are of different types".to_owned()),
            }
        }
    }
    let data = if matches!(first.data, Data::Real(_)) { Data::Real(reals) } else { Data::Int(whole) };
    Ok(Tensor { shape, data })
}

fn gather(node: &NodeProto, x: &Tensor, indices: &Tensor) -> Result<Tensor, Reason> {
    let along = axis(node.int("axis", 0)?, x.shape.len())?;
    let side = x.shape.get(along).copied().unwrap_or_default();
    let places = indices.as_ints().ok_or("the indices are no integers")?;
    let places = places.iter().map(|&i| axis(i, side)).collect::<Result<Vec<_>, _>>()?;
    let taken = take(x, along, &places)?;
    let (lead, rest) = x.shape.split_at_checked(along).ok_or("no such axis")?;
    let shape = [lead, &indices.shape, rest.get(1..).unwrap_or_default()].concat();
    Ok(Tensor { shape, data: taken.data })
}

fn slice(inputs: &Inputs) -> Result<Tensor, Reason> {
    let (starts, ends) = (ints(inputs, 1)?, ints(inputs, 2)?);
    let (axes, steps) = (optional_ints(inputs, 3)?, optional_ints(inputs, 4)?);
    let mut x = Tensor::clone(required(inputs, 0)?);
    if starts.len() != ends.len() || starts.len() > x.shape.len() {
        return Err("the slice has not one start and one end per axis".to_owned());
    }
    for (i, (&start, &end)) in starts.iter().zip(ends).enumerate() {
        let along = axes.map_or(Some(i as i64), |axes| axes.get(i).copied()).ok_or("an axis is missing")?;
        let step = steps.map_or(Some(1), |steps| steps.get(i).copied()).ok_or("a step is missing")?;
        let along = axis(along, x.shape.len())?;
        let side = x.shape.get(along).copied().unwrap_or_default();
        if step == 0 {
            return Err("a step of zero".to_owned());
        }
        let (start, end) = if side == 0 { (0, 0) } else { slice_bounds(side, start, end, step) };
        let mut places = Vec::new();
        let mut at = start;
        while (step > 0 && at < end) || (step < 0 && at > end) {
            places.push(at as usize);
            at = at.saturating_add(step);
        }
        x = take(&x, along, &places)?;
    }
    Ok(x)
}

/// The given places along an axis; places lie inside it.
fn take(x: &Tensor, along: usize, places: &[usize]) -> Result<Tensor, Reason> {
    fn pick<T: Copy>(values: &[T], side: usize, inner: usize, places: &[usize]) -> Vec<T> {
        let blocks = values.chunks_exact((side * inner).max(1));
        let runs = blocks
            .flat_map(|block| places.iter().filter_map(move |&p| block.get(p * inner..(p + 1) * inner)));
        runs.flatten().copied().collect()
    }
    let mut shape = x.shape.clone();
    let side = shape.get_mut(along).ok_or("no such axis")?;
    let old = std::mem::replace(side, places.len());
    grown(&shape)?;
    let inner = op::elements(shape.get(along + 1..).unwrap_or_default()).ok_or("the shape is too large")?;
    let data = match &x.data {
        Data::Real(values) => Data::Real(pick(values, old, inner, places)),
        Data::Int(values) => Data::Int(pick(values, old, inner, places)),
    };
    Ok(Tensor { shape, data })
}

fn reshape(node: &NodeProto, x: &Tensor, wanted: &Tensor) -> Result<Tensor, Reason> {
    let wanted = wanted.as_ints().ok_or("the shape holds no integers")?;
    let shape = reshaped(&x.shape, wanted, node.int("allowzero", 0)? != 0)?;
    Ok(Tensor { shape, data: x.data.clone() })
}

fn transpose(node: &NodeProto, x: &Tensor) -> Result<Tensor, Reason> {
    let perm: Vec<usize> = match node.ints("perm") {
        Some(axes) => axes.iter().map(|&a| axis(a, x.shape.len())).collect::<Result<_, _>>()?,
        None => (0..x.shape.len()).rev().collect(),
    };
    let shape = op::transpose::shape(&x.shape, &perm).ok_or("`perm` is no permutation of the axes")?;
    let data = match &x.data {
        Data::Real(values) => Data::Real(op::transpose::run(values, &x.shape, &perm)),
        Data::Int(values) => Data::Int(op::transpose::run(values, &x.shape, &perm)),
    };
    Ok(Tensor { shape, data })
}

/// Element by element, of one shape or with one side a scalar.
fn arithmetic(op: &str, x: &Tensor, y: &Tensor) -> Result<Tensor, Reason> {
    fn pairs<T: Copy>(x: &[T], y: &[T], length: usize, f: impl Fn(T, T) -> Option<T>) -> Option<Vec<T>> {
        x.iter().cycle().zip(y.iter().cycle()).take(length).map(|(&a, &b)| f(a, b)).collect()
    }
    let shape = match (x, y) {
        _ if x.shape == y.shape => x.shape.clone(),
        _ if y.len() == 1 && y.shape.len() <= x.shape.len() => x.shape.clone(),
        _ if x.len() == 1 && x.shape.len() <= y.shape.len() => y.shape.clone(),
        _ => return Err("constants of different shapes".to_owned()),
    };
    let length = op::elements(&shape).ok_or("the shape is too large")?;
    let data = match (&x.data, &y.data) {
        (Data::Int(a), Data::Int(b)) => Data::Int(
            pairs(a, b, length, |a, b| match op {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                _ => a.checked_div(b),
            })
            .ok_or("an integer overflow or a division by zero")?,
        ),
        (Data::Real(a), Data::Real(b)) => Data::Real(
            pairs(a, b, length, |a, b| {
                Some(match op {
                    "Add" => a + b,
                    "Sub" => a - b,
                    "Mul" => a * b,
                    _ => a / b,
                })
            })
            .unwrap_or_default(),
        ),
        _ => return Err("constants of different types".to_owned()),
    };
    Ok(Tensor { shape, data })
}

/// More axes than any network has.
pub(super) const MAX_RANK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_movers() {
        assert_eq!(reshaped(&[1, 6, 4], &[0, -1], false), Ok(vec![1, 24]));
        assert_eq!(reshaped(&[1, 6, 4], &[-1, 2, 3, 4], false), Ok(vec![1, 2, 3, 4]));
        for bad in [&[-1, -1][..], &[5, -1], &[-2], &[0, 0, 0, 0], &[i64::MAX, i64::MAX, -1]] {
            assert!(reshaped(&[1, 6, 4], bad, false).is_err(), "{bad:?}");
        }
        assert!(reshaped(&[4], &[0, -1], true).is_err());
        assert_eq!(squeezed(&[1, 3, 1], Some(&[-1])), Ok(vec![1, 3]));
        assert_eq!(squeezed(&[1, 3, 1], None), Ok(vec![3]));
        assert!(squeezed(&[1, 3], Some(&[1])).is_err());
        assert_eq!(unsqueezed(&[3, 4], &[0, -1]), Ok(vec![1, 3, 4, 1]));
        assert!(unsqueezed(&[3], &[0, 0]).is_err());
        assert!(unsqueezed(&[3], &[5]).is_err());
    }

    #[test]
    fn slices_clamp_as_onnx_does() {
        assert_eq!(slice_bounds(4, 0, i64::MAX, 1), (0, 4));
        assert_eq!(slice_bounds(4, -2, i64::MAX, 1), (2, 4));
        assert_eq!(slice_bounds(4, -1, -i64::MAX, -1), (3, -1));
        assert_eq!(slice_bounds(4, i64::MAX, i64::MIN, -2), (3, -1));
        assert_eq!(slice_bounds(4, i64::MIN, 2, 1), (0, 2));
    }

    #[test]
    fn takes_along_an_axis() {
        let x = Tensor { shape: vec![2, 3], data: Data::Int(vec![1, 2, 3, 4, 5, 6]) };
        assert_eq!(take(&x, 1, &[2, 0]).unwrap().data, Data::Int(vec![3, 1, 6, 4]));
        assert_eq!(take(&x, 0, &[1]).unwrap().data, Data::Int(vec![4, 5, 6]));
        let empty = take(&x, 0, &[]).unwrap();
        assert_eq!((empty.shape, empty.data), (vec![0, 3], Data::Int(vec![])));
    }
}
