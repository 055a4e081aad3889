// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be changed while audio runs makes no clicks, and nobody waits for a lock: not the streaming thread, and not
//! whoever is told something by an element and comes back with a question.

mod common;

use common::KEY;
use common::harness::*;
use gst::prelude::*;
use gst_audio::{AudioFormat, AudioInfo};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const RATE: u32 = 48_000;

/// More than anything here takes: what is not done by then never will be.
const LONG: Duration = Duration::from_secs(60);

/// Lets `work` run in a thread of its own and fails if it does not come to an end.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()).unwrap());
    match receiver.recv_timeout(LONG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: somebody waits for ever"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().unwrap_err())
        }
    }
}

fn mono(rate: u32) -> AudioInfo {
    info(AudioFormat::F32le, rate, 1)
}

/// Speech, which has pauses, and music.
fn programme() -> Vec<f32> {
    let four =
        |file| common::recording(file, RATE, 1)[RATE as usize..][..4 * RATE as usize].to_vec();
    [four("speech.flac"), four("music.flac")].concat()
}

/// The mark in a programme that is pushed in buffers of 5 ms; `change` has its way before each of them.
fn mark(programme: &[f32], mut change: impl FnMut(&gst::Element, usize)) -> Vec<f32> {
    let (wmembed, info) = (element("wmembed"), mono(RATE));
    let mut harness = harness(&wmembed, &info);
    let mut output = Vec::new();
    let frames = RATE as usize / 200;
    for (n, piece) in programme.chunks(frames).enumerate() {
        change(&wmembed, n);
        let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
        let pts = time(n * frames, RATE);
        harness.push(buffer(&bytes, Some(pts))).unwrap();
        output.extend(pull_all(&mut harness));
    }
    harness.push_event(gst::event::Eos::new());
    output.extend(pull_all(&mut harness));
    let marked = bytes_of(&output);
    let marked = marked.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x));
    let mark: Vec<f32> = marked.zip(programme).map(|(y, x)| y - x).collect();
    assert_eq!(mark.len(), programme.len());
    mark
}

/// Largest step from one sample to the next, and the energy.
fn step_and_energy(mark: &[f32]) -> (f32, f32) {
    let steps = mark.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let energy = mark.iter().map(|x| x * x).sum();
    (steps.fold(0.0, f32::max), energy)
}

#[test]
fn rapid_changes_make_no_clicks() {
    let programme = programme();
    let (steady, energy) = step_and_energy(&mark(&programme, |_, _| ()));
    let strength = |wmembed: &gst::Element, n: usize| {
        let value = if n.is_multiple_of(2) { 0.0 } else { -24.0 };
        wmembed.set_property("strength", value);
    };
    let slower = |wmembed: &gst::Element, n: usize| {
        let values = [0.0, -3.0, -20.0, -6.0, -24.0];
        wmembed.set_property("strength", values[n / 7 % values.len()]);
    };
    let enabled = |wmembed: &gst::Element, n: usize| {
        wmembed.set_property("enabled", (n / 3).is_multiple_of(2));
    };
    type Change = fn(&gst::Element, usize);
    let changes: [(&str, Change); 3] = [
        ("strength", strength),
        ("slower", slower),
        ("enabled", enabled),
    ];
    for (name, change) in changes {
        let (step, changed) = step_and_energy(&mark(&programme, change));
        assert!(step <= steady, "{name}: a step of {step}, not {steady}");
        let part = changed / energy;
        assert!((0.1..0.8).contains(&part), "{name}: {part} of the energy");
    }
}

#[test]
fn a_controller_makes_no_clicks() {
    use gst_controller::prelude::*;
    use gst_controller::{DirectControlBinding, InterpolationControlSource};
    let programme = programme();
    let (steady, energy) = step_and_energy(&mark(&programme, |_, _| ()));
    for (property, values) in [("strength", [0.0, -24.0]), ("enabled", [0.0, 1.0])] {
        let controlled = mark(&programme, |wmembed, n| {
            if n == 0 {
                let source = InterpolationControlSource::new();
                for (k, value) in values.into_iter().cycle().take(250).enumerate() {
                    let time = gst::ClockTime::from_mseconds(37 * k as u64);
                    assert!(source.set(time, value));
                }
                let binding = DirectControlBinding::new_absolute(wmembed, property, &source);
                wmembed.add_control_binding(&binding).unwrap();
            }
        });
        let (step, changed) = step_and_energy(&controlled);
        assert!(step <= steady, "{property}: a step of {step}, not {steady}");
        let part = changed / energy;
        assert!(
            (0.1..0.8).contains(&part),
            "{property}: {part} of the energy"
        );
    }
}

/// Sets whatever can be set and reads whatever can be read.
fn ask_and_change(element: &gst::Element, n: usize) {
    let odd = !n.is_multiple_of(2);
    if element.has_property("strength") {
        element.set_property("strength", if odd { -6.0 } else { -12.0 });
        element.set_property("enabled", !n.is_multiple_of(5));
        element.set_property("payload", if odd { "01020304" } else { "" });
    } else {
        element.set_property("interval", if odd { 100_000_000u64 } else { 300_000_000 });
        element.set_property("post-messages", true);
    }
    for property in element.list_properties() {
        if property.flags().contains(gst::glib::ParamFlags::READABLE) {
            element.property_value(property.name());
        }
    }
    for pad in element.pads() {
        pad.query(&mut gst::query::Latency::new());
        pad.query_caps(None);
        pad.query_accept_caps(&mono(RATE).to_caps().unwrap());
    }
}

