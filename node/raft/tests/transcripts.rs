//! Every transcript in `scripts/` still reads as it did. What they are: `scripts/README.md`.

mod script;

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn transcripts_read_as_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the transcripts are there")
        .map(|file| file.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "{} transcripts are too few", paths.len());
    let changed: Vec<String> = paths.iter().filter_map(|path| difference(path)).collect();
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

/// Runs a transcript; says how it differs, or writes it anew if that is wanted.
fn difference(path: &Path) -> Option<String> {
    let before = fs::read_to_string(path).expect("a transcript can be read");
    let after = script::run(&before).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    if before == after {
        return None;
    }
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(path, after).expect("a transcript can be written");
        return None;
    }
    let mut lines = before.lines().zip(after.lines()).zip(1..);
    let place = lines.find(|((old, new), _)| old != new);
    let what = place.map_or_else(
        || String::from("one is longer"),
        |((old, new), line)| format!("line {line}\n  was: {old}\n  is:  {new}"),
    );
    Some(format!("{}: {what}", path.display()))
}
