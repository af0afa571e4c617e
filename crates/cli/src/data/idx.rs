//! MNIST's idx files: big-endian `u32` magic and sizes, then one byte per value, gzip outside.
//!
//! Images: magic `0x803`, count, height, width. Labels: magic `0x801`, count.

use std::fs::File;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::raster::Raster;
use super::{DataError, Item, MAX_BYTES, Shape, Source, Split, read_bounded};

/// One half of a folder of MNIST files.
pub(super) struct Digits {
    path: PathBuf,
    shape: Shape,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Digits {
    /// Whether the folder has idx images of either half.
    pub(super) fn is_at(folder: &Path) -> bool {
        [Split::Train, Split::Test].iter().any(|&split| images_path(folder, split).exists())
    }

    /// Reads one half.
    ///
    /// # Errors
    /// [`DataError`] if a file is missing or damaged, or the two files differ in their counts.
    pub(super) fn open(folder: &Path, split: Split) -> Result<Self, DataError> {
        let path = images_path(folder, split);
        let ([count, height, width], pixels) = read_idx(&path, IMAGES_MAGIC)?;
        let labels_path = folder.join(format!("{}-labels-idx1-ubyte.gz", prefix(split)));
        let ([label_count], labels) = read_idx(&labels_path, LABELS_MAGIC)?;
        if count != label_count {
            return Err(DataError::malformed(
                &labels_path,
                format!("{label_count} labels for {count} images"),
            ));
        }
        Ok(Self { path, shape: Shape { channels: 1, height, width }, pixels, labels })
    }
}

impl Source for Digits {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn read(&self, index: usize) -> Result<Item, DataError> {
        let len = self.shape.height * self.shape.width;
        let pixels = self.pixels.get(index * len..(index + 1) * len).unwrap_or_default().to_vec();
        let raster = Raster::new(self.shape, pixels)
            .ok_or_else(|| DataError::malformed(&self.path, format!("image {index} is empty")))?;
        Ok(Item {
            raster,
            label: self.labels.get(index).map(|&label| label.into()),
            name: format!("#{index}"),
        })
    }
}

fn prefix(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "t10k",
    }
}

fn images_path(folder: &Path, split: Split) -> PathBuf {
    folder.join(format!("{}-images-idx3-ubyte.gz", prefix(split)))
}

/// Sizes and values of a gzipped idx file of bytes with `RANK` dimensions.
fn read_idx<const RANK: usize>(path: &Path, magic: u32) -> Result<([usize; RANK], Vec<u8>), DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut bytes = read_bounded(path, GzDecoder::new(file), MAX_BYTES)?;
    let word = |index: usize| {
        let word = bytes.get(4 * index..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*word))
    };
    let cut_short = || DataError::malformed(path, "the idx header is cut short");
    let found = word(0).ok_or_else(cut_short)?;
    if found != magic {
        return Err(DataError::malformed(path, format!("idx magic {found:#x}, expected {magic:#x}")));
    }
    let mut sizes = [0; RANK];
    for (index, size) in sizes.iter_mut().enumerate() {
        *size = word(1 + index).ok_or_else(cut_short)? as usize;
    }
    let present = bytes.len() - 4 * (1 + RANK);
    let claimed = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if claimed != Some(present) {
        return Err(DataError::malformed(path, format!("claims {sizes:?} values, has {present}")));
    }
    Ok((sizes, bytes.split_off(4 * (1 + RANK))))
}

const IMAGES_MAGIC: u32 = 0x803;
const LABELS_MAGIC: u32 = 0x801;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn idx(words: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(values);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn opened(images_gz: &[u8], labels_gz: &[u8]) -> Result<Digits, DataError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t10k-images-idx3-ubyte.gz"), images_gz).unwrap();
        std::fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), labels_gz).unwrap();
        assert!(Digits::is_at(dir.path()));
        Digits::open(dir.path(), Split::Test)
    }

    fn refusal(images: &[u8], labels: &[u8]) -> String {
        opened(&gzip(images), &gzip(labels)).err().unwrap().to_string()
    }

    #[test]
    fn two_images() {
        let images = gzip(&idx(&[IMAGES_MAGIC, 2, 1, 3], &[1, 2, 3, 4, 5, 6]));
        let digits = opened(&images, &gzip(&idx(&[LABELS_MAGIC, 2], &[9, 4]))).unwrap();
        assert_eq!(digits.len(), 2);
        let item = digits.read(1).unwrap();
        assert_eq!((item.label, item.name.as_str()), (Some(4), "#1"));
        assert_eq!(item.raster.fit(Shape { channels: 1, height: 1, width: 3 }, false).unwrap(), [4, 5, 6]);
    }

    #[test]
    fn hostile_headers() {
        let labels = idx(&[LABELS_MAGIC, 1], &[0]);
        let image = [7; 4];
        assert!(refusal(&idx(&[0x802, 1, 2, 2], &image), &labels).contains("magic 0x802"));
        assert!(refusal(&idx(&[IMAGES_MAGIC, 2, 2, 2], &image), &labels).contains("has 4"));
        assert!(refusal(&idx(&[IMAGES_MAGIC, 1, 2, 1], &image), &labels).contains("has 4"));
        assert!(
            refusal(&idx(&[IMAGES_MAGIC, u32::MAX, u32::MAX, u32::MAX], &image), &labels).contains("claims")
        );
        assert!(refusal(&idx(&[IMAGES_MAGIC, 1, 2], &[]), &labels).contains("cut short"));
        assert!(refusal(&[0, 0], &labels).contains("cut short"));
        assert!(
            refusal(&idx(&[IMAGES_MAGIC, 1, 2, 2], &image), &idx(&[LABELS_MAGIC, 2], &[0, 1]))
                .contains("2 labels")
        );
        assert!(
            refusal(&idx(&[IMAGES_MAGIC, 1, 2, 2], &image), &idx(&[IMAGES_MAGIC, 1], &[0])).contains("magic")
        );
    }

    #[test]
    fn images_without_pixels() {
        let digits =
            opened(&gzip(&idx(&[IMAGES_MAGIC, 1, 0, 5], &[])), &gzip(&idx(&[LABELS_MAGIC, 1], &[0])))
                .unwrap();
        assert!(digits.read(0).is_err());
    }

    #[test]
    fn damaged_gzip() {
        let images = gzip(&idx(&[IMAGES_MAGIC, 1, 2, 2], &[7; 4]));
        let labels = gzip(&idx(&[LABELS_MAGIC, 1], &[0]));
        assert!(matches!(opened(b"not gzip at all", &labels), Err(DataError::Io { .. })));
        for len in 0..images.len() {
            assert!(opened(&images[..len], &labels).is_err(), "{len}");
        }
    }
}
