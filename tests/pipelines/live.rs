// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several pipelines that play at the same time.

use crate::common::{Message, detection};
use gst::prelude::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Far more than is needed: only what stands still takes as long.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Pipelines in the order in which they were started, and what was heard from them.
pub struct Live {
    pipelines: Vec<gst::Pipeline>,
    sender: Sender<(usize, gst::Message)>,
    receiver: Receiver<(usize, gst::Message)>,
    pub heard: Vec<Message>,
    /// Which of them have come to their end.
    pub ended: Vec<usize>,
}

impl Live {
    pub fn new() -> Self {
        let (sender, receiver) = channel();
        Live {
            pipelines: Vec::new(),
            sender,
            receiver,
            heard: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Starts another pipeline. It is in READY when this returns, or further.
    pub fn start(&mut self, pipeline: &gst::Pipeline) {
        let number = self.pipelines.len();
        let sender = self.sender.clone();
        pipeline.bus().unwrap().set_sync_handler(move |_, message| {
            // Nobody listens any more once the test is over.
            let _ = sender.send((number, message.to_owned()));
            gst::BusSyncReply::Drop
        });
        self.pipelines.push(pipeline.clone());
        if pipeline.set_state(gst::State::Playing).is_err() {
            self.wait("a start", |_| false);
        }
    }

    /// Stops a pipeline, which closes its connections.
    pub fn stop(&self, number: usize) {
        self.pipelines[number].set_state(gst::State::Null).unwrap();
    }

    /// Waits until there is `enough`. Errors are failures, and so is a time that only what stands still would need.
    pub fn wait(&mut self, what: &str, enough: impl Fn(&Live) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !enough(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((number, message)) = self.receiver.recv_timeout(left) else {
                panic!("no {what} in {LIMIT:?}, only {:?}", self.heard);
            };
            match message.view() {
                gst::MessageView::Error(error) => {
                    panic!("pipeline {number}: {} {:?}", error.error(), error.debug())
                }
                gst::MessageView::Eos(_) => self.ended.push(number),
                gst::MessageView::Latency(_) => {
                    self.pipelines[number].recalculate_latency().unwrap();
                }
                _ => self.heard.extend(detection(&message)),
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for pipeline in &self.pipelines {
            let _ = pipeline.set_state(gst::State::Null);
        }
    }
}
