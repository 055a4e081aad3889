// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps one station playing: opens it, waits, opens it again. Each station has a thread for this, since opening and
//! closing can take its time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backoff::BackOff;
use super::event::now;
use super::processor::Load;
use super::source::{self, Source};
use super::station::{Report, Station};
use super::stream::{Settings, Signal, Stream};
use super::writer::Outlet;

/// How often it is looked whether there is still audio.
const TICK: Duration = Duration::from_millis(500);

/// How a station is kept playing.
pub struct Plan {
    pub settings: Settings,
    /// A file that ends begins again.
    pub repeat: bool,
    /// Without audio for this long a stream counts as stopped.
    pub stall: Duration,
    /// The shortest wait before it is tried again.
    pub first_wait: Duration,
}

/// A station that others can look at.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Station>>);

impl Shared {
    pub fn new(station: &source::Station) -> Self {
        let station = Station::new(station.name.clone(), station.address.clone(), now());
        Shared(Arc::new(Mutex::new(station)))
    }

    /// Nothing slow is done while it is held.
    pub fn lock(&self) -> MutexGuard<'_, Station> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A station that is being watched.
pub struct Watch {
    pub source: Source,
    pub station: Shared,
    pub outlets: Vec<Outlet>,
    pub plan: Arc<Plan>,
}

/// How a stream came to its end.
enum End {
    /// There is no more of it now.
    Ended,
    /// There is no more of it, and there will not be.
    Complete,
    /// No audio came.
    Stalled,
    Failed(String),
    /// The watch is over.
    Stop,
}

/// The channel of a watch. `Signal::Stop` ends it.
pub fn signals() -> (Sender<Signal>, Receiver<Signal>) {
    channel()
}

impl Watch {
    /// Watches until the station is over or the watch is.
    pub fn run(self, sender: &Sender<Signal>, signals: &Receiver<Signal>) {
        let mut backoff = BackOff::new(self.plan.first_wait);
        loop {
            self.take(Report::Connecting);
            let (end, played) = match Stream::open(&self.source, &self.plan.settings, sender) {
                Ok(stream) => (self.play(&stream, signals), stream.played()),
                Err(error) => {
                    let reason = source::without_user(&format!("{error:#}"));
                    (End::Failed(reason), None)
                }
            };
            let (report, wait) = self.judge(end, played, &mut backoff);
            let Some(report) = report else { return };
            self.take(report);
            let Some(wait) = wait else { return };
            if stopped_within(wait, signals) {
                return;
            }
        }
    }

    /// What the end of a stream means, of which so much was heard, if any: what to tell, and how long to wait. Without
    /// the one it is the end of the watch, without the other that of the station.
    fn judge(
        &self,
        end: End,
        played: Option<Duration>,
        backoff: &mut BackOff,
    ) -> (Option<Report>, Option<Duration>) {
        backoff.played(played.unwrap_or_default());
        let mut wait = (!self.source.is_file()).then(|| backoff.next(fastrand::f64()));
        let report = match end {
            End::Stop => return (None, None),
            End::Ended | End::Complete if played.is_none() => {
                Report::Failed("there is no audio".into(), seconds(wait))
            }
            End::Complete if !self.plan.repeat => return (Some(Report::Ended), None),
            End::Complete => {
                // A file of a moment would keep the machine busy with its beginning.
                let short = played < Some(self.plan.first_wait);
                wait = Some(if short {
                    self.plan.first_wait
                } else {
                    Duration::ZERO
                });
                Report::Stopped("the recording is over".into(), seconds(wait))
            }
            End::Ended => Report::Stopped("the stream ended".into(), seconds(wait)),
            End::Stalled => {
                if self.source.listens() {
                    wait = Some(Duration::ZERO);
                }
                let reason = format!("no audio for {} s", self.plan.stall.as_secs_f64());
                Report::Stopped(reason, seconds(wait))
            }
            End::Failed(reason) => Report::Failed(reason, seconds(wait)),
        };
        (Some(report), wait)
    }

    /// Follows a stream to its end.
    fn play(&self, stream: &Stream, signals: &Receiver<Signal>) -> End {
        let mut load = Load::default();
        let mut recording = self.source.is_file();
        let mut next_tick = Instant::now() + TICK;
        loop {
            let left = next_tick.saturating_duration_since(Instant::now());
            match signals.recv_timeout(left) {
                Ok(Signal::Audio) => {
                    self.take(Report::Playing);
                    if !recording && matches!(self.source, Source::Stream(_)) {
                        recording = stream.is_recording();
                        if recording && !self.plan.settings.fast {
                            stream.pace();
                        }
                    }
                }
                Ok(Signal::Detector(said, mark)) => self.take(Report::Detector(said, mark)),
                Ok(Signal::Failed(reason)) => return End::Failed(reason),
                Ok(Signal::Ended) if recording => return End::Complete,
                Ok(Signal::Ended) => return End::Ended,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return End::Stop,
                Err(RecvTimeoutError::Timeout) => {
                    next_tick = Instant::now() + TICK;
                    let time = stream.threads.time();
                    self.station.lock().cpu =
                        time.and_then(|time| load.update(Instant::now(), time));
                    let waits = self.source.listens() && !stream.heard();
                    if stream.silent() >= self.plan.stall && !waits {
                        return End::Stalled;
                    }
                }
            }
        }
    }

    fn take(&self, report: Report) {
        let events = self.station.lock().take(report, now());
        for event in &events {
            for outlet in &self.outlets {
                outlet.send(event);
            }
        }
    }
}

fn seconds(wait: Option<Duration>) -> Option<f64> {
    wait.map(|wait| wait.as_secs_f64())
}

/// Waits; returns whether the watch is over. What a stream that is closed has said is forgotten.
fn stopped_within(wait: Duration, signals: &Receiver<Signal>) -> bool {
    let end = Instant::now() + wait;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match signals.recv_timeout(left) {
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}
