//! Heavy work inside an asynchronous half.

/// Runs `work` without starving the other tasks of a multi-threaded runtime; on any other runtime, in place.
pub(crate) fn compute<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|h| h.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
