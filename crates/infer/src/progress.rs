//! How far a long operation is, for whoever listens to the events of the target `phineus::progress`.

/// Part `index` of `of` of a phase begins. Parts are those of the public plan; nothing secret is told.
pub(crate) fn progress(phase: &str, index: usize, of: usize) {
    tracing::info!(target: "phineus::progress", "{phase}: {} of {of}", index + 1);
}
