// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processor time of the threads of a stream, as Linux tells it; elsewhere there is none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// What is shown is the average of this time.
const SPAN: Duration = Duration::from_secs(10);

/// The streaming threads of a pipeline. GStreamer lends threads from one pipeline to the next, therefore it counts from
/// when a thread begins to work for this one.
#[derive(Default)]
pub struct Threads(Mutex<Times>);

#[derive(Default)]
struct Times {
    running: HashMap<ThreadId, (PathBuf, Duration)>,
    /// Of threads that have ended.
    ended: Duration,
}

impl Threads {
    /// The thread that calls this begins to work.
    pub fn enter(&self) {
        let Some((path, time)) = this_thread() else {
            return;
        };
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times
            .running
            .insert(std::thread::current().id(), (path, time));
    }

    /// The thread that calls this has done its work.
    pub fn leave(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, start)) = times.running.remove(&std::thread::current().id()) {
            let end = time_of(&path).unwrap_or(start);
            times.ended += end.saturating_sub(start);
        }
    }

    /// What all of them have taken.
    pub fn time(&self) -> Option<Duration> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = times.running.values();
        let sum: Duration = running
            .filter_map(|(path, start)| Some(time_of(path)?.saturating_sub(*start)))
            .sum();
        (!times.running.is_empty() || !times.ended.is_zero()).then_some(times.ended + sum)
    }
}

/// Where the time of this thread can be read, and what it is.
fn this_thread() -> Option<(PathBuf, Duration)> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    let path = Path::new("/proc").join(link).join("schedstat");
    let time = time_of(&path)?;
    Some((path, time))
}

fn time_of(schedstat: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(schedstat).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Processor time of the process.
pub fn process_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The load over the latest [`SPAN`] from readings of a time.
#[derive(Default)]
pub struct Load(std::collections::VecDeque<(Instant, Duration)>);

impl Load {
    /// Takes in a reading; returns the load in percent of one processor, once there are two readings.
    pub fn update(&mut self, now: Instant, time: Duration) -> Option<f64> {
        while self.0.len() > 1 && now - self.0[1].0 >= SPAN {
            self.0.pop_front();
        }
        self.0.push_back((now, time));
        let (start, first) = *self.0.front()?;
        let passed = (now - start).as_secs_f64();
        (passed > 0.0).then(|| time.saturating_sub(first).as_secs_f64() / passed * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_that_of_the_latest_ten_seconds() {
        let mut load = Load::default();
        let start = Instant::now();
        let mut read = |seconds: u64, milliseconds| {
            let now = start + Duration::from_secs(seconds);
            load.update(now, Duration::from_millis(milliseconds))
        };
        assert_eq!(read(0, 1000), None);
        assert_eq!(read(1, 1500), Some(50.0));
        assert_eq!(read(10, 1500), Some(5.0));
        assert_eq!(read(20, 2500), Some(10.0));
    }

    /// Keeps the processor busy until the thread's time has grown.
    fn work(reading: impl Fn() -> Option<Duration>) -> Duration {
        let start = reading().unwrap();
        loop {
            let time = reading().unwrap();
            if time > start + Duration::from_millis(20) {
                return time;
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_threads_of_the_stream_count_and_only_while_they_work_for_it() {
        let threads = Threads::default();
        assert_eq!(threads.time(), None);
        let before = work(|| Some(this_thread()?.1));
        threads.enter();
        assert!(threads.time().unwrap() < Duration::from_millis(20));
        let time = work(|| threads.time());
        threads.leave();
        let left = threads.time().unwrap();
        let all = this_thread().unwrap().1;
        assert!((time..=all - before).contains(&left));
        work(|| Some(this_thread()?.1));
        assert_eq!(threads.time(), Some(left));
    }
}
