// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a preset of the elements is about: how to mark and to search, and never whose mark it is.
//!
//! GStreamer stores every property that can be read and written. Whoever saves a preset would save where the key is,
//! and whoever loads one that came from elsewhere would use another key without knowing.

use gst::glib;
use gst::glib::translate::{FromGlibPtrContainer, ToGlibPtr};
use gst::subclass::prelude::*;
use std::ffi::c_char;
use std::sync::OnceLock;

/// These stay as they are when a preset is loaded, and out of the file when one is saved.
const LEFT_OUT: [&str; 3] = ["key-file", "name", "parent"];

type PropertyNames = unsafe extern "C" fn(*mut gst::ffi::GstPreset) -> *mut *mut c_char;

/// What GStreamer itself does, the same for all elements.
static ALL_PROPERTY_NAMES: OnceLock<PropertyNames> = OnceLock::new();

// The trait of gstreamer-rs, PresetImpl, changes nothing of the interface.
unsafe impl IsImplementable<crate::wmembed::imp::WmEmbed> for gst::Preset {
    fn interface_init(interface: &mut glib::Interface<Self>) {
        leave_out(interface);
    }
}

unsafe impl IsImplementable<crate::wmdetect::imp::WmDetect> for gst::Preset {
    fn interface_init(interface: &mut glib::Interface<Self>) {
        leave_out(interface);
    }
}

fn leave_out(interface: &mut glib::Interface<gst::Preset>) {
    let interface = interface.as_mut();
    if let Some(all) = interface.get_property_names {
        ALL_PROPERTY_NAMES.get_or_init(|| all);
        interface.get_property_names = Some(property_names);
    }
}

/// # Safety
/// `preset` is an element that implements the interface: GStreamer calls this for no other.
unsafe extern "C" fn property_names(preset: *mut gst::ffi::GstPreset) -> *mut *mut c_char {
    let Some(all) = ALL_PROPERTY_NAMES.get() else {
        return std::ptr::null_mut();
    };
    // SAFETY: `all` is the function that would be called in place of this one, and gives its list away.
    let mut names: Vec<glib::GString> =
        unsafe { FromGlibPtrContainer::from_glib_full(all(preset)) };
    names.retain(|name| !LEFT_OUT.contains(&name.as_str()));
    names.as_slice().to_glib_full()
}
