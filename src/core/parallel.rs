//! Bounded parallel maps on threads of their own.
//!
//! rayon is not used: work here waits for networks, hosts, processes, and locks, and a thread that
//! waits for another process must not block the pool that computes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

/// Applies `work` to every item, with at most `threads` at a time, and returns the results in the
/// order of the items.
pub fn map<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_while(items, threads, || true, work)
        .into_iter()
        .flatten()
        .collect()
}

/// Works like [`map`], but starts no further items once `go_on` returns false; their results are
/// `None`.
pub fn map_while<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    go_on: impl Fn() -> bool + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<Option<R>> {
    let done: Mutex<BTreeMap<usize, R>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let worker = || {
        while go_on() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            done.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(index, result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..bounded(threads, items) {
            scope.spawn(worker);
        }
    });

    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    (0..items.len()).map(|index| done.remove(&index)).collect()
}

/// Works like [`map_while`], but passes the results, with the indexes of their items, to `take` in
/// the caller's thread, in the order of completion.
pub fn for_each_while<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    go_on: impl Fn() -> bool + Sync,
    work: impl Fn(&T) -> R + Sync,
    take: impl FnOnce(mpsc::Receiver<(usize, R)>),
) {
    let (sender, receiver) = mpsc::channel();
    let next = AtomicUsize::new(0);
    let worker = |results: mpsc::Sender<(usize, R)>| {
        while go_on() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if results.send((index, work(item))).is_err() {
                return;
            }
        }
    };
    let worker = &worker;
    thread::scope(|scope| {
        for _ in 0..bounded(threads, items) {
            let sender = sender.clone();
            scope.spawn(move || worker(sender));
        }
        drop(sender);
        take(receiver);
    });
}

fn bounded<T>(threads: usize, items: &[T]) -> usize {
    threads.clamp(1, items.len().max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        let doubled = map(&items, 7, |item| item * 2);
        assert_eq!(doubled, (0..100).map(|item| item * 2).collect::<Vec<_>>());
        assert!(map(&Vec::<u32>::new(), 7, |item| *item).is_empty());
    }

    #[test]
    fn nothing_begins_after_the_end() {
        let stopped = AtomicBool::new(false);
        let results = map_while(
            &[1, 2, 3],
            1,
            || !stopped.load(Ordering::Relaxed),
            |item| {
                stopped.store(*item == 2, Ordering::Relaxed);
                *item
            },
        );
        assert_eq!(results, [Some(1), Some(2), None]);
    }

    #[test]
    fn no_more_threads_run_than_were_asked_for() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        map(&[(); 50], 3, |()| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        });
        assert!(most.into_inner() <= 3);
    }

    #[test]
    fn results_arrive_as_they_come() {
        let mut sum = 0;
        for_each_while(
            &[1, 2, 3],
            2,
            || true,
            |item| item * 10,
            |results| {
                for (index, result) in results {
                    assert_eq!(result, (index + 1) * 10);
                    sum += result;
                }
            },
        );
        assert_eq!(sum, 60);
    }
}
