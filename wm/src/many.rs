// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several files at once over all cores, results in the order of the files.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::interrupt;

/// How many files are worked on at once.
#[derive(clap::Args)]
pub struct JobsArguments {
    /// How many files to work on at once [default: the number of cores]
    #[arg(long, short, value_name = "NUMBER")]
    jobs: Option<NonZeroUsize>,
}

impl JobsArguments {
    fn number(&self) -> usize {
        let cores = || std::thread::available_parallelism().ok();
        self.jobs.or_else(cores).map_or(1, NonZeroUsize::get)
    }
}

/// Does the work on all items, and hands the results to `done` one after the other, as the items are in order.
///
/// Stops early if `done` fails, or if the work is interrupted: then the work that goes on has to end by itself.
pub fn run<T: Sync, R: Send>(
    items: &[T],
    jobs: &JobsArguments,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(&T, R) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        for _ in 0..jobs.number().min(items.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while interrupt::check().is_ok() {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut printed = 0;
        for (index, result) in results {
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&printed) {
                done(&items[printed], result)?;
                printed += 1;
            }
        }
        Ok(())
    })?;
    interrupt::check()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(number: usize) -> JobsArguments {
        JobsArguments {
            jobs: NonZeroUsize::new(number),
        }
    }

    #[test]
    fn results_come_in_order_however_long_the_work_takes() {
        let (first_may_go, wait) = mpsc::channel();
        let wait = std::sync::Mutex::new(wait);
        let work = |item: &usize| {
            match item {
                // The first one ends after the second one.
                0 => wait.lock().unwrap().recv().unwrap(),
                1 => first_may_go.send(()).unwrap(),
                _ => (),
            }
            item * 10
        };
        let mut results = Vec::new();
        run(&[0, 1, 2, 3, 4], &jobs(2), work, |item, result| {
            results.push((*item, result));
            Ok(())
        })
        .unwrap();
        assert_eq!(results, [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]);
    }

    #[test]
    fn an_error_of_the_output_ends_it() {
        let mut taken = 0;
        let outcome = run(
            &[0; 1000],
            &jobs(2),
            |_| (),
            |_, ()| {
                taken += 1;
                anyhow::bail!("the pipe is closed")
            },
        );
        assert_eq!(outcome.unwrap_err().to_string(), "the pipe is closed");
        assert_eq!(taken, 1);
    }
}
