//! Who may compute next in this process: requests first, then preparations that somebody waits for, then those for later.
//!
//! A session says what it is doing (`run`); whoever computes for it (`compute`), and the half itself whenever it goes on after
//! a wait, gives way: a preparation for later as long as anything more urgent is in flight, one that is waited for as long as
//! there are requests for all cores. The unit is a batch of polynomials, an extension of oblivious transfers or a round of
//! silent ones. Computations that have begun are finished, and nobody waits for longer than `Priority::patience` before each,
//! so that a preparation makes progress under any load and its peer meets its deadlines.
//!
//! The schedule belongs to the process because its cores do. It bounds no parallelism: sessions of the same priority share
//! the threads.

use std::future::Future;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::compute::compute;

/// How urgent a piece of work is; the first is the most urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A request in flight.
    Online,
    /// A preparation that a request waits for.
    Foreground,
    /// A preparation for later.
    Background,
}

impl Priority {
    /// Whether it gives way to what is in flight.
    fn waits_for(self, [online, foreground, _]: &[usize; 3]) -> bool {
        match self {
            Self::Online => false,
            Self::Foreground => *online >= rayon::current_num_threads(),
            Self::Background => online + foreground > 0,
        }
    }

    /// How long it gives way before one computation.
    fn patience(self) -> Duration {
        match self {
            Self::Online => Duration::ZERO,
            Self::Foreground => Duration::from_millis(50),
            Self::Background => Duration::from_secs(1),
        }
    }
}

/// What is in flight, by priority.
struct Schedule {
    in_flight: Mutex<[usize; 3]>,
    less: Condvar,
}

static PROCESS: Schedule = Schedule::new();

tokio::task_local! {
    static PRIORITY: Priority;
}

/// Runs a part of a session under a priority; gives way whenever it begins or goes on.
pub(crate) async fn run<T>(priority: Priority, work: impl Future<Output = T>) -> T {
    let _claim = claim(priority);
    let mut work = std::pin::pin!(PRIORITY.scope(priority, work));
    std::future::poll_fn(|context| {
        // The worker that has woken this task may be the one that watches sockets and timers. What a preparation for later
        // computes between two messages must not keep it from the requests that they announce.
        if priority == Priority::Background {
            return PRIORITY.sync_scope(priority, || compute(|| work.as_mut().poll(context)));
        }
        if priority.waits_for(&in_flight()) {
            PRIORITY.sync_scope(priority, || compute(|| ()));
        }
        work.as_mut().poll(context)
    })
    .await
}

/// Puts something in flight until the claim is dropped. By itself it makes others give way, but never waits.
pub(crate) fn claim(priority: Priority) -> Claim<'static> {
    PROCESS.claim(priority)
}

/// Waits, blocking this thread, while something more urgent than this task is in flight.
pub(crate) fn give_way() {
    // What runs under no priority, as a handshake does, waits for nobody.
    if let Ok(priority) = PRIORITY.try_with(|priority| *priority) {
        PROCESS.give_way(priority);
    }
}

/// Pieces of work in flight in this process: requests, preparations that are waited for, preparations for later.
#[must_use]
pub fn in_flight() -> [usize; 3] {
    *PROCESS.lock()
}

/// A place among what is in flight.
#[must_use]
pub(crate) struct Claim<'s> {
    schedule: &'s Schedule,
    priority: Priority,
}

impl Schedule {
    const fn new() -> Self {
        Self { in_flight: Mutex::new([0; 3]), less: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, [usize; 3]> {
        // A poisoned lock only means that a thread panicked; three counters are always consistent.
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, priority: Priority) -> Claim<'_> {
        self.lock()[priority as usize] += 1;
        Claim { schedule: self, priority }
    }

    fn give_way(&self, priority: Priority) {
        let end = Instant::now() + priority.patience();
        let mut in_flight = self.lock();
        while priority.waits_for(&in_flight) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (in_flight, _) = self.less.wait_timeout(in_flight, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.schedule.lock()[self.priority as usize] -= 1;
        self.schedule.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_urgent_waits_until_the_more_urgent_is_done() {
        let schedule = Schedule::new();
        let (request, start) = (schedule.claim(Priority::Online), Instant::now());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                schedule.give_way(Priority::Background);
                start.elapsed()
            });
            // Nobody waits for its like or for what is less urgent.
            let _others = [schedule.claim(Priority::Online), schedule.claim(Priority::Foreground)];
            schedule.give_way(Priority::Online);
            std::thread::sleep(Duration::from_millis(100));
            assert!(!waiting.is_finished());
            drop((request, _others));
            let waited = waiting.join().unwrap();
            assert!(
                waited >= Duration::from_millis(100) && waited < Priority::Background.patience(),
                "{waited:?}"
            );
        });
        assert_eq!(*schedule.lock(), [0; 3]);
    }

    #[test]
    fn patience_ends() {
        let schedule = Schedule::new();
        let claim = |_| schedule.claim(Priority::Online);
        let _requests: Vec<_> = (0..rayon::current_num_threads()).map(claim).collect();
        let start = Instant::now();
        schedule.give_way(Priority::Foreground);
        assert!(start.elapsed() >= Priority::Foreground.patience());
    }

    #[tokio::test]
    async fn work_that_is_dropped_is_no_longer_in_flight() {
        // No other test of this program runs anything in the foreground.
        let mut work = Box::pin(run(Priority::Foreground, std::future::pending::<()>()));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut work).await.is_err());
        assert_eq!(in_flight()[1], 1);
        drop(work);
        assert_eq!(in_flight()[1], 0);
    }
}
