//! The compiled format: a public half that a client may see and the provider's private half.
//!
//! ```text
//! "phineus\0"  version: u32
//! length: u64  public half   BLAKE3 of it
//! length: u64  private half  BLAKE3 of both halves
//! ```
//!
//! Numbers are little-endian, halves are postcard. The public half is what [`public_bytes`] gives: name, graph
//! without inner steps, pre-processing, labels. The private half has the inner steps and the weights. The hashes
//! find accidents, not forgers; [`read`] and [`read_public`] check all that the bytes claim (see
//! [`fixed::Graph::validate`]).

use serde::{Deserialize, Serialize};

use crate::fixed::{self, Graph, GraphError, Model, Preprocess, Weights};

/// Why bytes are no compiled network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhnError {
    /// The first bytes are not those of the format.
    #[error("not a compiled Phineus network")]
    Magic,
    /// A version this build does not read.
    #[error("format version {found}, this build reads {VERSION}")]
    Version {
        /// Version of the file.
        found: u32,
    },
    /// A length that the bytes do not have, or bytes after the end.
    #[error("{what}: {stated} bytes stated, {present} present")]
    Length {
        /// Which part.
        what: &'static str,
        /// Length stated.
        stated: u64,
        /// Length present.
        present: u64,
    },
    /// A public half above [`PUBLIC_LIMIT`].
    #[error("the public half has {0} bytes, more than the limit of {PUBLIC_LIMIT}")]
    TooLarge(usize),
    /// A hash that does not match.
    #[error("{what}: the hash does not match, the file is damaged")]
    Hash {
        /// Which part.
        what: &'static str,
    },
    /// Bytes that are not an encoding.
    #[error("{what}: malformed encoding")]
    Encoding {
        /// Which part.
        what: &'static str,
    },
    /// Not one inner step per node.
    #[error("{given} steps for {needed} nodes")]
    Steps {
        /// Steps in the file.
        given: usize,
        /// Nodes of the graph.
        needed: usize,
    },
    /// An encoding of something without meaning.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What a client knows about a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Public {
    /// Name under which it is served.
    pub name: String,
    /// Without inner steps.
    pub graph: Graph,
    /// How an image becomes the input.
    pub preprocess: Preprocess,
    /// Names of the outputs, possibly none.
    pub labels: Vec<String>,
}

/// Largest public half that is read.
pub const PUBLIC_LIMIT: usize = 16 << 20;

/// The one version written and read.
pub const VERSION: u32 = 1;

impl Public {
    /// The public half of `model`.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        Self {
            name: model.name.clone(),
            graph: model.graph.public_view(),
            preprocess: model.preprocess.clone(),
            labels: model.labels.clone(),
        }
    }

    /// The one encoding of this public half.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Digest of the encoding: what both parties bind a session to.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        blake3::derive_key(DIGEST_CONTEXT, &self.to_bytes())
    }
}

/// Writes a model.
#[must_use]
pub fn write(model: &Model) -> Vec<u8> {
    let public = public_bytes(model);
    let private = encode(&Private {
        steps: model.graph.facts.iter().map(|fact| fact.step).collect(),
        weights: model.weights.clone(),
    });
    assemble(&public, &private)
}

