//! NumPy's NPY arrays of shape `[channels, height, width]` or `[n, channels, height, width]`.
//!
//! `uint8` values are pixels; `float32` values are pixels / 255, so they lie in [0, 1].
//! Format: `\x93NUMPY`, version, header length (`u16` in version 1, `u32` later, little-endian), a Python dict
//! literal with `descr`, `fortran_order` and `shape`, then the values in C order.
//! (NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".)

use std::path::{Path, PathBuf};

use super::raster::Raster;
use super::{DataError, Item, Shape, Source};

/// A batch of images.
pub(super) struct Array {
    path: PathBuf,
    shape: Shape,
    pixels: Vec<u8>,
    count: usize,
}

impl Array {
    /// Whether the bytes begin like an NPY file.
    pub(super) fn recognises(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads the array in `bytes`.
    ///
    /// # Errors
    /// [`DataError::Malformed`] if the header is not understood, the type or rank is not supported, the number of
    /// bytes differs from what the shape says, or a float is outside [0, 1].
    pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let (sizes, pixels) = parse(bytes).map_err(|reason| DataError::malformed(path, reason))?;
        let (count, channels, height, width) = match sizes[..] {
            [channels, height, width] => (1, channels, height, width),
            [count, channels, height, width] => (count, channels, height, width),
            _ => {
                let reason = format!("shape {sizes:?}; expected [c, h, w] or [n, c, h, w]");
                return Err(DataError::malformed(path, reason));
            }
        };
        if channels.min(height).min(width) == 0 {
            return Err(DataError::malformed(path, format!("shape {sizes:?} has empty images")));
        }
        Ok(Self { path: path.to_owned(), shape: Shape { channels, height, width }, pixels, count })
    }
}

impl Source for Array {
    fn len(&self) -> usize {
        self.count
    }

    fn read(&self, index: usize) -> Result<Item, DataError> {
        let len = self.pixels.len() / self.count.max(1);
        let pixels = self.pixels.get(index * len..(index + 1) * len).unwrap_or_default().to_vec();
        let raster = Raster::new(self.shape, pixels)
            .ok_or_else(|| DataError::malformed(&self.path, format!("image {index} is not there")))?;
        Ok(Item { raster, label: None, name: format!("#{index}") })
    }
}

/// Sizes and pixels of the array, exactly as many pixels as the sizes say.
/// The bytes of an NPY file that holds one image `[c][h][w]` of 8-bit pixels.
pub(crate) fn encode(shape: Shape, pixels: &[u8]) -> Vec<u8> {
    let Shape { channels, height, width } = shape;
    let mut header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({channels}, {height}, {width}), }}");
    // Magic, version and length take 10 bytes; the header ends in a newline at a multiple of 64.
    let len = (header.len() + 11).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(len - header.len() - 1));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((len as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(pixels);
    file
}

fn parse(bytes: &[u8]) -> Result<(Vec<usize>, Vec<u8>), String> {
    let (header, data) = split_header(bytes).ok_or("the NPY header is cut short or of an unknown version")?;
    let header = Header::parse(header).ok_or("the NPY header is not understood")?;
    if header.fortran_order {
        return Err("Fortran order is not supported; save numpy.ascontiguousarray(x)".into());
    }
    let len = header.sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let value_bytes = match header.descr {
        "|u1" | "u1" => 1,
        "<f4" => 4,
        other => return Err(format!("type '{other}'; expected uint8 ('|u1') or float32 ('<f4')")),
    };
    if len.and_then(|len| len.checked_mul(value_bytes)) != Some(data.len()) {
        let (sizes, present) = (&header.sizes, data.len());
        return Err(format!(
            "shape {sizes:?} of '{}' does not fit the {present} bytes of data",
            header.descr
        ));
    }
    let pixels = if value_bytes == 1 { data.to_vec() } else { pixels_of_floats(data)? };
    Ok((header.sizes, pixels))
}

/// The dict and the data behind it.
fn split_header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

fn pixels_of_floats(data: &[u8]) -> Result<Vec<u8>, String> {
    let (values, _) = data.as_chunks::<4>();
    values
        .iter()
        .map(|&value| f32::from_le_bytes(value))
        .map(|value| match value {
            0.0..=1.0 => Ok((value * 255.0).round() as u8),
            _ => Err(format!("value {value}; floats are pixels / 255 and lie in [0, 1]")),
        })
        .collect()
}

struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    sizes: Vec<usize>,
}

