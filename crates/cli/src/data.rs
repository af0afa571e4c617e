//! Images and data sets from files: one entry, [`open`], for everything the program reads pictures from.
//!
//! | path | read as |
//! |---|---|
//! | folder with `train-` or `t10k-images-idx3-ubyte.gz` | MNIST files ([`idx`]) |
//! | folder with `train.jpgs.xz` or `test.jpgs.xz` | JPEG records ([`records`]) |
//! | any other folder | PNG and JPEG files, one class per sub-folder ([`folder`]) |
//! | PNG or JPEG file | one unlabelled image ([`raster`]) |
//! | NPY file | one image or a batch, unlabelled ([`npy`]) |
//!
//! Files are untrusted: sizes are bounded before anything is allocated, counts in headers are compared with the
//! bytes that are there, and every refusal is a [`DataError`] with the path and the reason.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

mod folder;
mod idx;
pub(crate) mod npy;
mod raster;
mod records;

use raster::Raster;

/// One image in the shape that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    /// `[channels][height][width]`; three channels are red, green, blue.
    pub(crate) pixels: Vec<u8>,
    /// The class, where the source states one.
    pub(crate) label: Option<usize>,
    /// File name, or the position within a file of many images.
    pub(crate) name: String,
}

/// Channels, height and width of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Which half of a data set that has two. Sources without halves ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Test,
}

/// Which samples [`open`] takes, and how strictly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Half of the data set.
    pub(crate) split: Split,
    /// Leaves out so many samples at the beginning.
    pub(crate) skip: usize,
    /// Takes at most so many of the rest, evenly spaced over all of it: data sets are often sorted by class.
    pub(crate) limit: Option<usize>,
    /// Scales images of another size than the model's instead of refusing them.
    pub(crate) resize: bool,
}

/// Why images could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DataError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{}: larger than the limit of {limit_bytes} bytes", path.display())]
    TooLarge { path: PathBuf, limit_bytes: u64 },
    #[error(
        "{}: {name} has the shape {actual} (channels x height x width), the model expects {expected}{}",
        path.display(),
        if expected.channels == actual.channels { "; resizing must be asked for" } else { "" }
    )]
    Shape { path: PathBuf, name: String, expected: Shape, actual: Shape },
    #[error("{}: no images found (PNG, JPEG, NPY, MNIST idx .gz, *.jpgs.xz)", path.display())]
    Empty { path: PathBuf },
    #[error("{}: cannot skip {skip} of {available} images", path.display())]
    Skip { path: PathBuf, skip: usize, available: usize },
}

impl DataError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    fn malformed(path: &Path, reason: impl fmt::Display) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads images of the shape `[channels][height][width]` from `path`, in the source's order.
///
/// Grey images are repeated into three channels and coloured ones are turned grey as the shape demands. The same
/// path and options always give the same samples.
///
/// # Errors
/// [`DataError`] if nothing is found, anything is malformed, or an image has another size and `options.resize` is
/// not set.
pub(crate) fn open(path: &Path, shape: Shape, options: &Options) -> Result<Vec<Sample>, DataError> {
    let source = detect(path, options.split)?;
    let available = source.len();
    if available == 0 {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    if options.skip >= available {
        return Err(DataError::Skip { path: path.to_owned(), skip: options.skip, available });
    }
    evenly_spaced(available - options.skip, options.limit)
        .map(|index| source.read(options.skip + index)?.into_sample(path, shape, options.resize))
        .collect()
}

/// The image in a PNG or JPEG file that is already in memory and called `name`.
///
/// # Errors
/// [`DataError`] if it is damaged or has another size than `shape`.
pub(crate) fn decode_image(name: &str, bytes: &[u8], shape: Shape) -> Result<Sample, DataError> {
    let path = Path::new(name);
    let raster = Raster::decode(bytes).map_err(|error| DataError::malformed(path, error))?;
    Item { raster, label: None, name: name.to_owned() }.into_sample(path, shape, false)
}

/// Somewhere images come from, opened and checked as a whole.
trait Source {
    /// Number of images.
    fn len(&self) -> usize;

    /// Image `index`, which is below [`Source::len`].
    fn read(&self, index: usize) -> Result<Item, DataError>;
}

/// One image as its source has it.
struct Item {
    raster: Raster,
    label: Option<usize>,
    name: String,
}

impl Item {
    /// The image in the wanted shape; `path` is only named in errors.
    fn into_sample(self, path: &Path, shape: Shape, resize: bool) -> Result<Sample, DataError> {
        let Self { raster, label, name } = self;
        let actual = raster.shape();
        match raster.fit(shape, resize) {
            Some(pixels) => Ok(Sample { pixels, label, name }),
            None => Err(DataError::Shape { path: path.to_owned(), name, expected: shape, actual }),
        }
    }
}

fn detect(path: &Path, split: Split) -> Result<Box<dyn Source>, DataError> {
    if path.is_dir() {
        return Ok(if idx::Digits::is_at(path) {
            Box::new(idx::Digits::open(path, split)?)
        } else if records::Records::is_at(path) {
            Box::new(records::Records::open(path, split)?)
        } else {
            Box::new(folder::Folder::open(path)?)
        });
    }
    let bytes = read_file(path, MAX_BYTES)?;
    Ok(if npy::Array::recognises(&bytes) {
        Box::new(npy::Array::open(path, &bytes)?)
    } else {
        Box::new(folder::Folder::single(path))
    })
}

/// At most `limit` positions below `available`, as far apart as can be, in order.
fn evenly_spaced(available: usize, limit: Option<usize>) -> impl Iterator<Item = usize> {
    let count = limit.unwrap_or(available).min(available);
    (0..count).map(move |i| (i as u128 * available as u128 / count as u128) as usize)
}

/// The whole file, if it has at most `limit_bytes`.
fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    read_bounded(path, file, limit_bytes)
}