#[test]
fn changes_from_another_thread_stop_nobody() {
    let frames = in_time("two threads", || {
        let bin = format!("wmembed name=e key={KEY} ! wmdetect name=d key={KEY}");
        let bin = gst::parse::bin_from_description(&bin, true).unwrap();
        let elements = [bin.by_name("e").unwrap(), bin.by_name("d").unwrap()];
        let ended = Arc::new(AtomicBool::new(false));
        let (stop, rounds) = (ended.clone(), Arc::new(AtomicUsize::new(0)));
        let count = rounds.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let n = count.fetch_add(1, Ordering::SeqCst);
                elements
                    .iter()
                    .for_each(|element| ask_and_change(element, n));
            }
        });
        let info = mono(16_000);
        let mut harness = harness(bin.upcast_ref(), &info);
        let bytes = noise(&info, 16_000, 29);
        let mut pushed = 0;
        // As long as it takes for either side to have had its turn many times.
        while pushed < 20 || rounds.load(Ordering::SeqCst) < 200 {
            let pts = gst::ClockTime::from_seconds(pushed);
            push(&mut harness, &info, &bytes, Some(pts));
            pushed += 1;
        }
        ended.store(true, Ordering::SeqCst);
        thread.join().unwrap();
        harness.push_event(gst::event::Eos::new());
        let output = pull_all(&mut harness);
        assert_continuous(&output, &info, Some(gst::ClockTime::ZERO));
        bytes_of(&output).len() as u64 / 4 - 16_000 * pushed
    });
    assert_eq!(frames, 0, "frames too many");
}

/// Half of whoever listens sets properties, which tells the listeners again: once is enough.
struct Once(AtomicBool, AtomicUsize);

impl Once {
    fn new() -> Arc<Self> {
        Arc::new(Once(AtomicBool::new(false), AtomicUsize::new(0)))
    }

    fn run(&self, work: impl FnOnce(usize)) {
        if !self.0.swap(true, Ordering::SeqCst) {
            work(self.1.fetch_add(1, Ordering::SeqCst));
            self.0.store(false, Ordering::SeqCst);
        }
    }

    fn times(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[test]
fn no_lock_is_held_while_anybody_is_told_anything() {
    let marked = common::mark(
        &common::recording("music.flac", 16_000, 1),
        &common::embedder_config(16_000, 1),
        0,
    );
    let bytes: Vec<u8> = marked.iter().flat_map(|x| x.to_le_bytes()).collect();
    for name in ["wmembed", "wmdetect"] {
        let bytes = bytes.clone();
        let [messages, notifications, pushes] = in_time(name, move || {
            let element = element(name);
            let [on_message, on_notify, on_push] = [Once::new(), Once::new(), Once::new()];
            let bus = gst::Bus::new();
            let (weak, once) = (element.downgrade(), on_message.clone());
            bus.set_sync_handler(move |_, _| {
                once.run(|n| ask_and_change(&weak.upgrade().unwrap(), n));
                gst::BusSyncReply::Drop
            });
            element.set_bus(Some(&bus));
            let once = on_notify.clone();
            element.connect_notify(None, move |element, _| {
                // A change from within starts the notification anew, which must end some time.
                if once.times() < 100 {
                    once.run(|n| ask_and_change(element, n));
                }
            });
            let (weak, once) = (element.downgrade(), on_push.clone());
            let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
            let pad = element.static_pad("src").unwrap();
            pad.add_probe(mask, move |_, _| {
                once.run(|n| ask_and_change(&weak.upgrade().unwrap(), n));
                gst::PadProbeReturn::Ok
            });
            let info = mono(16_000);
            let mut harness = harness(&element, &info);
            let pts = Some(gst::ClockTime::ZERO);
            push(&mut harness, &info, &bytes, pts);
            harness.push_event(gst::event::FlushStart::new());
            harness.push_event(gst::event::FlushStop::new(true));
            let segment = gst::FormattedSegment::<gst::ClockTime>::new();
            harness.push_event(gst::event::Segment::new(&segment));
            push(&mut harness, &info, &bytes, pts);
            harness.set_src_caps(mono(48_000).to_caps().unwrap());
            push(&mut harness, &mono(48_000), &bytes, None);
            harness.push_event(gst::event::Gap::builder(gst::ClockTime::SECOND).build());
            harness.push_event(gst::event::Eos::new());
            drop(harness);
            element.set_bus(None);
            [on_message, on_notify, on_push].map(|once| once.times())
        });
        assert!(messages > 2, "{name}: {messages} messages");
        assert!(notifications > 2, "{name}: {notifications} notifications");
        assert!(pushes > 20, "{name}: {pushes} buffers and events");
    }
}

/// Audio goes on while an application takes its time over a notification, in a thread of its own or in the bus.
#[test]
fn an_application_that_is_slow_to_hear_of_a_change_stops_nobody() {
    for (name, property) in [("wmembed", "strength"), ("wmdetect", "interval")] {
        in_time(name, move || {
            let element = element(name);
            let (entered, inside) = mpsc::channel();
            let (release, released) = mpsc::channel::<()>();
            let ends = std::sync::Mutex::new((entered, released));
            element.connect_notify(Some(property), move |_, _| {
                let ends = ends.lock().unwrap();
                ends.0.send(()).unwrap();
                ends.1.recv().unwrap();
            });
            let set = element.clone();
            let thread = std::thread::spawn(move || match name {
                "wmembed" => set.set_property(property, -6.0),
                _ => set.set_property(property, 500_000_000u64),
            });
            inside.recv().unwrap();
            let info = mono(16_000);
            let bytes = noise(&info, 16_000, 30);
            let through = through(&element, &info, &bytes);
            assert_eq!(through.len(), bytes.len());
            release.send(()).unwrap();
            thread.join().unwrap();
        });
    }
}
