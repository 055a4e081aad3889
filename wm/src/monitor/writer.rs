// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes events as JSON lines, in a thread of its own: who tells an event never waits for a disk or a pipe.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::event::{Event, now};

/// So many events wait to be written; more are counted and dropped.
const WAITING: usize = 4096;

/// Where events go to.
pub struct Writer {
    name: String,
    queue: SyncSender<Event>,
    failures: Arc<Failures>,
    thread: JoinHandle<()>,
}

/// The side of a [`Writer`] that a station has.
#[derive(Clone)]
pub struct Outlet {
    queue: SyncSender<Event>,
    failures: Arc<Failures>,
}

/// What was not written.
#[derive(Default)]
struct Failures {
    /// Events that were dropped.
    dropped: AtomicU64,
    /// Why the latest attempt to write failed.
    error: Mutex<Option<String>>,
}

impl Writer {
    /// `gone` is called when whoever read the lines has gone; it tells whether that is the end of it.
    pub fn start(
        name: &str,
        output: impl Write + Send + 'static,
        gone: impl Fn() -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, events) = sync_channel(WAITING);
        let failures = Arc::<Failures>::default();
        let counters = failures.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || write_all(&events, output, &counters, gone))?;
        Ok(Writer {
            name: name.to_owned(),
            queue,
            failures,
            thread,
        })
    }

    pub fn outlet(&self) -> Outlet {
        Outlet {
            queue: self.queue.clone(),
            failures: self.failures.clone(),
        }
    }

    /// What is wrong with it, for a person.
    pub fn trouble(&self) -> Option<String> {
        self.failures.text(&self.name)
    }

    /// Writes what is left, once no station has an outlet any more; returns what went wrong.
    pub fn finish(self) -> Option<String> {
        drop(self.queue);
        if self.thread.join().is_err() {
            return Some(format!("writing events to {} ended too early", self.name));
        }
        self.failures.text(&self.name)
    }

    /// The same, if some station may never give its outlet back: writes for so long.
    pub fn finish_within(self, limit: Duration) -> Option<String> {
        let (done, waiting) = sync_channel(1);
        let failures = self.failures.clone();
        let name = self.name.clone();
        std::thread::spawn(move || done.send(self.finish()));
        let finished = waiting.recv_timeout(limit);
        finished.unwrap_or_else(|_| failures.text(&name))
    }
}

