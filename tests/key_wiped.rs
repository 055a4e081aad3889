// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is given back holds no key. An allocator looks at every block just before it is freed.
//!
//! What GLib allocates (the value that an application hands to `set_property`, the text that
//! `gst-launch-1.0` parses) and what the compiler leaves on the stack are not seen here.

mod common;

use gst::prelude::*;
use gstwm::watermark::{Detector, Embedder, Key, format};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PASSPHRASE: &str = "correct horse battery staple";
const HEX: &str = "C0FFEE02030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E";
const HEX_BYTES: [u8; 32] = [
    0xc0, 0xff, 0xee, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24, 25, 26, 27, 28, 29, 30,
];
/// What Argon2id makes of the passphrase, see tests/vectors.rs.
const PASSPHRASE_BYTES: [u8; 32] = [
    0x14, 0x05, 0x11, 0xd0, 0xd2, 0xe1, 0xdb, 0x27, 0x2d, 0x91, 0x6f, 0xa2, 0x4c, 0xe9, 0xde, 0x4a,
    0x94, 0xe3, 0x72, 0xe9, 0x9e, 0x82, 0x59, 0xdc, 0xa9, 0xdb, 0x7d, 0x3d, 0xda, 0xca, 0xae, 0xe7,
];
/// The memory that Argon2id works in is far larger than any other block.
const LARGE: usize = 8 << 20;

/// Looks for secrets in what is freed while it watches.
struct Watching;

static WATCHING: AtomicBool = AtomicBool::new(false);
/// Freed blocks with a secret of any kind in them.
static UNWIPED: AtomicUsize = AtomicUsize::new(0);
/// Large blocks that were freed.
static LARGE_FREED: AtomicUsize = AtomicUsize::new(0);
/// A length that no block has but a copy of a key text that is as long.
const UNUSUAL: usize = 3_001;
/// Blocks of that length that were asked for.
static COPIES: AtomicUsize = AtomicUsize::new(0);
/// What `BLAKE3.derive_key` makes of the two keys.
static SUBKEYS: Mutex<[[u8; 32]; 6]> = Mutex::new([[0; 32]; 6]);

fn look_at(pointer: *const u8, size: usize) {
    // SAFETY: the block is still ours. Volatile, since nobody promises that all of it was written.
    let byte = |n: usize| unsafe { pointer.add(n).read_volatile() };
    let found = if size >= LARGE {
        LARGE_FREED.fetch_add(1, Ordering::SeqCst);
        (0..size).any(|n| byte(n) != 0)
    } else {
        let subkeys = *SUBKEYS.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets: [&[u8]; 10] = [
            PASSPHRASE.as_bytes(),
            HEX.as_bytes(),
            &HEX_BYTES,
            &PASSPHRASE_BYTES,
            &subkeys[0],
            &subkeys[1],
            &subkeys[2],
            &subkeys[3],
            &subkeys[4],
            &subkeys[5],
        ];
        // Half of a secret is more than enough to know it again.
        let is_at = |n: usize, secret: &[u8]| (0..16).all(|i| byte(n + i) == secret[i]);
        (0..(size + 1).saturating_sub(16)).any(|n| {
            secrets
                .iter()
                .flat_map(|secret| secret.chunks_exact(16))
                .any(|half| byte(n) == half[0] && is_at(n, half))
        })
    };
    if found {
        UNWIPED.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: the system's allocator does the work; the default `realloc` allocates, copies and frees.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() == UNUSUAL {
            COPIES.fetch_add(1, Ordering::SeqCst);
        }
        // What GLib left in memory that it gave back is not ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if WATCHING.load(Ordering::SeqCst) {
            look_at(pointer, layout.size());
        }
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// One test at a time: the allocator is everybody's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let contexts = [
        format::SIGN_CONTEXT,
        format::PAYLOAD_TAG_CONTEXT,
        format::PLACES_CONTEXT,
    ];
    *SUBKEYS.lock().unwrap() = std::array::from_fn(|i| {
        let key = [HEX_BYTES, PASSPHRASE_BYTES][i % 2];
        blake3::derive_key(contexts[i / 2], &key)
    });
    guard
}

/// Blocks with a secret in them that `work` frees.
fn unwiped(work: impl FnOnce()) -> usize {
    let before = UNWIPED.load(Ordering::SeqCst);
    WATCHING.store(true, Ordering::SeqCst);
    work();
    WATCHING.store(false, Ordering::SeqCst);
    UNWIPED.load(Ordering::SeqCst) - before
}

