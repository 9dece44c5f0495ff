//! What a client says, without what differs from run to run: ids, addresses, times, terms, indexes, sizes and hashes.
//!
//! It deliberately leaves revisions, versions of keys and every word as they are.

use std::sync::LazyLock;

use regex::Regex;

/// In their order: what stands further up is taken out first.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        // A line of the client's own log: only what it complains of.
        (r"etcd-endpoints://0x[0-9a-f]+/", "etcd-endpoints://"),
        (r#""ts":"[^"]*""#, r#""ts":"<time>""#),
        (r"https?://127\.\d+\.\d+\.\d+:\d+", "<url>"),
        (r"127\.\d+\.\d+\.\d+:\d+", "<address>"),
        (r#"(ETCD_INITIAL_CLUSTER=)"[^"]*""#, r#"$1"<members>""#),
        (r"\S*quorate-clients-\w+", "<folder>"),
        // `-w json` and `-w fields`.
        (
            r#"(?i)("?(?:raft_?term|raft_?index|raft_?applied_?index|db_?size(?:_?in_?use)?|hash|hash_revision)"?\s*:\s*)\d+"#,
            "$1<n>",
        ),
        // `endpoint status` and `endpoint hashkv`, in simple and in tables.
        (
            r"\d+(?:\.\d+)? [kM]?B, \d+(?:\.\d+)? [kM]?B, -?\d+%",
            "<sizes>",
        ),
        (
            r"(, (?:true|false), (?:true|false)), \d+, \d+, \d+",
            "$1, <term>, <index>, <applied>",
        ),
        (r"^(<url>|<address>), \d+, ", "$1, <hash>, "),
        (r"\b3\.7\.\d+\b", "3.7.x"),
        (r#""size":"[^"]*""#, r#""size":"<size>""#),
        // Ids are written without leading zeros, and padded.
        (r"(cluster|Member) +[0-9a-f]{12,16}\b", "$1 <id>"),
        (r"\b[0-9a-f]{13,16}\b", "<id>"),
        (r"\b\d{12,20}\b", "<id>"),
        (r"\d+(?:\.\d+)?(?:ns|µs|ms|s)\b", "<duration>"),
        (r"\bm[0-2]\b", "<name>"),
    ];
    patterns
        .into_iter()
        .map(|(it, by)| (Regex::new(it).expect("a pattern of ours"), by))
        .collect()
});

/// The lines of what was said. Where their order is chance, they are sorted.
pub(crate) fn lines(said: &str, unordered: bool) -> Vec<String> {
    let mut lines: Vec<String> = said.lines().map(line).collect();
    if unordered {
        lines.sort();
    }
    lines
}

fn line(said: &str) -> String {
    PATTERNS.iter().fold(said.to_owned(), |said, (it, by)| {
        it.replace_all(&said, *by).into_owned()
    })
}

#[test]
fn only_what_differs_by_nature_is_taken_out() {
    let cases = [
        (
            "http://127.0.0.1:2379, 8e9e05c52164694d, 3.7.3, 3.7.0, 20 kB, 16 kB, 20%, 0 B, true, false, 2, 4, 4, , , false",
            "<url>, <id>, 3.7.x, 3.7.x, <sizes>, 0 B, true, false, <term>, <index>, <applied>, , , false",
        ),
        (
            "lease 694d9dd2f6ea5e05 granted with TTL(60s)",
            "lease <id> granted with TTL(<duration>)",
        ),
        (
            r#"{"header":{"revision":7,"raft_term":2}}"#,
            r#"{"header":{"revision":7,"raft_term":<n>}}"#,
        ),
        (r#""Revision" : 7"#, r#""Revision" : 7"#),
        ("k1", "k1"),
    ];
    for (said, wanted) in cases {
        assert_eq!(line(said), wanted);
    }
}
