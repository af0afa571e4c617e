//! Why a file is refused.

/// A file that is not imported. No variant is the importer's fault: either the bytes are malformed or the network is
/// outside of what the private engines can run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes are not a protobuf message of the ONNX schema.
    #[error("not an ONNX file: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A bound on the size of the file or what it describes.
    #[error("too large: {what} is {found}, at most {limit} is accepted")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// Its number, saturated.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// The file as a whole.
    #[error("unsupported model: {reason}")]
    Model {
        /// What is wrong.
        reason: String,
    },
    /// A stored tensor.
    #[error("tensor `{tensor}`: {reason}")]
    Tensor {
        /// Its name, possibly empty.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A node that cannot be translated.
    #[error("node `{node}` ({op}): {reason}")]
    Unsupported {
        /// Name of the node, or of its first output where it has none.
        node: String,
        /// ONNX operator.
        op: String,
        /// What is not supported, and where possible what to do instead.
        reason: String,
    },
}
