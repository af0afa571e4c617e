//! Heavy work inside an asynchronous half.

use crate::schedule;

/// Runs `work` without starving the other tasks of a multi-threaded runtime, and not before what is more urgent
/// ([`schedule`]); on any other runtime, in place and at once.
pub(crate) fn compute<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|h| h.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| {
            schedule::give_way();
            work()
        }),
        _ => work(),
    }
}