impl Outlet {
    /// Never waits.
    pub fn send(&self, event: &Event) {
        match self.queue.try_send(event.clone()) {
            // Where whoever read them has gone, nobody misses them.
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.failures.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Failures {
    fn lock_error(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, name: &str) -> Option<String> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let error = self.lock_error();
        let error = error.as_ref().map(|error| format!(": {error}"));
        let error = error.unwrap_or_default();
        (dropped > 0).then(|| format!("events not written to {name}: {dropped}{error}"))
    }
}

fn write_all(
    events: &Receiver<Event>,
    mut output: impl Write,
    failures: &Failures,
    gone: impl Fn() -> bool,
) {
    let mut told = 0;
    let mut lines = String::new();
    // A part of a line was the last that could be written.
    let mut torn = false;
    for event in events {
        if torn {
            lines.push('\n');
        }
        // What has come up in the meantime is written at once.
        let mut count = 1;
        lines += &event.json();
        for event in events.try_iter().take(WAITING) {
            count += 1;
            lines += &event.json();
        }
        let dropped = failures.dropped.load(Ordering::Relaxed);
        if dropped > told {
            lines += &dropped_line(dropped - told);
        }
        let (written, result) = write_what_fits(&mut output, lines.as_bytes());
        let written = &lines.as_bytes()[..written];
        match result {
            Ok(()) => told = dropped,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && gone() => return,
            Err(error) => {
                let ends = written.iter().filter(|byte| **byte == b'\n').count() as u64;
                let whole = ends.saturating_sub(torn.into()).min(count);
                failures.dropped.fetch_add(count - whole, Ordering::Relaxed);
                *failures.lock_error() = Some(error.to_string());
            }
        }
        torn = written.last().map_or(torn, |last| *last != b'\n');
        lines.clear();
    }
}

/// Writes until all is written or an error comes; returns how many bytes were.
fn write_what_fits(output: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, output.flush())
}

/// Tells readers of the lines that some are missing.
fn dropped_line(count: u64) -> String {
    let line = serde_json::json!({ "time": now(), "event": "dropped", "count": count });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::super::station::{Report, Station};
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    fn event() -> Event {
        let mut station = Station::new("One".into(), "http://h/".into(), now());
        station.take(Report::Connecting, now()).remove(0)
    }

    /// Writes nothing until it is told to go on.
    struct Blocked(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is the end of the wait.
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_is_dropped_is_counted() {
        let (go_on, blocked) = channel();
        let (output, written) = channel();
        let writer = Writer::start("here", Blocked(blocked, output), || false).unwrap();
        let outlet = writer.outlet();
        // Would never come to its end if it waited.
        let sent = 3 * WAITING;
        let event = event();
        (0..sent).for_each(|_| outlet.send(&event));
        let dropped = writer.failures.dropped.load(Ordering::Relaxed);
        // One batch is on its way, one waits.
        assert!(
            (WAITING as u64..=2 * WAITING as u64).contains(&dropped),
            "{dropped}"
        );
        let trouble = writer.trouble().unwrap();
        assert_eq!(trouble, format!("events not written to here: {dropped}"));
        drop((go_on, outlet));
        assert_eq!(writer.finish(), Some(trouble));
        let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
        let (gaps, lines): (Vec<_>, Vec<_>) = text.lines().partition(|l| l.contains("dropped"));
        assert_eq!(lines.len() as u64, sent as u64 - dropped);
        let counts = gaps.iter().map(|line| {
            let gap: serde_json::Value = serde_json::from_str(line).unwrap();
            gap["count"].as_u64().unwrap()
        });
        assert_eq!(counts.sum::<u64>(), dropped);
    }

    #[test]
    fn a_station_that_keeps_its_outlet_is_not_waited_for() {
        let (output, written) = channel();
        let (_, go_on) = channel();
        let writer = Writer::start("here", Blocked(go_on, output), || false).unwrap();
        let outlet = writer.outlet();
        outlet.send(&event());
        assert_eq!(writer.finish_within(Duration::from_millis(1)), None);
        assert!(!written.recv().unwrap().is_empty());
        drop(outlet);
    }

    /// A disk that is full.
    struct Full(io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let writer = Writer::start("here", Full(io::ErrorKind::StorageFull), || false).unwrap();
        writer.outlet().send(&event());
        let trouble = writer.finish().unwrap();
        assert_eq!(trouble, "events not written to here: 1: no storage space");
    }

    /// A disk that has room for this many bytes, and after one failure for more.
    struct NearlyFull(usize, Sender<Vec<u8>>);

    impl Write for NearlyFull {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = std::mem::replace(&mut self.0, usize::MAX).min(bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.1.send(bytes[..room].to_owned());
            self.0 = if room < bytes.len() { 0 } else { self.0 };
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The next event has a line to itself.
    #[test]
    fn half_a_line_spoils_no_other() {
        let line = event().json();
        let (output, written) = channel();
        let (queue, events) = sync_channel(WAITING);
        let failures = Failures::default();
        let disk = NearlyFull(line.len() + 10, output);
        (0..2).for_each(|_| queue.send(event()).unwrap());
        std::thread::scope(|scope| {
            let failures = &failures;
            scope.spawn(move || write_all(&events, disk, failures, || false));
            // Not before the failure: one batch would be no test.
            while failures.text("here").is_none() {
                std::thread::yield_now();
            }
            queue.send(event()).unwrap();
            drop(queue);
        });
        assert_eq!(failures.dropped.load(Ordering::Relaxed), 1);
        let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
        let whole = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let whole: Vec<_> = whole.filter_map(Result::ok).collect();
        let kinds: Vec<_> = whole.iter().map(|line| &line["event"]).collect();
        assert_eq!(kinds, ["connecting", "connecting", "dropped"], "{text}");
    }

    #[test]
    fn a_reader_that_has_gone_is_told_and_misses_nothing() {
        let (tell, told) = channel();
        let broken = Full(io::ErrorKind::BrokenPipe);
        let gone = move || tell.send(()).is_ok();
        let writer = Writer::start("here", broken, gone).unwrap();
        writer.outlet().send(&event());
        assert_eq!(told.recv(), Ok(()));
        assert_eq!(writer.finish(), None);
    }
}
