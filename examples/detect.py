#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Looks for the mark in a file or a stream and prints the messages of wmdetect.

    GST_PLUGIN_PATH=target/release examples/detect.py URI|FILE KEYFILE

Exit status: 0 if the mark was found, 1 if not, 2 after an error. Needs the Debian packages
python3-gi and gir1.2-gstreamer-1.0, and Debian's own Python (/usr/bin/python3) if there is another one.
"""
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

FIELDS = ("state", "timestamp", "payload", "score", "log10-p", "window", "speed")


def main(source, key_file):
    Gst.init(None)
    try:
        pipeline = Gst.parse_launch(
            "uridecodebin name=in ! audioconvert name=convert ! wmdetect name=detect ! fakesink sync=false")
        uri = source if "://" in source else Gst.filename_to_uri(source)
    except GLib.Error as error:
        print(f"detect.py: {error.message}", file=sys.stderr)
        return 2
    pipeline.get_by_name("in").set_property("uri", uri)
    pipeline.get_by_name("detect").set_property("key-file", key_file)

    loop = GLib.MainLoop()
    status = 1

    def on_element(_bus, message):
        nonlocal status
        structure = message.get_structure()
        if structure.get_name() != "wmdetect":
            return
        fields = {name: structure.get_value(name) for name in FIELDS if structure.has_field(name)}
        print(", ".join(f"{name} {value}" for name, value in fields.items()), flush=True)
        if fields["state"] == "found":
            status = 0

    def on_error(_bus, message):
        nonlocal status
        error, details = message.parse_error()
        print(f"detect.py: {message.src.get_name()}: {error.message}\n{details or ''}", file=sys.stderr)
        status = 2
        loop.quit()

    def no_audio():
        nonlocal status
        print("detect.py: there is no audio", file=sys.stderr)
        status = 2
        loop.quit()

    def on_no_more_pads(_decode):
        # Without audio nothing would ever reach the sink.
        if not pipeline.get_by_name("convert").get_static_pad("sink").is_linked():
            GLib.idle_add(no_audio)

    pipeline.get_by_name("in").connect("no-more-pads", on_no_more_pads)
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message::element", on_element)
    bus.connect("message::error", on_error)
    bus.connect("message::eos", lambda *_: loop.quit())
    bus.connect("message::latency", lambda *_: pipeline.recalculate_latency())

    pipeline.set_state(Gst.State.PLAYING)  # why this fails is on the bus, too
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    pipeline.set_state(Gst.State.NULL)
    return status


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print("usage: detect.py URI|FILE KEYFILE", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