/// Everything `reader` has, if that is at most `limit_bytes`; `path` is only named in errors.
fn read_bounded(path: &Path, reader: impl Read, limit_bytes: u64) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    reader.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(DataError::TooLarge { path: path.to_owned(), limit_bytes });
    }
    Ok(bytes)
}

/// Largest file, packed or unpacked, that is read into memory.
const MAX_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Options = Options { split: Split::Test, skip: 0, limit: None, resize: false };

    fn shared(name: &str) -> Option<PathBuf> {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not here", path.display());
        }
        path.exists().then_some(path)
    }

    #[test]
    fn selection_is_even_and_complete() {
        let take = |available, limit| evenly_spaced(available, limit).collect::<Vec<_>>();
        assert_eq!(take(5, None), [0, 1, 2, 3, 4]);
        assert_eq!(take(10, Some(4)), [0, 2, 5, 7]);
        assert_eq!(take(3, Some(9)), [0, 1, 2]);
        assert_eq!(take(3, Some(0)), [] as [usize; 0]);
        assert_eq!(take(usize::MAX, Some(2)), [0, usize::MAX / 2]);
    }

    #[test]
    fn skip_limit_and_their_errors() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d"] {
            image::GrayImage::from_pixel(2, 1, image::Luma([name.as_bytes()[0]]))
                .save(dir.path().join(format!("{name}.png")))
                .unwrap();
        }
        let shape = Shape { channels: 1, height: 1, width: 2 };
        let first_pixels = |options: Options| {
            open(dir.path(), shape, &options).unwrap().iter().map(|s| s.pixels[0]).collect::<Vec<_>>()
        };
        assert_eq!(first_pixels(ALL), *b"abcd");
        assert_eq!(first_pixels(Options { skip: 1, ..ALL }), *b"bcd");
        assert_eq!(first_pixels(Options { skip: 2, limit: Some(1), ..ALL }), *b"c");
        assert_eq!(first_pixels(Options { limit: Some(2), ..ALL }), *b"ac");

        let beyond = open(dir.path(), shape, &Options { skip: 4, ..ALL });
        assert!(matches!(beyond, Err(DataError::Skip { skip: 4, available: 4, .. })));
        let wide = open(dir.path(), Shape { width: 3, ..shape }, &ALL).unwrap_err().to_string();
        assert!(wide.contains("1x1x2") && wide.contains("expects 1x1x3"), "{wide}");
        let resized = open(dir.path(), Shape { width: 3, ..shape }, &Options { resize: true, ..ALL });
        assert_eq!(resized.unwrap()[1].pixels, *b"bbb");
    }

    #[test]
    fn the_drawn_digits_are_images_of_the_shipped_network() {
        let shape = Shape { channels: 1, height: 28, width: 28 };
        let seven = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/digits/7.png"));
        let sample = decode_image("7.png", seven, shape).unwrap();
        assert_eq!((sample.pixels.len(), sample.name.as_str(), sample.label), (784, "7.png", None));
        assert!(sample.pixels.contains(&0) && sample.pixels.iter().any(|&pixel| pixel > 200));
        assert!(matches!(decode_image("x", b"nothing", shape), Err(DataError::Malformed { .. })));
        assert!(matches!(
            decode_image("x", seven, Shape { height: 27, ..shape }),
            Err(DataError::Shape { .. })
        ));
    }

    #[test]
    fn nothing_there() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { channels: 1, height: 1, width: 1 };
        assert!(matches!(open(dir.path(), shape, &ALL), Err(DataError::Empty { .. })));
        let missing = dir.path().join("none.png");
        assert!(matches!(open(&missing, shape, &ALL), Err(DataError::Io { path, .. }) if path == missing));
    }

    #[test]
    fn reads_beyond_the_limit_are_refused() {
        let read = |bytes: u64| read_bounded(Path::new("x"), std::io::repeat(1).take(bytes), 100);
        assert_eq!(read(100).unwrap().len(), 100);
        assert!(matches!(read(101), Err(DataError::TooLarge { limit_bytes: 100, .. })));
    }

    #[test]
    fn mnist_test_set() {
        let Some(path) = shared("mnist") else { return };
        let shape = Shape { channels: 1, height: 28, width: 28 };
        let samples = open(&path, shape, &ALL).unwrap();
        assert_eq!(samples.len(), 10_000);
        let mut counts = [0; 10];
        samples.iter().for_each(|sample| counts[sample.label.unwrap()] += 1);
        assert_eq!(counts, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
        assert_eq!(samples[0].label, Some(7));
        let three = open(&path, Shape { channels: 3, ..shape }, &Options { limit: Some(1), ..ALL }).unwrap();
        assert_eq!(three[0].pixels, samples[0].pixels.repeat(3));
    }

    #[test]
    fn cifar_limit_reaches_every_class() {
        let Some(path) = shared("cifar10-jpeg") else { return };
        let shape = Shape { channels: 3, height: 32, width: 32 };
        let samples = open(&path, shape, &Options { limit: Some(50), ..ALL }).unwrap();
        let mut counts = [0; 10];
        samples.iter().for_each(|sample| counts[sample.label.unwrap()] += 1);
        assert_eq!(counts, [5; 10]);
        assert!(samples.iter().all(|sample| sample.pixels.len() == 3 * 32 * 32));
    }
}
