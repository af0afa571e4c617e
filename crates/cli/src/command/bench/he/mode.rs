//! The modes of the table, and their images.

use std::path::PathBuf;

use phineus_infer::cipher::InputForm;
use phineus_model::fixed::Model;
use phineus_model::{float, onnx, zoo};
use rayon::prelude::*;

use super::Sources;
use crate::command::zoo::random_pixels;
use crate::compile::{self, Quantisation};
use crate::data::{self, Options, Sample, Shape, Split};
use crate::failure::Failure;

/// A row of the table.
pub(super) struct Mode {
    pub(super) name: &'static str,
    network: Network,
    images: Images,
    pub(super) form: InputForm,
    /// Bits of the scale at least.
    pub(super) precision: u32,
    weight_bits: u32,
    /// Many images per ciphertext.
    pub(super) batch: bool,
}

/// Where a network comes from.
enum Network {
    Trained(&'static [u8]),
    Zoo(&'static str),
}

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Images {
    Digits,
    Pictures,
    Features,
    /// Grey pictures of 64 x 64 pixels.
    Thumbnails,
}

/// What a public network makes of an image, and the image's label.
type Features = (Vec<f32>, Option<usize>);

/// A compiled network with what it runs on.
pub(super) struct Task {
    pub(super) model: Model,
    /// What values are scaled for.
    pub(super) seen: Vec<Vec<f64>>,
    /// Inputs with labels, where there are any.
    pub(super) inputs: Vec<(Vec<i32>, Option<usize>)>,
    /// In words.
    pub(super) source: &'static str,
}

const LOLA: Network = Network::Trained(include_bytes!("../../../../../../assets/lola-mnist.onnx"));
const SMALL: Network = Network::Trained(include_bytes!("../../../../../../assets/lola-small.onnx"));
const CIFAR: Network = Network::Trained(include_bytes!("../../../../../../assets/lola-cifar.onnx"));
const CALTECH: Network = Network::Trained(include_bytes!("../../../../../../assets/caltech-linear.onnx"));

const fn mode(name: &'static str, network: Network, images: Images) -> Mode {
    Mode { name, network, images, form: InputForm::Any, precision: 24, weight_bits: 12, batch: false }
}

pub(super) const MODES: [Mode; 8] = [
    Mode { form: InputForm::Convolution, ..mode("LoLa", LOLA, Images::Digits) },
    Mode { form: InputForm::Message, ..mode("LoLa-Dense", LOLA, Images::Digits) },
    mode("LoLa-Small", SMALL, Images::Digits),
    Mode { batch: true, ..mode("CryptoNets batch", LOLA, Images::Digits) },
    mode("LoLa-CIFAR 83/163", CIFAR, Images::Pictures),
    Mode { weight_bits: 8, ..mode("LoLa-CIFAR 83/112", Network::Zoo("lola-cifar-112"), Images::Pictures) },
    Mode { precision: 20, ..mode("linear 4096 to 102", Network::Zoo("linear-4096-102"), Images::Thumbnails) },
    Mode { precision: 20, ..mode("Caltech-101", CALTECH, Images::Features) },
];

/// Images whose values a network is scaled for.
const CALIBRATION: usize = 32;

impl Mode {
    /// The compiled network, and at most `count` inputs.
    pub(super) fn task(&self, sources: &Sources<'_>, count: usize) -> Result<Task, Failure> {
        let graph = self.network.graph()?;
        let quantisation = Quantisation::plain(self.name).with_weight_bits(self.weight_bits);
        if let (Some(path), Some(extractor)) = (self.folder(sources), &sources.extractor)
            && self.images == Images::Features
        {
            let shape = extractor.shape()?;
            let features = |split, limit| -> Result<Vec<Features>, Failure> {
                let options = Options { split, skip: 0, limit: Some(limit), resize: true };
                let images = data::open(&path, shape, &options)?;
                images.par_iter().map(|image| Ok((extractor.features(image)?, image.label))).collect()
            };
            let calibration: Vec<Vec<f32>> =
                features(Split::Train, CALIBRATION)?.into_iter().map(|(x, _)| x).collect();
            let model = compile::quantise_inputs(&graph, &calibration, &quantisation)?;
            let encode = |x: &[f32]| model.encode_input(x);
            let inputs = features(Split::Test, count)?;
            let inputs = inputs.iter().map(|(x, label)| Ok((encode(x)?, *label)));
            let inputs = inputs.collect::<Result<Vec<_>, Failure>>()?;
            let seen =
                calibration.iter().map(|x| Ok(real(&model, &encode(x)?))).collect::<Result<_, Failure>>()?;
            return Ok(Task { model, seen, inputs, source: "features of images" });
        }
        let shape = compile::input_shape(&graph)?;
        let folder = self.folder(sources).filter(|_| self.images != Images::Features);
        let samples = |split, limit| match &folder {
            Some(path) if self.images == Images::Thumbnails => {
                let side = shape.channels.isqrt();
                let shape = Shape { channels: 1, height: side, width: side };
                Ok(data::open(path, shape, &Options { split, skip: 0, limit: Some(limit), resize: true })?)
            }
            Some(path) => compile::samples(path, shape, split, Some(limit), false),
            None => Ok(random_pixels(shape, limit)),
        };
        let calibration = samples(Split::Train, CALIBRATION)?;
        let model = compile::quantise(&graph, &calibration, &quantisation)?;
        let label = |sample: &Sample| sample.label.filter(|_| matches!(self.network, Network::Trained(_)));
        let encode = |sample: &Sample| Ok((model.encode_pixels(&sample.pixels)?, label(sample)));
        let inputs = samples(Split::Test, count)?.iter().map(encode).collect::<Result<_, Failure>>()?;
        let seen = |sample: &Sample| Ok(real(&model, &encode(sample)?.0));
        let seen = calibration.iter().map(seen).collect::<Result<_, Failure>>()?;
        let source = match (&folder, self.images) {
            (None, _) => "random",
            (_, Images::Thumbnails) => "grey pictures",
            _ => "test images",
        };
        Ok(Task { model, seen, inputs, source })
    }

    /// Where weights come from, in words.
    pub(super) fn weights(&self) -> &'static str {
        match self.network {
            Network::Trained(_) => "trained",
            Network::Zoo(_) => "made up",
        }
    }

    /// The folder with this mode's images, if there is one.
    fn folder(&self, sources: &Sources<'_>) -> Option<PathBuf> {
        let (name, own) = match self.images {
            Images::Digits => ("mnist", true),
            Images::Pictures => ("cifar10-jpeg", false),
            Images::Features | Images::Thumbnails => ("caltech101", false),
        };
        let data = sources.data?;
        let below = data.join(name);
        if below.is_dir() { Some(below) } else { Some(data.to_owned()).filter(|_| own) }
    }
}

/// The numbers that a network's integers stand for.
pub(super) fn real(model: &Model, input: &[i32]) -> Vec<f64> {
    let step = model.graph.facts.first().map_or(0.0, |fact| fact.step);
    input.iter().map(|&x| f64::from(x) * step).collect()
}

impl Network {
    fn graph(&self) -> Result<float::Graph, Failure> {
        match self {
            Self::Trained(bytes) => Ok(onnx::import(bytes)?),
            Self::Zoo(name) => Ok(zoo::build(name, 1)?),
        }
    }
}