/// Reads a model and proves that none of its values can leave its ring.
///
/// # Errors
/// For anything but the output of [`write()`] on a valid model.
pub fn read(bytes: &[u8]) -> Result<Model, PhnError> {
    let mut rest = bytes;
    if take(&mut rest, MAGIC.len(), "magic").map_err(|_| PhnError::Magic)? != MAGIC {
        return Err(PhnError::Magic);
    }
    let version = u32::from_le_bytes(array(&mut rest, "version")?);
    if version != VERSION {
        return Err(PhnError::Version { found: version });
    }
    let public = part(&mut rest, "public half")?;
    if array::<32>(&mut rest, "public hash")? != *blake3::hash(public).as_bytes() {
        return Err(PhnError::Hash { what: "public half" });
    }
    let private = part(&mut rest, "private half")?;
    if array::<32>(&mut rest, "private hash")? != *hash_both(public, private).as_bytes() {
        return Err(PhnError::Hash { what: "private half" });
    }
    if !rest.is_empty() {
        return Err(PhnError::Length { what: "end", stated: 0, present: rest.len() as u64 });
    }
    let Public { name, mut graph, preprocess, labels } = read_public(public)?;
    let Private { steps, weights } = decode(private, "private half")?;
    if steps.len() != graph.facts.len() {
        return Err(PhnError::Steps { given: steps.len(), needed: graph.facts.len() });
    }
    for (fact, step) in graph.facts.iter_mut().zip(steps) {
        fact.step = step;
    }
    let model = Model { name, graph, preprocess, labels, weights };
    model.validate()?;
    Ok(model)
}

/// The public half of a model, for a client.
#[must_use]
pub fn public_bytes(model: &Model) -> Vec<u8> {
    Public::of(model).to_bytes()
}

/// Reads a public half, from a file or from the other party.
///
/// # Errors
/// For anything but the encoding of a valid public half; no allocation is much larger than `bytes`.
pub fn read_public(bytes: &[u8]) -> Result<Public, PhnError> {
    if bytes.len() > PUBLIC_LIMIT {
        return Err(PhnError::TooLarge(bytes.len()));
    }
    let public: Public = decode(bytes, "public half")?;
    public.graph.validate()?;
    fixed::check_companions(&public.graph, &public.preprocess, &public.labels)?;
    // One network has one encoding, so that equal digests and equal networks are the same thing.
    if public.graph != public.graph.public_view() || public.to_bytes() != bytes {
        return Err(PhnError::Encoding { what: "public half" });
    }
    Ok(public)
}

/// Digest of the public half of a model.
#[must_use]
pub fn digest(model: &Model) -> [u8; 32] {
    Public::of(model).digest()
}

#[derive(Serialize, Deserialize)]
struct Private {
    steps: Vec<f64>,
    weights: Vec<Weights>,
}

const MAGIC: &[u8; 8] = b"phineus\0";
const DIGEST_CONTEXT: &str = "phineus 2026-01 public half of a compiled network, version 1";

#[expect(clippy::expect_used, reason = "plain data into memory: no map of unknown length, no failing writer")]
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data has an encoding")
}

fn assemble(public: &[u8], private: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| (part.len() as u64).to_le_bytes();
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(length(public));
    file.extend(public);
    file.extend(blake3::hash(public).as_bytes());
    file.extend(length(private));
    file.extend(private);
    file.extend(hash_both(public, private).as_bytes());
    file
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &'static str) -> Result<T, PhnError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(PhnError::Encoding { what }),
    }
}

fn hash_both(public: &[u8], private: &[u8]) -> blake3::Hash {
    blake3::Hasher::new()
        .update(&(public.len() as u64).to_le_bytes())
        .update(public)
        .update(private)
        .finalize()
}

fn part<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], PhnError> {
    let length = u64::from_le_bytes(array(rest, what)?);
    let present = rest.len() as u64;
    let fits = usize::try_from(length).map_err(|_| PhnError::Length { what, stated: length, present })?;
    take(rest, fits, what)
}

fn array<const N: usize>(rest: &mut &[u8], what: &'static str) -> Result<[u8; N], PhnError> {
    let mut bytes = [0; N];
    bytes.copy_from_slice(take(rest, N, what)?);
    Ok(bytes)
}

fn take<'a>(rest: &mut &'a [u8], n: usize, what: &'static str) -> Result<&'a [u8], PhnError> {
    let (head, tail) = rest.split_at_checked(n).ok_or(PhnError::Length {
        what,
        stated: n as u64,
        present: rest.len() as u64,
    })?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests;
