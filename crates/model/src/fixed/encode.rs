//! Between the user's numbers and the network's integers: both ends of an inference, in the clear at the client.

use super::{Fact, Graph, Model, Preprocess};

/// An input that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Wrong number of values.
    #[error("the network takes {expected} input values, got {got}")]
    Length {
        /// Elements of the input tensor.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A value that is not a number.
    #[error("input value {index} is not a number")]
    NotANumber {
        /// Its position.
        index: usize,
    },
    /// The pre-processing has no mean and deviation for some channel.
    #[error("the pre-processing states {channels} channels, the input has {expected} values")]
    Channels {
        /// Channels stated.
        channels: usize,
        /// Elements of the input tensor.
        expected: usize,
    },
}

impl Graph {
    /// Quantises the network's real input: `round(x / step)`, saturated to the input's interval.
    ///
    /// # Errors
    /// For a wrong length and for NaN.
    pub fn encode_input(&self, x: &[f32]) -> Result<Vec<i32>, EncodeError> {
        let (fact, expected) = self.input();
        if x.len() != expected {
            return Err(EncodeError::Length { expected, got: x.len() });
        }
        x.iter()
            .enumerate()
            .map(|(index, &x)| {
                if x.is_nan() {
                    Err(EncodeError::NotANumber { index })
                } else {
                    Ok(quantise(&fact, x.into()))
                }
            })
            .collect()
    }

    /// Quantises an 8-bit image given as `[c][h][w]` with red first (whatever order the network wants).
    ///
    /// # Errors
    /// For a wrong length.
    pub fn encode_pixels(&self, preprocess: &Preprocess, pixels: &[u8]) -> Result<Vec<i32>, EncodeError> {
        let (fact, expected) = self.input();
        if pixels.len() != expected {
            return Err(EncodeError::Length { expected, got: pixels.len() });
        }
        let real = preprocess.apply(pixels)?;
        Ok(real.into_iter().map(|x| quantise(&fact, x)).collect())
    }

    /// The real numbers that revealed integers stand for.
    #[must_use]
    pub fn decode_output(&self, values: &[i64]) -> Vec<f32> {
        let step = self.facts.get(self.output).map_or(0.0, |fact| fact.step);
        values.iter().map(|&v| (v as f64 * step) as f32).collect()
    }

    fn input(&self) -> (Fact, usize) {
        let fact = self.facts.first().copied().unwrap_or(Fact { step: 0.0, lo: 0, hi: 0, bits: 2 });
        (fact, self.nodes.first().map_or(0, |node| node.len()))
    }
}

impl Model {
    /// [`Graph::encode_input`].
    ///
    /// # Errors
    /// For a wrong length and for NaN.
    pub fn encode_input(&self, x: &[f32]) -> Result<Vec<i32>, EncodeError> {
        self.graph.encode_input(x)
    }

    /// [`Graph::encode_pixels`] with the model's own pre-processing.
    ///
    /// # Errors
    /// For a wrong length.
    pub fn encode_pixels(&self, pixels: &[u8]) -> Result<Vec<i32>, EncodeError> {
        self.graph.encode_pixels(&self.preprocess, pixels)
    }

    /// [`Graph::decode_output`].
    #[must_use]
    pub fn decode_output(&self, values: &[i64]) -> Vec<f32> {
        self.graph.decode_output(values)
    }
}

impl Preprocess {
    /// The network's real input for an 8-bit image `[c][h][w]`, red first.
    ///
    /// # Errors
    /// Unless the number of pixels is a positive multiple of the number of channels.
    pub fn apply(&self, pixels: &[u8]) -> Result<Vec<f64>, EncodeError> {
        let channels = self.mean.len().min(self.std.len());
        if channels == 0 || pixels.is_empty() || !pixels.len().is_multiple_of(channels) {
            return Err(EncodeError::Channels { channels, expected: pixels.len() });
        }
        let plane = pixels.len() / channels;
        let mut real = Vec::with_capacity(pixels.len());
        for (c, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let source = if self.bgr { channels - 1 - c } else { c };
            let pixels = &pixels[source * plane..][..plane];
            real.extend(pixels.iter().map(|&pixel| (f64::from(pixel) / 255.0 - mean) / std));
        }
        Ok(real)
    }

    /// Smallest and largest real input that an 8-bit image can give.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        self.mean.iter().zip(&self.std).fold((0.0, 0.0), |(lo, hi), (mean, std)| {
            (f64::min(lo, -mean / std), f64::max(hi, (1.0 - mean) / std))
        })
    }
}

fn quantise(fact: &Fact, x: f64) -> i32 {
    let v = (x / fact.step).round().clamp(fact.lo as f64, fact.hi as f64);
    v as i32
}