#[test]
fn the_allocator_sees_what_is_not_wiped() {
    let _alone = alone();
    let subkeys = *SUBKEYS.lock().unwrap();
    assert_eq!(unwiped(|| drop(black_box(vec![7_u8; 100]))), 0);
    assert_eq!(unwiped(|| drop(black_box(String::from(PASSPHRASE)))), 1);
    assert_eq!(unwiped(|| drop(black_box(HEX.to_owned()))), 1);
    assert_eq!(unwiped(|| drop(black_box(Box::new((1, HEX_BYTES))))), 1);
    assert_eq!(unwiped(|| drop(black_box(Box::new(PASSPHRASE_BYTES)))), 1);
    assert_eq!(unwiped(|| drop(black_box(Box::new(subkeys[0])))), 1);
    assert_eq!(unwiped(|| drop(black_box(Box::new(subkeys[1])))), 1);
    assert_eq!(unwiped(|| drop(black_box(vec![0_u8; LARGE]))), 0);
    assert_eq!(unwiped(|| drop(black_box(vec![1_u8; LARGE]))), 1);
}

#[test]
fn keys_and_signs_are_wiped() {
    let _alone = alone();
    for text in [HEX, PASSPHRASE] {
        let mut key = None;
        assert_eq!(unwiped(|| key = Key::parse(text).ok()), 0, "made");
        let key = key.unwrap();
        assert_eq!(unwiped(|| drop(key.clone())), 0, "clone of the key");
        let mut signs = key.signs();
        assert_eq!(unwiped(|| drop(signs.clone())), 0, "clone of the signs");
        signs.row(5, &mut [0.0; format::CHIPS]);
        assert_eq!(unwiped(|| drop(key)), 0, "key");
        assert_eq!(unwiped(|| drop(signs)), 0, "signs");
    }
    assert_eq!(unwiped(|| drop(Key::from_bytes(HEX_BYTES))), 0, "bytes");
}

#[test]
fn the_memory_behind_a_passphrase_is_wiped() {
    let _alone = alone();
    let before = LARGE_FREED.load(Ordering::SeqCst);
    assert_eq!(unwiped(|| drop(Key::parse(PASSPHRASE))), 0);
    assert_eq!(LARGE_FREED.load(Ordering::SeqCst) - before, 1);
}

#[test]
fn the_text_of_a_key_file_is_wiped() {
    let _alone = alone();
    let directory = std::env::temp_dir().join(format!("gst-wm-wiped-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("station.key");
    for text in [
        format!("{HEX}\n"),
        format!("  {PASSPHRASE}\r\nanother line\n"),
        // No key in the end, but the text of one was read.
        format!("{PASSPHRASE}{}", "!".repeat(5_000)),
    ] {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(unwiped(|| drop(Key::from_file(&path))), 0);
    }
    let not_text = [PASSPHRASE.as_bytes(), b"\xff\n"].concat();
    std::fs::write(&path, not_text).unwrap();
    assert_eq!(unwiped(|| drop(Key::from_file(&path))), 0);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn embedder_and_detector_wipe_their_signs() {
    let _alone = alone();
    let key = Key::from_bytes(HEX_BYTES);
    let config = common::embedder_config(16_000, 1);
    assert_eq!(
        unwiped(|| drop(Embedder::new(&config, &key).unwrap())),
        0,
        "embedder"
    );
    let config = common::detector_config(16_000, 1);
    assert_eq!(
        unwiped(|| drop(Detector::new(&config, std::slice::from_ref(&key)).unwrap())),
        0,
        "detector"
    );
    // The same key several times: what there is of each is moved while others join it.
    let several = vec![key.clone(); 3];
    assert_eq!(
        unwiped(|| drop(Detector::new(&config, &several).unwrap())),
        0,
        "detector of several keys"
    );
}

#[test]
fn the_elements_wipe_the_key() {
    common::init();
    let _alone = alone();
    for name in ["wmembed", "wmdetect"] {
        for text in [HEX, PASSPHRASE] {
            let life = || {
                let element = gst::ElementFactory::make(name).build().unwrap();
                let mut value = text.to_value();
                // Another key first: what is replaced is wiped as well.
                element.set_property_from_value("key", &value);
                value = "another".to_value();
                element.set_property_from_value("key", &value);
                value = text.to_value();
                element.set_property_from_value("key", &value);
                let mut harness =
                    gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
                harness.set_src_caps_str(
                    "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved",
                );
                let buffer = gst::Buffer::from_slice([0; 3_200]);
                harness.push(buffer).unwrap();
                harness.push_event(gst::event::Eos::new());
                drop(harness);
                element.set_state(gst::State::Null).unwrap();
            };
            assert_eq!(unwiped(life), 0, "{name}");
        }
    }
}

/// Wiped as it is in the end, a text in memory can be read until then.
#[test]
fn no_copies_of_the_key_are_made_once_the_detector_has_started() {
    common::init();
    let _alone = alone();
    let wmdetect = gst::ElementFactory::make("wmdetect").build().unwrap();
    let copies = || COPIES.swap(0, Ordering::SeqCst);
    wmdetect.set_property("key", "k".repeat(UNUSUAL));
    assert!(copies() > 0, "the allocator does not see them");
    let mut harness = gst_check::Harness::with_element(&wmdetect, Some("sink"), Some("src"));
    copies();
    for rate in [16_000, 48_000] {
        harness.set_src_caps_str(&format!(
            "audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved"
        ));
        harness.push(gst::Buffer::from_slice([0; 3_200])).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    assert_eq!(copies(), 0);
}
