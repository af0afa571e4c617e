//! Constants: tensors stored in the file or computed from such while importing.

use super::error::ImportError;
use super::proto::{TensorProto, data_type};
use crate::op;

/// The numbers of a constant, in the two kinds that the importer tells apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// Any of the real types.
    Real(Vec<f32>),
    /// Any of the integer types.
    Int(Vec<i64>),
}

/// A constant; the length of `data` is the product of `shape`. Sides may be zero (an empty list of axes is one).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

impl Tensor {
    /// A stored tensor, after comparing its dimensions with its data.
    pub(super) fn read(stored: &TensorProto) -> Result<Self, ImportError> {
        let fail =
            |reason: String| ImportError::Tensor { tensor: stored.name.clone().unwrap_or_default(), reason };
        if stored.data_location.unwrap_or_default() != 0 {
            return Err(fail("its data lies in another file; save the model as one file".to_owned()));
        }
        let shape: Vec<usize> = stored
            .dims
            .iter()
            .map(|&side| usize::try_from(side).map_err(|_| fail(format!("dimension {side}"))))
            .collect::<Result<_, _>>()?;
        let kind = stored.data_type.unwrap_or_default();
        let raw = stored.raw_data.as_deref();
        let data = match kind {
            data_type::FLOAT => Data::Real(
                raw.map_or_else(|| Ok(stored.float_data.clone()), |b| words(b, f32::from_le_bytes))?,
            ),
            data_type::DOUBLE => Data::Real(match raw {
                Some(bytes) => words(bytes, |word| f64::from_le_bytes(word) as f32)?,
                None => stored.double_data.iter().map(|&x| x as f32).collect(),
            }),
            data_type::FLOAT16 => Data::Real(match raw {
                Some(bytes) => words(bytes, |word| half(u16::from_le_bytes(word)))?,
                None => stored.int32_data.iter().map(|&bits| half(bits as u16)).collect(),
            }),
            data_type::INT64 => Data::Int(
                raw.map_or_else(|| Ok(stored.int64_data.clone()), |b| words(b, i64::from_le_bytes))?,
            ),
            data_type::INT32 => Data::Int(match raw {
                Some(bytes) => words(bytes, |word| i64::from(i32::from_le_bytes(word)))?,
                None => stored.int32_data.iter().map(|&x| i64::from(x)).collect(),
            }),
            data_type::BOOL => Data::Int(match raw {
                Some(bytes) => bytes.iter().map(|&b| i64::from(b != 0)).collect(),
                None => stored.int32_data.iter().map(|&x| i64::from(x != 0)).collect(),
            }),
            other => {
                return Err(fail(format!(
                    "data type {other}; float, double, float16, int64, int32 and bool are read"
                )));
            }
        };
        let tensor = Self { shape, data };
        if op::elements(&tensor.shape) != Some(tensor.len()) {
            return Err(fail(format!("dimensions {:?} but {} numbers", tensor.shape, tensor.len())));
        }
        return Ok(tensor);

        fn words<const N: usize, T>(
            bytes: &[u8],
            decode: impl Fn([u8; N]) -> T,
        ) -> Result<Vec<T>, ImportError> {
            let (words, rest) = bytes.as_chunks::<N>();
            if rest.is_empty() {
                return Ok(words.iter().map(|&word| decode(word)).collect());
            }
            Err(ImportError::Tensor {
                tensor: String::new(),
                reason: format!("{} bytes are no whole number of {N}-byte words", bytes.len()),
            })
        }
    }

    /// A list of integers.
    pub(super) fn ints(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], data: Data::Int(values) }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Real(values) => values.len(),
            Data::Int(values) => values.len(),
        }
    }

    /// The numbers as reals.
    pub(super) fn reals(&self) -> Vec<f32> {
        match &self.data {
            Data::Real(values) => values.clone(),
            Data::Int(values) => values.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The numbers, if they are integers.
    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(values) => Some(values),
            Data::Real(_) => None,
        }
    }

    /// The number, if there is exactly one.
    pub(super) fn scalar(&self) -> Option<f64> {
        match &self.data {
            Data::Real(values) => match values[..] {
                [x] => Some(f64::from(x)),
                _ => None,
            },
            Data::Int(values) => match values[..] {
                [x] => Some(x as f64),
                _ => None,
            },
        }
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => mantissa * 2f32.powi(-24),
        0x1f if mantissa == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + mantissa) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(data_type: i32, dims: &[i64], raw: &[u8]) -> TensorProto {
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(data_type),
            raw_data: Some(raw.to_vec()),
            ..TensorProto::default()
        }
    }

    #[test]
    fn reads_every_type() {
        let read = |t: &TensorProto| Tensor::read(t).unwrap().data;
        assert_eq!(read(&stored(data_type::FLOAT, &[1], &1.5f32.to_le_bytes())), Data::Real(vec![1.5]));
        assert_eq!(read(&stored(data_type::DOUBLE, &[], &(-2.5f64).to_le_bytes())), Data::Real(vec![-2.5]));
        assert_eq!(read(&stored(data_type::INT32, &[1], &(-3i32).to_le_bytes())), Data::Int(vec![-3]));
        assert_eq!(read(&stored(data_type::INT64, &[1], &i64::MAX.to_le_bytes())), Data::Int(vec![i64::MAX]));
        assert_eq!(read(&stored(data_type::BOOL, &[2], &[0, 1])), Data::Int(vec![0, 1]));
        let halves = [0x3c00u16, 0xc000, 0x0001, 0x7bff, 0x3555].map(u16::to_le_bytes).concat();
        assert_eq!(
            read(&stored(data_type::FLOAT16, &[5], &halves)),
            Data::Real(vec![1.0, -2.0, 2f32.powi(-24), 65504.0, 0.333_251_95])
        );
        assert_eq!(half(0xfc00), f32::NEG_INFINITY);
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn dimensions_match_the_data() {
        for dims in [&[2][..], &[0], &[-1], &[i64::MAX, i64::MAX], &[1, 1, 2]] {
            let error = Tensor::read(&stored(data_type::FLOAT, dims, &[0; 4])).unwrap_err();
            assert!(matches!(error, ImportError::Tensor { .. }), "{dims:?}");
        }
        assert!(Tensor::read(&stored(data_type::FLOAT, &[1], &[0; 5])).is_err());
        assert!(Tensor::read(&stored(8, &[1], &[0; 4])).is_err());
        let external = TensorProto { data_location: Some(1), ..stored(data_type::FLOAT, &[1], &[0; 4]) };
        assert!(Tensor::read(&external).unwrap_err().to_string().contains("another file"));
    }
}
