//! Typed access to the attributes of a node.

use super::proto::{AttributeProto, NodeProto};
use super::tensor::Tensor;

/// Reasons are completed to an error by the caller, who knows the node.
pub(super) type Reason = String;

impl NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// Whether the attribute is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer, or `default` where it is not given.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Reason> {
        self.attribute(name).map_or(Ok(default), |a| a.i.ok_or_else(|| format!("`{name}` is no integer")))
    }

    /// A number, or `default` where it is not given.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Reason> {
        self.attribute(name).map_or(Ok(default), |a| a.f.ok_or_else(|| format!("`{name}` is no number")))
    }

    /// A list of integers, if given.
    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| &a.ints[..])
    }

    /// A list of numbers, if given.
    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| &a.floats[..])
    }

    /// A word, or `default` where it is not given.
    pub(super) fn word<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str, Reason> {
        let Some(attribute) = self.attribute(name) else { return Ok(default) };
        let bytes = attribute.s.as_deref().ok_or_else(|| format!("`{name}` is no string"))?;
        std::str::from_utf8(bytes).map_err(|_| format!("`{name}` is no text"))
    }

    /// A tensor, if given.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor>, Reason> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let stored = attribute.t.as_ref().ok_or_else(|| format!("`{name}` is no tensor"))?;
        Tensor::read(stored).map(Some).map_err(|error| error.to_string())
    }

    /// `N` sizes between `least` and 65,536, or `default` where they are not given.
    pub(super) fn sizes<const N: usize>(
        &self,
        name: &str,
        least: i64,
        default: Option<[usize; N]>,
    ) -> Result<[usize; N], Reason> {
        let Some(given) = self.ints(name) else {
            return default.ok_or_else(|| format!("`{name}` is required"));
        };
        let bad = || format!("`{name}` = {given:?}: {N} numbers in {least}..=65536 are supported");
        let sizes: [i64; N] = given.try_into().map_err(|_| bad())?;
        if sizes.iter().all(|size| (least..=1 << 16).contains(size)) {
            return Ok(sizes.map(|size| size as usize));
        }
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_ranges_are_checked() {
        let node = NodeProto {
            attribute: vec![
                AttributeProto { name: Some("i".into()), i: Some(3), ..Default::default() },
                AttributeProto { name: Some("v".into()), ints: vec![1, 0], ..Default::default() },
                AttributeProto { name: Some("s".into()), s: Some(vec![0xff]), ..Default::default() },
            ],
            ..Default::default()
        };
        assert_eq!(node.int("i", 9), Ok(3));
        assert_eq!(node.int("none", 9), Ok(9));
        assert!(node.float("i", 0.0).is_err());
        assert!(node.word("s", "").is_err());
        assert!(node.tensor("i").is_err());
        assert_eq!(node.sizes("v", 0, None), Ok([1, 0]));
        assert!(node.sizes::<2>("v", 1, None).is_err());
        assert!(node.sizes::<3>("v", 0, None).is_err());
        assert!(node.sizes::<2>("none", 0, None).is_err());
        assert_eq!(node.sizes("none", 0, Some([7])), Ok([7]));
    }
}
