#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the licences of the crates that are linked into plugin and command.

They ask for that from whoever passes on binaries. Run it in the directory of Cargo.toml. Of several licences at choice, the MIT licence is taken.
"""

import json
import pathlib
import subprocess
import sys

# File names, lower case and without what follows a dot, from the best choice to the last.
CHOICES = ["license-mit", "license_mit", "mit-license", "license", "licence", "copying", "copyright", "license-apache",
           "license_a2", "license-zlib"]


def linked_crates():
    """Name and version of what ends in the binaries: neither build scripts nor macros do."""
    tree = subprocess.run(
        ["cargo", "tree", "--workspace", "--locked", "-e", "normal,no-proc-macro", "--prefix", "none", "-f", "{p}"],
        check=True, capture_output=True, text=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    return sorted((name, version.removeprefix("v")) for name, version in crates)


def packages():
    """What cargo knows about each crate of the workspace and of its dependencies."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True, text=True).stdout
    return {(package["name"], package["version"]): package for package in json.loads(metadata)["packages"]}


def licence_text(directory):
    """The text of the best choice among the licences in this directory."""
    files = {file.name.lower().removesuffix(".md").removesuffix(".txt"): file
             for file in sorted(directory.iterdir()) if file.is_file()}
    files |= {name.split(".")[0]: file for name, file in files.items() if name.startswith(("license.", "copying."))}
    chosen = next((files[name] for name in CHOICES if name in files), None)
    return chosen and chosen.read_text(encoding="utf-8", errors="replace").strip()


def main():
    """Prints one text after the other; those that are the same once."""
    known = packages()
    crates_by_text = {}
    for crate in linked_crates():
        package = known[crate]
        if package["source"] is None:
            continue
        text = licence_text(pathlib.Path(package["manifest_path"]).parent)
        if text is None:
            text = f"{package['license']}, by {', '.join(package['authors']) or 'its authors'}; no text comes with it."
            print(f"notices: {crate[0]} has no licence text", file=sys.stderr)
        line = f"{crate[0]} {crate[1]} ({package['license']}), {package['repository']}"
        crates_by_text.setdefault(text, []).append(line)
    print("The plugin and the command contain code of these crates, and of the standard library of Rust")
    print("(MIT OR Apache-2.0, https://www.rust-lang.org). Of licences at choice, this is the one that was taken.")
    for text, crates in crates_by_text.items():
        print("\n" + "-" * 78, *crates, sep="\n")
        print("\n" + text)


if __name__ == "__main__":
    main()
