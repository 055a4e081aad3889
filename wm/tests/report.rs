// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page of a report holds what was found, in itself, and no file name can put anything else into it.

mod common;

use common::{Place, write_noise};

/// What lies between two texts.
fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let start = page.find(before).expect(before) + before.len();
    let rest = &page[start..];
    &rest[..rest.find(after).expect(after)]
}

fn data(page: &str) -> serde_json::Value {
    let json = between(
        page,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_report_has_spans_payloads_scores_and_both_spectrograms() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    assert_eq!(place.with_key("embed in.flac out.flac -p 0000002a").code, 0);
    let ran = place.with_key("report out.flac -o report.html --original in.flac");
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = std::fs::read_to_string(place.path("report.html")).unwrap();
    assert!(page.contains("The mark was found."));
    assert!(page.contains("<code>0000002a</code>"));

    let data = data(&page);
    let threshold = data["threshold"].as_f64().unwrap();
    assert!((7.0..8.5).contains(&threshold), "{threshold}");
    let spans = data["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1);
    let (start, end) = (spans[0][0].as_f64().unwrap(), spans[0][1].as_f64().unwrap());
    assert!(start < 1.0 && end > 8.0, "{start} {end}");
    let times = data["times"].as_array().unwrap();
    let scores = data["scores"].as_array().unwrap();
    assert_eq!(times.len(), scores.len());
    assert!(times.len() > 60, "{}", times.len());
    assert!(scores.iter().any(|score| score.as_f64() > Some(20.0)));

    let pictures = page.matches("src=\"data:image/png;base64,").count();
    assert_eq!(pictures, 2, "programme and mark");
    assert!(!page.contains(" ms later"), "nothing moved them apart");
}

#[test]
fn what_a_codec_delays_is_brought_together() {
    let place = Place::new();
    place.bring("music.flac", "in.flac");
    assert_eq!(place.with_key("embed in.flac out.mp3").code, 0);
    let ran = place.with_key("report out.mp3 -o report.html --original in.flac");
    assert_eq!(ran.code, 0, "{ran:?}");
    let page = std::fs::read_to_string(place.path("report.html")).unwrap();
    let late: f64 = between(&page, "The file is ", " ms later").parse().unwrap();
    assert!((5.0..100.0).contains(&late), "{late}");

    write_noise(&place.path("noise.wav"), 16, 2, 48_000, 480_000);
    let ran = place.with_key("report out.mp3 -o other.html --original noise.wav");
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("not the same programme"), "{ran:?}");
    assert_eq!(
        place.names(),
        ["in.flac", "noise.wav", "out.mp3", "report.html"]
    );
}

/// Bytes of the picture of a plot: the fewer, the less there is in it.
fn picture(page: &str, plot: &str) -> usize {
    let plot = &page[page.find(&format!("id=\"{plot}\"")).unwrap()..];
    between(plot, "src=\"data:image/png;base64,", "\"").len()
}

#[test]
fn what_is_later_or_earlier_differs_in_nothing_else() {
    let place = Place::new();
    write_noise(&place.path("in.wav"), 16, 1, 48_000, 144_000);
    let mut wav = hound::WavReader::open(place.path("in.wav")).unwrap();
    let samples: Vec<i16> = wav.samples().map(Result::unwrap).collect();
    let silence = vec![0; 4801];
    for (moved, said) in [
        (
            [&silence, &samples[..]].concat(),
            "The file is 100.0 ms later",
        ),
        (samples[4801..].to_vec(), "The file is 100.0 ms earlier"),
    ] {
        let mut out = hound::WavWriter::create(place.path("out.wav"), wav.spec()).unwrap();
        moved.iter().for_each(|x| out.write_sample(*x).unwrap());
        out.finalize().unwrap();
        let ran = place.with_key("report --force out.wav -o report.html --original in.wav");
        assert_eq!(ran.code, 0, "{ran:?}");
        let page = std::fs::read_to_string(place.path("report.html")).unwrap();
        assert!(page.contains(said), "{said}");
        let (programme, mark) = (picture(&page, "programme"), picture(&page, "mark"));
        assert!(mark < programme / 20, "{said}: {mark} of {programme}");
    }
}

#[test]
fn a_page_needs_no_network_and_escapes_what_it_shows() {
    let place = Place::new();
    let name = "<script>alert(1)<!--&\".flac";
    place.bring("speech.flac", name);
    let page = {
        let arguments = ["report", name, "-o", "report.html", "-k", "station.key"];
        let ran = place.wm([&arguments[..], &["--original", name]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        std::fs::read_to_string(place.path("report.html")).unwrap()
    };
    assert!(page.contains("The mark was not found."));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;!--&amp;"));
    assert!(!page.contains("<script>alert"));
    // Three scripts of its own: figures, library, drawing.
    assert_eq!(page.matches("<script").count(), 3);
    for reference in ["src=", "href="] {
        for (at, _) in page.match_indices(reference) {
            let target = page[at + reference.len()..].trim_start_matches('"');
            let is_element = page[at + reference.len()..].starts_with('"');
            assert!(
                !is_element || target.starts_with("data:"),
                "{reference}{}",
                &target[..40]
            );
        }
    }
    for outside in [
        "@import",
        "url(",
        "<link",
        "<iframe",
        "fetch(",
        "XMLHttpRequest",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none';"));
    assert!(
        page.contains("Permission is hereby granted"),
        "the licence of the plots"
    );
}

#[test]
fn options_reach_the_detector_and_pages_are_not_overwritten() {
    let place = Place::new();
    place.bring("speech.flac", "in.flac");
    let mut thresholds = Vec::new();
    for option in ["", " --false-alarms-per-hour 10"] {
        let ran = place.with_key(&format!("report --force in.flac -o report.html{option}"));
        assert_eq!(ran.code, 0, "{ran:?}");
        let page = std::fs::read_to_string(place.path("report.html")).unwrap();
        thresholds.push(data(&page)["threshold"].as_f64().unwrap());
    }
    assert!(thresholds[1] < thresholds[0] - 1.0, "{thresholds:?}");
    let ran = place.with_key("report in.flac -o report.html");
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("report.html exists already"), "{ran:?}");
    for read in ["in.flac", "station.key"] {
        let ran = place.with_key(&format!("report --force in.flac -o {read}"));
        assert_eq!(ran.code, 2);
        assert!(ran.errors.contains("is input and output"), "{ran:?}");
    }
}
