//! From a file or a name to integers: what `compile`, `check`, `bench` and `demo` share.

use std::path::{Path, PathBuf};

use comfy_table::Table;
use phineus_infer::plan::{Options, Plan};
use phineus_model::fixed::{Model, Op, Preprocess, Reveal, patterns};
use phineus_model::graph::Node;
use phineus_model::phn::Public;
use phineus_model::quantize::{self, Calibration};
use phineus_model::{float, onnx, phn, zoo};

use crate::command::zoo::random_samples;
use crate::data::{self, Sample, Shape, Split};
use crate::failure::Failure;
use crate::table;

/// Random samples that `check` and `bench` calibrate on where no data is given.
pub(crate) const CHECK_SAMPLES: usize = 4;

/// Few outliers saturate, and all other activations keep their precision.
const QUANTILE: f64 = 0.9999;

/// Largest model file that is read.
const MAX_MODEL_BYTES: u64 = 2 << 30;

/// How a network becomes integers.
#[derive(clap::Args, Clone)]
pub(crate) struct Quantisation {
    /// Bits of an activation, 2 to 12.
    #[arg(long, default_value_t = 8)]
    activation_bits: u32,
    /// Bits of a weight, 2 to 12.
    #[arg(long, default_value_t = 8)]
    weight_bits: u32,
    /// Share of the calibration values that must not saturate; 1 takes the largest.
    #[arg(long, default_value_t = QUANTILE)]
    quantile: f64,
    /// Mean per channel of the pixels in [0, 1]; one value serves all channels.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    mean: Vec<f64>,
    /// Standard deviation per channel; one value serves all channels.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    std: Vec<f64>,
    /// The network takes blue first.
    #[arg(long)]
    bgr: bool,
    /// What the client learns.
    #[arg(long, value_enum, default_value_t = Output::Logits)]
    reveal: Output,
    /// Name under which the model is served; the file's name by default.
    #[arg(long)]
    name: Option<String>,
    /// Text file with one class name a line.
    #[arg(long)]
    labels: Option<PathBuf>,
    #[arg(skip)]
    names: Vec<String>,
}

impl Quantisation {
    /// Eight bits, pixels in [0, 1], logits.
    pub(crate) fn plain(name: &str) -> Self {
        Self {
            activation_bits: 8,
            weight_bits: 8,
            quantile: QUANTILE,
            mean: vec![0.0],
            std: vec![1.0],
            bgr: false,
            reveal: Output::Logits,
            name: Some(name.to_owned()),
            labels: None,
            names: Vec::new(),
        }
    }

    /// The same with these names of classes where no file names them.
    pub(crate) fn with_labels(mut self, names: Vec<String>) -> Self {
        self.names = names;
        self
    }

    /// The same with weights of so many bits.
    pub(crate) fn with_weight_bits(self, weight_bits: u32) -> Self {
        Self { weight_bits, ..self }
    }

    pub(crate) fn preprocess(&self, channels: usize) -> Result<Preprocess, Failure> {
        let per_channel = |values: &[f64], what: &str| match values {
            [one] => Ok(vec![*one; channels]),
            all if all.len() == channels => Ok(all.to_vec()),
            other => {
                Err(Failure::new(format!("--{what} has {} values for {channels} channels", other.len())))
            }
        };
        let (mean, std) = (per_channel(&self.mean, "mean")?, per_channel(&self.std, "std")?);
        if !std.iter().all(|s| s.is_finite() && *s > 0.0) || !mean.iter().all(|m| m.is_finite()) {
            return Err(Failure::new("--mean must be finite and --std positive"));
        }
        Ok(Preprocess { mean, std, bgr: self.bgr })
    }

    fn options(&self, default_name: &str) -> Result<quantize::Options, Failure> {
        let labels = match &self.labels {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| Failure::at(path, e))?
                .lines()
                .map(|line| line.trim().to_owned())
                .collect(),
            None => self.names.clone(),
        };
        Ok(quantize::Options {
            activation_bits: self.activation_bits,
            weight_bits: self.weight_bits,
            calibration: if self.quantile < 1.0 {
                Calibration::Quantile(self.quantile)
            } else {
                Calibration::Max
            },
            reveal: match self.reveal {
                Output::Logits => Reveal::Logits,
                Output::Argmax => Reveal::ArgMax,
            },
            labels,
            name: self.name.clone().unwrap_or_else(|| default_name.to_owned()),
        })
    }
}

/// What the client learns.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// All outputs.
    Logits,
    /// Only the class.
    Argmax,
}

/// The names of a network's classes, one a line under `classes` in the metadata of its file; none where that says nothing.
pub(crate) fn labels(path: &Path) -> Result<Vec<String>, Failure> {
    let metadata = onnx::metadata(&read(path)?).map_err(|e| Failure::at(path, e))?;
    let names = metadata.get("classes").filter(|names| names.contains('\n'));
    Ok(names.map_or_else(Vec::new, |names| names.lines().map(|name| name.trim().to_owned()).collect()))
}

