//! Images and networks for the accuracy tests; absent in a user's checkout.

use std::io::Read;
use std::path::PathBuf;

use phineus_model::float::Graph;
use phineus_model::onnx;

/// An 8-bit image `[c][h][w]` (red first) and its class.
pub(crate) type Sample = (Vec<u8>, usize);

/// The float network of a file, or `None` with a line on stderr.
pub(crate) fn network(file: &str) -> Option<Graph> {
    Some(onnx::import(&bytes(&format!("models/{file}"))?).unwrap())
}

/// MNIST images, all of `t10k` or `train`.
pub(crate) fn mnist(set: &str) -> Option<Vec<Sample>> {
    let unzip = |name: &str| {
        let mut all = Vec::new();
        flate2::read::GzDecoder::new(&bytes(name)?[..]).read_to_end(&mut all).unwrap();
        Some(all)
    };
    let images = unzip(&format!("data/mnist/{set}-images-idx3-ubyte.gz"))?;
    let labels = unzip(&format!("data/mnist/{set}-labels-idx1-ubyte.gz"))?;
    Some(images[16..].chunks(784).map(<[u8]>::to_vec).zip(labels[8..].iter().map(|&l| l.into())).collect())
}

/// Every `stride`-th image of CIFAR-10 (JPEG copy), `test` or `train`; the file goes class by class.
pub(crate) fn cifar(set: &str, stride: usize) -> Option<Vec<Sample>> {
    let packed = bytes(&format!("data/cifar10-jpeg/{set}.jpgs.xz"))?;
    let mut all = Vec::new();
    liblzma::read::XzDecoder::new(&packed[..]).read_to_end(&mut all).unwrap();
    let mut records = Vec::new();
    let mut rest = &all[..];
    while let [class, a, b, c, d, tail @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        records.push((usize::from(*class), &tail[..length]));
        rest = &tail[length..];
    }
    let decode = |&(class, jpeg): &(usize, &[u8])| {
        let image = image::load_from_memory(jpeg).unwrap().to_rgb8();
        let channel = |c: usize| image.pixels().map(move |pixel| pixel.0[c]).collect::<Vec<u8>>();
        ([channel(0), channel(1), channel(2)].concat(), class)
    };
    Some(records.iter().step_by(stride).map(decode).collect())
}

fn bytes(path: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(e) => {
            eprintln!("skipped: {} cannot be read ({e})", path.display());
            None
        }
    }
}
