// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a station is, and where its audio comes from.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use gst::glib;

/// Where audio comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// What `uridecodebin` takes, from elsewhere.
    Stream(String),
    /// A file here, which has an end.
    File(String),
    /// RTP over UDP.
    Rtp(Rtp),
    /// A microphone; without a name the one that the system prefers.
    Microphone(Option<String>),
    /// A source as in `gst-launch-1.0`.
    Pipeline(String),
}

/// What comes in packets, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rtp {
    /// Where they come to: an address of this machine, or of a group.
    pub host: String,
    pub port: u16,
    pub encoding: Encoding,
    pub payload: u8,
    pub rate: u32,
    pub channels: u32,
}

/// How audio in packets is coded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Encoding {
    Opus,
    L16,
}

/// A source with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Station {
    pub name: String,
    pub source: Source,
    /// What is shown of the source: without names of users and passwords.
    pub address: String,
}

impl Source {
    /// Whether it ends for good when it ends.
    pub fn is_file(&self) -> bool {
        matches!(self, Source::File(_))
    }

    /// Whether it waits for what others send. There is nobody to spare, so that it never pauses.
    pub fn listens(&self) -> bool {
        matches!(self, Source::Rtp(_))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let Some((scheme, rest)) = text.split_once(':').filter(|_| !Path::new(text).exists())
        else {
            let path = std::path::absolute(text)?;
            ensure!(path.exists(), "there is no file {text}");
            return Ok(Source::File(glib::filename_to_uri(path, None)?.to_string()));
        };
        Ok(match scheme.to_ascii_lowercase().as_str() {
            "file" => Source::File(text.to_owned()),
            "rtp" => Source::Rtp(Rtp::parse(text)?),
            "mic" => Source::Microphone((!rest.is_empty()).then(|| rest.to_owned())),
            "pipeline" => {
                gst::parse::bin_from_description(rest, true)
                    .with_context(|| format!("{} is no source", shown_of_pipeline(rest)))?;
                Source::Pipeline(rest.trim().to_owned())
            }
            _ if gst::Element::make_from_uri(gst::URIType::Src, text, None).is_ok() => {
                Source::Stream(text.to_owned())
            }
            _ => bail!(
                "{} is no file here, and no address that the GStreamer plugins here can open",
                without_user(text)
            ),
        })
    }
}

impl Rtp {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let help = "write rtp://HOST:PORT?encoding=opus, or encoding=l16, and optionally &pt=96&rate=48000&channels=2";
        let rest = text.split_once("://").context(help)?.1;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, port) = place.trim_end_matches('/').rsplit_once(':').context(help)?;
        // IPv6 has brackets around it.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok().filter(|port| *port > 0).context(help)?;
        ensure!(!host.is_empty(), help);
        let mut rtp = Rtp {
            host: host.to_owned(),
            port,
            encoding: Encoding::Opus,
            payload: 96,
            rate: 48_000,
            channels: 2,
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match (name, value.to_ascii_lowercase().as_str()) {
                ("encoding", "opus") => rtp.encoding = Encoding::Opus,
                ("encoding", "l16") => rtp.encoding = Encoding::L16,
                ("pt", value) => rtp.payload = value.parse().context(help)?,
                ("rate", value) => rtp.rate = value.parse().context(help)?,
                ("channels", value) => rtp.channels = value.parse().context(help)?,
                _ => bail!("{name}={value} is not known of RTP: {help}"),
            }
        }
        ensure!(rtp.payload < 128, "pt={} is not below 128", rtp.payload);
        Ok(rtp)
    }

    /// What the packets are, as caps.
    pub fn caps(&self) -> gst::Caps {
        let builder = gst::Caps::builder("application/x-rtp")
            .field("media", "audio")
            .field("payload", i32::from(self.payload));
        match self.encoding {
            Encoding::Opus => builder
                .field("encoding-name", "OPUS")
                .field("clock-rate", 48_000),
            Encoding::L16 => builder
                .field("encoding-name", "L16")
                .field("clock-rate", i32::try_from(self.rate).unwrap_or(i32::MAX))
                .field("encoding-params", self.channels.to_string())
                .field("channels", i32::try_from(self.channels).unwrap_or(i32::MAX)),
        }
        .build()
    }
}

impl Station {
    /// `NAME=URI`, or a URI alone, which then is the name too.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let named = text.split_once('=').filter(|(name, _)| {
            !name.is_empty() && !name.contains([':', '/', '?']) && !Path::new(text).exists()
        });
        match named {
            Some((name, uri)) => Self::new(name, uri),
            None => Self::new("", text),
        }
    }

    fn new(name: &str, uri: &str) -> anyhow::Result<Self> {
        let source = Source::parse(uri)?;
        let address = match &source {
            Source::File(uri) => uri.clone(),
            Source::Pipeline(description) => shown_of_pipeline(description),
            _ => without_user(uri),
        };
        let name = match (name, &source) {
            ("", Source::File(uri)) => glib::filename_from_uri(uri)
                .ok()
                .and_then(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned()))
                .unwrap_or_else(|| address.clone()),
            ("", _) => match address.split_once("://") {
                Some((_, rest)) => rest.to_owned(),
                None => address.clone(),
            },
            (name, _) => name.to_owned(),
        };
        Ok(Station {
            name,
            source,
            address,
        })
    }
}