/// A zoo network or an ONNX file.
pub(crate) fn import(model: &str) -> Result<float::Graph, Failure> {
    let path = Path::new(model);
    if !path.exists() && zoo::NAMES.contains(&model) {
        return Ok(zoo::build(model, 1)?);
    }
    let bytes = read(path)?;
    let mut graph = onnx::import(&bytes).map_err(|e| Failure::at(path, e))?;
    if let Some(stem) = path.file_stem().and_then(|s| s.to_str()) {
        graph.name = stem.to_owned();
    }
    Ok(graph)
}

/// A compiled model: read from a .phn file, or made from an ONNX file or a zoo network.
pub(crate) fn load(model: &str, samples: &[Sample], quantisation: &Quantisation) -> Result<Model, Failure> {
    let path = Path::new(model);
    if path.extension().is_some_and(|e| e == "phn") {
        return phn::read(&read(path)?).map_err(|e| Failure::at(path, e));
    }
    let graph = import(model)?;
    Ok(if samples.is_empty() {
        quantise(&graph, &random_samples(&graph, CHECK_SAMPLES), quantisation)?
    } else {
        quantise(&graph, samples, quantisation)?
    })
}

/// Integers for a float network, scales from `samples`.
pub(crate) fn quantise(
    graph: &float::Graph,
    samples: &[Sample],
    quantisation: &Quantisation,
) -> Result<Model, Failure> {
    let preprocess = quantisation.preprocess(input_shape(graph)?.channels)?;
    let inputs = samples
        .iter()
        .map(|s| Ok(preprocess.apply(&s.pixels)?.into_iter().map(|x| x as f32).collect()))
        .collect::<Result<Vec<Vec<f32>>, phineus_model::fixed::EncodeError>>()?;
    quantise_inputs(graph, &inputs, quantisation)
}

/// Integers for a float network, scales from what it takes.
pub(crate) fn quantise_inputs(
    graph: &float::Graph,
    inputs: &[Vec<f32>],
    quantisation: &Quantisation,
) -> Result<Model, Failure> {
    let preprocess = quantisation.preprocess(input_shape(graph)?.channels)?;
    Ok(quantize::quantize(graph, inputs, preprocess, &quantisation.options(&graph.name)?)?)
}

/// Channels, height and width of a network's input; a flat input counts as channels.
pub(crate) fn input_shape(graph: &float::Graph) -> Result<Shape, Failure> {
    shape_of(&graph.nodes)
}

/// As [`input_shape`], of a graph at any stage.
pub(crate) fn shape_of<O>(nodes: &[Node<O>]) -> Result<Shape, Failure> {
    let shape = nodes.first().map_or(&[][..], |n| n.shape.as_slice());
    match *shape {
        [channels, height, width] => Ok(Shape { channels, height, width }),
        [channels] => Ok(Shape { channels, height: 1, width: 1 }),
        _ => Err(Failure::new(format!("input of shape {shape:?} is not an image"))),
    }
}

/// Samples of a data set for a network's input; with `resize`, scaled to it.
pub(crate) fn samples(
    path: &Path,
    shape: Shape,
    split: Split,
    limit: Option<usize>,
    resize: bool,
) -> Result<Vec<Sample>, Failure> {
    Ok(data::open(path, shape, &data::Options { split, skip: 0, limit, resize })?)
}

/// Every layer with the width of its ring.
pub(crate) fn layer_table(model: &Model) -> Table {
    let mut table = table::new(&["layer", "operation", "shape", "ring", "range", "step"], 3);
    for (node, fact) in model.graph.nodes.iter().zip(&model.graph.facts) {
        let range = match node.op {
            Op::Act(_) | Op::Input => format!("[{}, {}]", fact.lo, fact.hi),
            _ => String::new(),
        };
        table.add_row([
            node.name.clone(),
            phineus_infer::plan::op_name(&node.op).to_owned(),
            format!("{:?}", node.shape),
            format!("{} bits", fact.bits),
            range,
            format!("{:.3e}", fact.step),
        ]);
    }
    table
}

/// The operators of several layers that a model is made of, if there are any.
pub(crate) fn operator_table(model: &Model) -> Option<Table> {
    let found = patterns::recognise(&model.graph);
    let mut table = table::new(&["operator", "layers", "MACs", "of a standard convolution"], 2);
    for pattern in &found {
        let names: Vec<&str> =
            pattern.layers.iter().map(|layer| model.graph.nodes[*layer].name.as_str()).collect();
        let share = 100.0 * pattern.macs as f64 / pattern.standard_macs.max(1) as f64;
        let macs = pattern.macs.to_string();
        table.add_row([pattern.form.to_string(), names.join(" + "), macs, format!("{share:.1} %")]);
    }
    (!found.is_empty()).then_some(table)
}

/// The bytes of a model file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let metadata = std::fs::metadata(path).map_err(|e| Failure::at(path, e))?;
    if metadata.len() > MAX_MODEL_BYTES {
        return Err(Failure::at(path, "larger than 2 GiB"));
    }
    std::fs::read(path).map_err(|e| Failure::at(path, e))
}

/// The plan of a compiled model.
pub(crate) fn plan(model: &Model, options: &Options) -> Result<Plan, Failure> {
    Ok(Plan::new(Public::of(model), options)?)
}
