// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links between the pages lead to files and headings that exist.

use std::path::{Path, PathBuf};

/// All pages for users and contributors.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    let others = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "tests/data/README.md",
    ];
    pages.extend(others.map(|name| root.join(name)));
    pages
}

/// What people read: the text without blocks of code.
fn prose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let outside: Vec<_> = text.split("```").step_by(2).collect();
    outside.join("\n")
}

/// Where the links and pictures of a text lead.
fn targets(prose: &str) -> impl Iterator<Item = &str> {
    let rest = prose.split("](").skip(1);
    rest.map(|rest| rest.split_once(')').expect("the end of a link").0)
}

/// The anchors of the headings of a text, as GitHub makes them.
fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link of a page.
fn fault(page: &Path, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    if !path.exists() {
        return Some(format!(
            "{} links to {target}: no such file",
            page.display()
        ));
    }
    let exists = anchor.is_empty() || anchors(&prose(&path)).iter().any(|known| known == anchor);
    (!exists).then(|| format!("{} links to {target}: no such heading", page.display()))
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let mut faults = Vec::new();
    let mut links = 0;
    for page in pages() {
        let prose = prose(&page);
        for target in targets(&prose).filter(|target| !target.contains("://")) {
            links += 1;
            faults.extend(fault(&page, target));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links > 20, "only {links} links were seen");
}

/// A page that nothing leads to is not read.
#[test]
fn every_page_of_docs_is_linked_from_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = prose(&root.join("README.md"));
    let linked: Vec<_> = targets(&readme)
        .map(|target| target.split('#').next().unwrap())
        .collect();
    for page in pages()
        .iter()
        .filter(|page| page.starts_with(root.join("docs")))
    {
        let name = page.strip_prefix(root).unwrap().to_str().unwrap();
        assert!(linked.contains(&name), "README.md has no link to {name}");
    }
}