/// What is shown of a description: what comes behind the name of the first element may be a password.
fn shown_of_pipeline(description: &str) -> String {
    let first = description.split_whitespace().next();
    format!("pipeline:{}", first.unwrap_or_default())
}

/// All stations: those of the command line, and those of a file with one `NAME URI` a line.
pub fn stations(arguments: &[String], list: Option<&PathBuf>) -> anyhow::Result<Vec<Station>> {
    let mut stations = Vec::new();
    if let Some(path) = list {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the list {} cannot be read", path.display()))?;
        stations = parse_list(&text).with_context(|| format!("in {}", path.display()))?;
    }
    for argument in arguments {
        stations.push(Station::parse(argument)?);
    }
    ensure!(
        !stations.is_empty(),
        "there is no stream to watch: name one, or a --list with some"
    );
    tell_apart(&mut stations);
    Ok(stations)
}

fn parse_list(text: &str) -> anyhow::Result<Vec<Station>> {
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| {
            let (name, uri) = line
                .split_once(char::is_whitespace)
                .with_context(|| format!("line {number} is not NAME URI"))?;
            Station::new(name, uri.trim()).with_context(|| format!("line {number}"))
        })
        .collect()
}

/// Gives the second station of a name a number.
fn tell_apart(stations: &mut [Station]) {
    let mut taken = std::collections::HashSet::new();
    for station in stations {
        let plain = station.name.clone();
        let mut number = 2;
        while !taken.insert(station.name.clone()) {
            station.name = format!("{plain} {number}");
            number += 1;
        }
    }
}

/// The text with each `//user:password@` in it shortened to `//`: for all that is shown or written.
pub fn without_user(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find("//") {
        let (before, after) = rest.split_at(place + 2);
        shown += before;
        // A password may have an @ in it that should have been written as %40.
        let end = after
            .find(|c: char| matches!(c, '/' | '?' | '#' | '"' | '\'') || c.is_whitespace())
            .unwrap_or(after.len());
        rest = after[..end].rfind('@').map_or(after, |at| &after[at + 1..]);
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_not_shown() {
        for (text, shown) in [
            ("http://me:secret@h:80/a?b=c@d", "http://h:80/a?b=c@d"),
            ("rtsp://me@h/a", "rtsp://h/a"),
            ("https://me:se@cret@h", "https://h"),
            ("https://h/a@b", "https://h/a@b"),
            (
                "no http://a:b@h/x, nor ftp://c:d@e.",
                "no http://h/x, nor ftp://e.",
            ),
            (
                "rtspsrc location=rtsp://u:p@h/a ! x",
                "rtspsrc location=rtsp://h/a ! x",
            ),
            ("//", "//"),
        ] {
            assert_eq!(without_user(text), shown);
        }
    }

    #[test]
    fn stations_have_a_name() {
        gst::init().unwrap();
        for (text, name, address) in [
            ("One=http://u:p@h/x?a=b", "One", "http://h/x?a=b"),
            ("http://u:p@h/x?a=b", "h/x?a=b", "http://h/x?a=b"),
            (
                "file:///a%20b/c%20d.wav",
                "c d.wav",
                "file:///a%20b/c%20d.wav",
            ),
            ("mic:", "mic:", "mic:"),
            (
                "x=pipeline: audiotestsrc wave=3",
                "x",
                "pipeline:audiotestsrc",
            ),
            (
                "pipeline:audiotestsrc wave=3",
                "pipeline:audiotestsrc",
                "pipeline:audiotestsrc",
            ),
        ] {
            let station = Station::parse(text).unwrap();
            assert_eq!(
                (station.name.as_str(), station.address.as_str()),
                (name, address)
            );
        }
        let error = Station::parse("nothing://u:p@h/").unwrap_err().to_string();
        assert!(!error.contains("u:p"), "{error}");
        let error = Station::parse("pipeline:nothing user-pw=secret").unwrap_err();
        let error = format!("{error:#}");
        assert!(!error.contains("secret"), "{error}");
        assert!(Station::parse("/nowhere/at/all.wav").is_err());
    }

    #[test]
    fn rtp_says_what_it_carries() {
        let source = Source::parse("rtp://239.1.2.3:5004?encoding=L16&pt=97&rate=44100&channels=1");
        let Source::Rtp(rtp) = source.unwrap() else {
            panic!("no RTP");
        };
        assert_eq!((rtp.host.as_str(), rtp.port), ("239.1.2.3", 5004));
        assert_eq!((rtp.encoding, rtp.payload), (Encoding::L16, 97));
        assert_eq!((rtp.rate, rtp.channels), (44100, 1));
        for wrong in [
            "rtp://h",
            "rtp://h:5004?encoding=mp3",
            "rtp://h:5004?pt=200",
        ] {
            assert!(Source::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_has_a_name_and_an_address_a_line() {
        gst::init().unwrap();
        let list =
            "# stations\n\nOne http://h/1\nTwo\tpipeline:audiotestsrc is-live=true\nOne mic:\n";
        let mut stations = parse_list(list).unwrap();
        tell_apart(&mut stations);
        let names: Vec<_> = stations.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["One", "Two", "One 2"]);
        let description = "audiotestsrc is-live=true".to_owned();
        assert_eq!(stations[1].source, Source::Pipeline(description));
        let error = format!("{:#}", parse_list("One http://h/1\nTwo").unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
