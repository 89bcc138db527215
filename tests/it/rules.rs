//! The rules of `docs/PROTOCOL.md` and what cites them: every rule is held by some code or test, no rule is made up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_ours = path.file_name().is_some_and(|name| name != "node_modules");
        if path.is_dir() && is_ours {
            files(&path, endings, found);
        } else if path
            .extension()
            .is_some_and(|end| endings.iter().any(|one| end == *one))
        {
            found.push(path);
        }
    }
}

/// Numbers that stand between `head` and `tail`.
fn numbers(text: &str, head: &str, tail: &str) -> Vec<u32> {
    text.split(head)
        .skip(1)
        .filter_map(|rest| rest.split_once(tail)?.0.parse().ok())
        .collect()
}

#[test]
fn every_rule_is_cited_and_every_citation_is_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protocol = fs::read_to_string(root.join("docs/PROTOCOL.md")).unwrap();
    let rules = numbers(&protocol, "- **[R-", "]**");
    assert!(rules.len() > 50, "only {} rules were found", rules.len());
    assert!(
        rules.is_sorted_by(|a, b| a < b),
        "rules stand in order, none twice: {rules:?}"
    );
    let rules: BTreeSet<u32> = rules.into_iter().collect();

    let mut sources = Vec::new();
    files(&root.join("src"), &["rs"], &mut sources);
    files(&root.join("tests"), &["rs", "mjs"], &mut sources);
    let mut cited = BTreeSet::new();
    for source in &sources {
        let text = fs::read_to_string(source).unwrap();
        for number in numbers(&text, "[R-", "]") {
            assert!(
                rules.contains(&number),
                "{} cites a rule {number} that is not there",
                source.display()
            );
            cited.insert(number);
        }
    }
    let within = BTreeSet::from_iter(numbers(&protocol, "[R-", "]"));
    assert!(
        within.is_subset(&rules),
        "PROTOCOL.md leads to rules that are not there"
    );
    let uncited: Vec<_> = rules.difference(&cited).collect();
    assert!(uncited.is_empty(), "no code and no test cites the rules {uncited:?}");
}
