//! `--extractor`: transfer learning. The client runs a public network in the clear; what comes out is the input of the
//! private one (Brutzkus et al., ICML 2019, section 6).
//!
//! The file says in its metadata what it takes: `mean` and `std` of bytes, one number or one per channel, and `channels`,
//! which is `rgb` or `bgr`. Without them it takes red first and numbers in [0, 1].

use std::path::PathBuf;

use phineus_model::fixed::{Graph, Preprocess};
use phineus_model::{float, onnx};

use crate::compile;
use crate::data::{Sample, Shape};
use crate::failure::Failure;

/// The option.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct ExtractorFlags {
    /// ONNX file of a public network that runs on this side, in the clear: the private model's input is what it makes of an
    /// image. Images are scaled to its size.
    #[arg(long)]
    extractor: Option<PathBuf>,
}

/// A public network with its pre-processing.
pub(crate) struct Extractor {
    graph: float::Graph,
    preprocess: Preprocess,
}

impl ExtractorFlags {
    /// The network, if one is named.
    pub(crate) fn load(&self) -> Result<Option<Extractor>, Failure> {
        let Some(path) = &self.extractor else { return Ok(None) };
        let bytes = compile::read(path)?;
        let extractor = Extractor::from_onnx(&bytes).map_err(|e| Failure::at(path, e))?;
        Ok(Some(extractor))
    }
}

impl Extractor {
    fn from_onnx(bytes: &[u8]) -> Result<Self, Failure> {
        let (graph, metadata) = (onnx::import(bytes)?, onnx::metadata(bytes)?);
        let graph = phineus_model::pass::canonical(graph).map_err(|e| Failure::new(e.to_string()))?;
        let channels = compile::input_shape(&graph)?.channels;
        let numbers = |key: &str, default: f64| -> Result<Vec<f64>, Failure> {
            let Some(text) = metadata.get(key) else { return Ok(vec![default; channels]) };
            let values: Result<Vec<f64>, _> = text.split(',').map(|v| v.trim().parse::<f64>()).collect();
            match values.as_deref() {
                Ok([one]) => Ok(vec![*one; channels]),
                Ok(all) if all.len() == channels => Ok(all.to_vec()),
                _ => Err(Failure::new(format!("metadata `{key}` is not {channels} numbers"))),
            }
        };
        let bytes_of = |values: Vec<f64>| values.into_iter().map(|v| v / 255.0).collect::<Vec<_>>();
        let (mean, std) = (bytes_of(numbers("mean", 0.0)?), bytes_of(numbers("std", 255.0)?));
        if !std.iter().all(|s| s.is_normal() && *s > 0.0) || !mean.iter().all(|m| m.is_finite()) {
            return Err(Failure::new("metadata: `mean` must be finite and `std` positive"));
        }
        let bgr = metadata.get("channels").is_some_and(|order| order == "bgr");
        Ok(Self { graph, preprocess: Preprocess { mean, std, bgr } })
    }

    /// Channels, height and width of the images that it takes.
    pub(crate) fn shape(&self) -> Result<Shape, Failure> {
        compile::input_shape(&self.graph)
    }

    /// What it makes of an image in its shape.
    pub(crate) fn features(&self, sample: &Sample) -> Result<Vec<f32>, Failure> {
        let real: Vec<f32> = self.preprocess.apply(&sample.pixels)?.into_iter().map(|x| x as f32).collect();
        Ok(self.graph.run(&real)?)
    }
}

/// The shape of images for a model, behind an extractor if there is one.
pub(crate) fn image_shape(extractor: Option<&Extractor>, model: Shape) -> Result<Shape, Failure> {
    extractor.map_or(Ok(model), Extractor::shape)
}

/// The integers that a model takes for an image, by way of an extractor if there is one.
pub(crate) fn encode(
    extractor: Option<&Extractor>,
    graph: &Graph,
    preprocess: &Preprocess,
    sample: &Sample,
) -> Result<Vec<i32>, Failure> {
    Ok(match extractor {
        Some(extractor) => graph.encode_input(&extractor.features(sample)?)?,
        None => graph.encode_pixels(preprocess, &sample.pixels)?,
    })
}

#[cfg(test)]
mod tests {
    use phineus_model::float::{Builder, Head, Op};

    use super::*;

    #[test]
    fn an_extractor_says_what_it_takes() {
        let mut b = Builder::new("public", "x", &[3, 1, 2]).unwrap();
        let y = b.push("half", Op::Affine { scale: vec![0.5; 3], shift: vec![0.0; 3] }, &[0]).unwrap();
        let y = b.reshape("flat", y, &[6]).unwrap();
        let bytes = onnx::export(&b.finish(y, Head::Logits).unwrap());
        let sample = Sample { pixels: vec![255, 0, 51, 51, 0, 255], label: None, name: "x".into() };
        let plain = Extractor::from_onnx(&bytes).unwrap();
        assert_eq!(plain.shape().unwrap(), Shape { channels: 3, height: 1, width: 2 });
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&plain.features(&sample).unwrap(), &[0.5, 0.0, 0.1, 0.1, 0.0, 0.5]));
        let with = |key: &str, value: &str| onnx::with_metadata(&bytes, &[(key, value)]);
        let extractor = Extractor::from_onnx(&with("channels", "bgr")).unwrap();
        assert!(close(&extractor.features(&sample).unwrap(), &[0.0, 0.5, 0.1, 0.1, 0.5, 0.0]));
        let extractor = Extractor::from_onnx(&with("mean", "255, 0, 51")).unwrap();
        assert!(close(&extractor.features(&sample).unwrap(), &[0.0, -0.5, 0.1, 0.1, -0.1, 0.4]));
        for (key, value) in [("mean", "1,2"), ("std", "0"), ("std", "x"), ("mean", "inf")] {
            assert!(Extractor::from_onnx(&with(key, value)).is_err(), "{key} {value}");
        }
    }
}
