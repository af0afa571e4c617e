//! JPEG records: `train.jpgs.xz` and `test.jpgs.xz` are xz streams of records `class: u8, len: u32 little-endian,
//! JPEG: len bytes`.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

use super::raster::Raster;
use super::{DataError, Item, MAX_BYTES, Source, Split, read_bounded};

/// One file of records, unpacked; the images are still JPEG.
pub(super) struct Records {
    path: PathBuf,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    class: u8,
    jpeg: Range<usize>,
}

impl Records {
    /// Whether the folder has record files of either half.
    pub(super) fn is_at(folder: &Path) -> bool {
        [Split::Train, Split::Test].iter().any(|&split| records_path(folder, split).exists())
    }

    /// Reads the records of one half.
    ///
    /// # Errors
    /// [`DataError`] if the file is missing, is no xz stream, or its last record is cut short.
    pub(super) fn open(folder: &Path, split: Split) -> Result<Self, DataError> {
        let path = records_path(folder, split);
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let stream = Stream::new_stream_decoder(MAX_DECODER_BYTES, 0)
            .map_err(|error| DataError::malformed(&path, error))?;
        let bytes = read_bounded(&path, XzDecoder::new_stream(file, stream), MAX_BYTES)?;
        let entries = entries(&bytes).map_err(|reason| DataError::malformed(&path, reason))?;
        Ok(Self { path, bytes, entries })
    }
}

impl Source for Records {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn read(&self, index: usize) -> Result<Item, DataError> {
        let malformed =
            |reason: String| DataError::malformed(&self.path, format!("record {index}: {reason}"));
        let Entry { class, jpeg } = self.entries.get(index).ok_or_else(|| malformed("not there".into()))?;
        let bytes = self.bytes.get(jpeg.clone()).unwrap_or_default();
        let raster = Raster::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        Ok(Item { raster, label: Some((*class).into()), name: format!("#{index}") })
    }
}

fn records_path(folder: &Path, split: Split) -> PathBuf {
    folder.join(match split {
        Split::Train => "train.jpgs.xz",
        Split::Test => "test.jpgs.xz",
    })
}

/// Where each record's JPEG lies, or why the records do not add up to the bytes.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let index = entries.len();
        let [class, a, b, c, d, tail @ ..] = rest else {
            return Err(format!("record {index}: header cut short"));
        };
        let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        if len > tail.len() {
            return Err(format!("record {index}: claims {len} bytes, {} are left", tail.len()));
        }
        let start = bytes.len() - tail.len();
        entries.push(Entry { class: *class, jpeg: start..start + len });
        rest = tail.get(len..).unwrap_or_default();
    }
    Ok(entries)
}

/// Most memory the xz decoder may take for its dictionary.
const MAX_DECODER_BYTES: u64 = 128 << 20;

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use liblzma::write::XzEncoder;

    use super::super::Shape;
    use super::*;

    fn jpeg(grey: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayImage::from_pixel(8, 8, image::Luma([grey]))
            .write_to(&mut bytes, image::ImageFormat::Jpeg)
            .unwrap();
        bytes.into_inner()
    }

    fn record(class: u8, len: u32, content: &[u8]) -> Vec<u8> {
        [&[class][..], &len.to_le_bytes(), content].concat()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn opened(file: &[u8]) -> Result<Records, DataError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("test.jpgs.xz"), file).unwrap();
        assert!(Records::is_at(dir.path()));
        Records::open(dir.path(), Split::Test)
    }

    #[test]
    fn classes_and_pixels() {
        let (dark, light) = (jpeg(16), jpeg(240));
        let both = [record(3, dark.len() as u32, &dark), record(8, light.len() as u32, &light)].concat();
        let records = opened(&xz(&both)).unwrap();
        assert_eq!(records.len(), 2);
        let item = records.read(1).unwrap();
        assert_eq!(item.label, Some(8));
        let pixels = item.raster.fit(Shape { channels: 1, height: 8, width: 8 }, false).unwrap();
        assert!(pixels.iter().all(|&pixel| pixel.abs_diff(240) <= 1));
    }

    #[test]
    fn lengths_beyond_the_end() {
        let good = record(1, 3, b"abc");
        let refusal = |bytes: &[u8]| opened(&xz(bytes)).err().unwrap().to_string();
        assert!(refusal(&record(0, u32::MAX, b"abc")).contains("claims 4294967295 bytes, 3 are left"));
        assert!(refusal(&[&good[..], &record(0, 4, b"abc")].concat()).contains("record 1: claims 4"));
        assert!(refusal(&[&good[..], &[1, 0, 0]].concat()).contains("record 1: header cut short"));
    }

    #[test]
    fn content_that_is_no_jpeg() {
        let records = opened(&xz(&[record(1, 3, b"abc"), record(2, 0, b"")].concat())).unwrap();
        assert!(matches!(records.read(0), Err(DataError::Malformed { .. })));
        assert!(matches!(records.read(1), Err(DataError::Malformed { .. })));
    }

    #[test]
    fn damaged_xz() {
        let file = xz(&record(1, 3, b"abc"));
        assert!(opened(b"certainly not an xz stream").is_err());
        for len in 1..file.len() {
            assert!(opened(&file[..len]).is_err(), "{len}");
        }
        for index in 0..file.len() {
            let mut flipped = file.clone();
            flipped[index] ^= 0x40;
            assert!(opened(&flipped).is_err(), "{index}");
        }
    }
}
