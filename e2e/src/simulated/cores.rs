//! Worlds on all cores at once: they know nothing of each other.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

/// Does all of the work, as many pieces at once as there are cores, each on a runtime of its own; gives what came of it, in the order
/// of the work.
///
/// # Panics
/// If a piece does.
pub fn side_by_side<W: Send, T: Send>(work: Vec<W>, each: impl AsyncFn(W) -> T + Sync) -> Vec<T> {
    let queue = Mutex::new(work.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().expect("a runtime can be had");
                while let Some((at, piece)) = next() {
                    let came = runtime.block_on(each(piece));
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, came));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|it| it.0);
    done.into_iter().map(|it| it.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_told_in_order() {
        let done = side_by_side((0..100).collect(), async |it: u32| {
            tokio::task::yield_now().await;
            it * it
        });
        assert_eq!(done, (0..100).map(|it| it * it).collect::<Vec<u32>>());
    }
}
