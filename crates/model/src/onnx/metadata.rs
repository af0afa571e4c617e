//! What an ONNX file says about itself: pairs of names and text.

use std::collections::BTreeMap;

use prost::Message;

use super::ImportError;
use super::import::check_size;

/// The part of the file with its metadata; everything else is skipped.
#[derive(Clone, PartialEq, Message)]
struct Described {
    #[prost(message, repeated, tag = "14")]
    properties: Vec<Property>,
}

#[derive(Clone, PartialEq, Message)]
struct Property {
    #[prost(string, optional, tag = "1")]
    key: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

/// The metadata of a file. Of equal names the last one counts.
///
/// # Errors
/// A file that is too large or malformed.
pub fn metadata(bytes: &[u8]) -> Result<BTreeMap<String, String>, ImportError> {
    check_size(bytes)?;
    let properties = Described::decode(bytes)?.properties.into_iter();
    Ok(properties.map(|p| (p.key.unwrap_or_default(), p.value.unwrap_or_default())).collect())
}

/// The file with these pairs added.
#[must_use]
pub fn with_metadata(bytes: &[u8], pairs: &[(&str, &str)]) -> Vec<u8> {
    let property =
        |&(key, value): &(&str, &str)| Property { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    // Fields of a message may come in any order and repeat.
    let described = Described { properties: pairs.iter().map(property).collect() };
    [bytes, &described.encode_to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_back_and_change_nothing_else() {
        let graph = crate::zoo::build("lola-small", 1).unwrap();
        let bytes = crate::onnx::export(&graph);
        assert!(metadata(&bytes).unwrap().is_empty());
        let described = with_metadata(&bytes, &[("mean", "1"), ("classes", "a\nb"), ("mean", "2")]);
        let expected = [("classes", "a\nb"), ("mean", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(metadata(&described).unwrap(), expected.into());
        assert!(crate::onnx::import(&described).unwrap() == crate::onnx::import(&bytes).unwrap());
        let (_, shortened) = described.split_last().unwrap();
        assert!(metadata(shortened).is_err());
    }
}
