# `make` lists what can be done here. Longer recipes are in scripts/.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

.DEFAULT_GOAL := help
# Where scripts/install.sh puts things, if it is not where GStreamer is.
export DESTDIR PREFIX BINDIR PLUGINDIR DATADIR DOCDIR

.PHONY: help deps build install uninstall deb test-install startup demo measure robustness times unmarked payload-null load \
	bench growth profile peers instructions test leaks fuzz sanitize soak check clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

deps: ## install the missing Debian packages: compiler, GStreamer, its plugins and headers
	@scripts/deps.sh

build: deps ## build the plugin, target/release/libgstwm.so
	cargo build --release

install: ## install what was built where GStreamer finds it (PREFIX=, DESTDIR=); as root
	@scripts/install.sh install

uninstall: ## take away what `make install` put there (PREFIX=, DESTDIR=); as root
	@scripts/install.sh uninstall

deb: build ## make a Debian package, target/debian/gstreamer1.0-wm_*.deb
	@scripts/deps.sh debhelper help2man lintian
	@scripts/deb.sh

test-install: deb ## install package and `make install` in a clean Debian, mark and detect there, remove them; as root
	@scripts/deps.sh debootstrap
	@scripts/test_install.sh

startup: build ## measure what the plugin adds to the start of a program
	@scripts/deps.sh hyperfine
	@scripts/startup.sh

demo: build ## mark two recordings, send them through MP3 at 64 kbit/s, find the mark
	@scripts/demo.sh

measure: build ## mark recordings (FILES=...), send them through codecs, tell what is found, and how fast
	@scripts/measure.sh $(FILES)

robustness: build ## damage recordings (FILES=..., PAYLOAD=...) in many ways, tell what is found, draw it
	@scripts/robustness.py $(if $(EXCERPTS),--excerpts $(EXCERPTS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(JOBS),--jobs $(JOBS)) $(if $(OUT),--out $(OUT)) $(if $(ATTACKS),--attacks '$(ATTACKS)') \
		$(if $(PAYLOAD),--payload $(PAYLOAD)) $(FILES)

times: build ## tell how right watermark-time is on recordings (FILES=..., of more than 11 s; EXCERPTS=4, SEED=1)
	@scripts/times.py $(if $(EXCERPTS),--excerpts $(EXCERPTS)) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) $(FILES)

unmarked: deps ## count false alarms on recordings (FILES=..., KEYS=100, RATE=..., JOBS=2); can be stopped and continued
	cargo run --release --example unmarked -- --out $(TARGET)/unmarked.tsv --keys $(or $(KEYS),100) \
		--jobs $(or $(JOBS),2) --drums 10 $(if $(RATE),--rate $(RATE)) $(FILES)

payload-null: deps ## try to read payloads where there are none on recordings (FILES=..., TRIES=350000, RATE=...)
	cargo run --release --example payload_null -- $(if $(TRIES),--tries $(TRIES)) $(if $(RATE),--rate $(RATE)) $(FILES)

load: deps ## run many detectors at once in real time (DETECTORS=100, KEYS=1, SECONDS=60, MARKED=1, FILES=one), tell what it costs
	cargo run --release --example many_detectors -- --detectors $(or $(DETECTORS),100) \
		$(if $(KEYS),--keys $(KEYS)) --seconds $(or $(SECONDS),60) $(if $(MARKED),--marked) $(FILES)

bench: build ## measure speed and size: a table, and the time that each stage and each element takes
	cargo build --release --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches
	$(TARGET)/benches/release/table $(TARGET)/release/libgstwm.so
	cargo bench --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches --bench stages -- --quick
	cargo bench --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches --bench elements -- --quick

growth: deps ## measure how the work grows with channels, rate, keys, speeds, time and detectors; draw it (OUT=docs)
	cargo build --release --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches
	cargo build --release --example many_detectors
	@scripts/growth.sh $(TARGET)/benches/release $(TARGET)/release/examples

profile: deps ## count with callgrind where the instructions go, stage by stage, and how their number grows
	@scripts/deps.sh valgrind
	cargo build --release --manifest-path benches/Cargo.toml --target-dir $(TARGET)/benches
	@scripts/profile.sh $(TARGET)/benches/release
	@scripts/growth_instructions.sh $(TARGET)/benches/release

peers: build ## compare with other programs, if they are there (AUDIOWMARK=path AGUA=path): speed, and what is found
	@scripts/deps.sh ffmpeg
	@scripts/peers.sh $(FILES)

instructions: deps ## count the instructions of each stage with callgrind; fails if one grew by 3 % since the last time
	@scripts/instructions.sh $(TARGET)/benches

# GStreamer writes its list of plugins first, so that a warning of someone else's plugin cannot stop a test.
test: export GST_REGISTRY := $(TARGET)/test-registry.bin
test: deps ## run all tests
	gst-inspect-1.0 > /dev/null
	G_DEBUG=fatal_warnings cargo test --workspace

leaks: deps ## look for objects that outlive their pipeline, with GStreamer's own tracer (one of the tests)
	cargo test --test leaks

fuzz: deps ## feed embedder, detector, parsers, decoder and elements with anything (SECONDS=1800, side by side)
	@scripts/fuzz.sh $(or $(SECONDS),1800) $(TARGET)/fuzz

sanitize: deps ## run the tests of the core with AddressSanitizer
	@scripts/sanitize.sh $(TARGET)/sanitize

soak: deps ## mark and detect a day of audio as fast as it goes (HOURS=24, FILES=...), tell memory, losses and time
	cargo build --release --example soak
	@scripts/soak.sh $(TARGET)/release/examples/soak $(or $(HOURS),24) $(FILES)

check: deps ## check formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

clean: ## remove everything that was built
	cargo clean