impl<'a> Header<'a> {
    /// Reads the dict literal as NumPy writes it: each of the three keys once, in any order.
    fn parse(text: &'a str) -> Option<Self> {
        let (mut descr, mut fortran_order, mut sizes) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, tail) = quoted(rest)?;
            let value = tail.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" if descr.is_none() => {
                    let (text, tail) = quoted(value)?;
                    descr = Some(text);
                    tail
                }
                "fortran_order" if fortran_order.is_none() => {
                    let is_true = value.starts_with("True");
                    fortran_order = Some(is_true);
                    value.strip_prefix(if is_true { "True" } else { "False" })?
                }
                "shape" if sizes.is_none() => {
                    let (text, tail) = value.strip_prefix('(')?.split_once(')')?;
                    sizes = Some(tuple(text)?);
                    tail
                }
                _ => return None,
            };
            rest = match rest.trim_start().strip_prefix(',') {
                Some(tail) => tail.trim_start(),
                None if rest.trim().is_empty() => "",
                None => return None,
            };
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, sizes: sizes? })
    }
}

/// The content of a leading string literal without escapes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
    text.strip_prefix(quote)?.split_once(quote)
}

fn tuple(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|size| size.trim().parse().ok()).collect()
}

const MAGIC: &[u8] = b"\x93NUMPY";

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}      \n")
    }

    fn opened(bytes: &[u8]) -> Result<Array, DataError> {
        Array::open(Path::new("x.npy"), bytes)
    }

    fn refusal(bytes: &[u8]) -> String {
        opened(bytes).err().unwrap().to_string()
    }

    #[test]
    fn a_batch_of_bytes() {
        let array = opened(&npy(&header("|u1", "2, 1, 1, 3"), &[1, 2, 3, 4, 5, 6])).unwrap();
        assert_eq!(array.len(), 2);
        let shape = Shape { channels: 1, height: 1, width: 3 };
        assert_eq!(array.read(1).unwrap().raster.fit(shape, false).unwrap(), [4, 5, 6]);
    }

    #[test]
    fn one_image_of_floats() {
        let data: Vec<u8> = [0.0f32, 0.5, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let array = opened(&npy(&header("<f4", "3, 1, 1"), &data)).unwrap();
        let shape = Shape { channels: 3, height: 1, width: 1 };
        assert_eq!(array.read(0).unwrap().raster.fit(shape, false).unwrap(), [0, 128, 255]);
        for bad in [f32::NAN, -0.1, 1.1, f32::INFINITY] {
            assert!(refusal(&npy(&header("<f4", "1,1,1"), &bad.to_le_bytes())).contains("[0, 1]"));
        }
    }

    #[test]
    fn later_versions_and_other_spellings() {
        let text = "{\"shape\":(1,1,1),\"fortran_order\":False,\"descr\":\"|u1\"}";
        let long = [MAGIC, &[2, 0], &(text.len() as u32).to_le_bytes(), text.as_bytes(), &[9]].concat();
        assert_eq!(opened(&long).unwrap().pixels, [9]);
    }

    #[test]
    fn hostile_headers() {
        let good = header("|u1", "1, 1, 1");
        assert!(refusal(&npy(&good, &[])).contains("0 bytes"));
        assert!(refusal(&npy(&good, &[1, 2])).contains("2 bytes"));
        assert!(
            refusal(&npy(&header("|u1", "99999999999, 99999999999, 99999999999"), &[1]))
                .contains("does not fit")
        );
        assert!(
            refusal(&npy(&header("|u1", "1, 99999999999999999999999, 1"), &[1])).contains("not understood")
        );
        assert!(refusal(&npy(&header("|u1", "-1, 1, 1"), &[1])).contains("not understood"));
        assert!(refusal(&npy(&header("|u1", "1"), &[1])).contains("expected [c, h, w]"));
        assert!(refusal(&npy(&header("|u1", ""), &[1])).contains("expected [c, h, w]"));
        assert!(refusal(&npy(&header("|u1", "0, 1, 1"), &[])).contains("empty"));
        assert!(refusal(&npy(&header("|u1", "5, 0, 7, 1"), &[])).contains("empty"));
        assert!(refusal(&npy(&header(">f8", "1, 1, 1"), &[0; 8])).contains("'>f8'"));
        assert!(refusal(&npy(&good.replace("False", "True"), &[1])).contains("Fortran"));
        assert!(refusal(&npy(&good.replace("'shape'", "'descr'"), &[1])).contains("not understood"));
        assert!(refusal(&npy("{'descr': '|u1", &[1])).contains("not understood"));
        assert!(refusal(&[MAGIC, &[9, 0, 0, 0]].concat()).contains("unknown version"));
        assert_eq!(opened(&npy(&header("|u1", "0, 1, 1, 1"), &[])).unwrap().len(), 0);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = npy(&header("|u1", "1, 2, 2"), &[1, 2, 3, 4]);
        assert!(opened(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(opened(&bytes[..len]).is_err(), "{len}");
        }
    }
}
