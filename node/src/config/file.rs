//! `--config-file`: etcd's YAML, as the flags that it stands for.
//!
//! - Every flag is a key, and etcd's groups (`client-transport-security`, `peer-transport-security`, `socket-options`) stand
//!   for theirs. A key without a value asks for nothing.
//! - A length of time is a whole number of nanoseconds, as in etcd, or text as on the command line.
//! - An unknown key is refused: etcd passes over it, and who has misspelt `client-cert-auth` has an open port.
//!
//! What this module does not do: look at the values; they go the way that a flag's go.

use std::path::Path;

use serde_json::{Map, Value};

/// One flag's name and value.
pub(super) type Pair = (String, String);

/// Keys of etcd's own sample that its server has not read since version 3.4.
const FORGOTTEN: &[&str] = &[
    "proxy",
    "proxy-failure-wait",
    "proxy-refresh-interval",
    "proxy-dial-timeout",
    "proxy-write-timeout",
    "proxy-read-timeout",
];

/// Flags that are lengths of time.
const DURATIONS: &[&str] = &[
    "backend-batch-interval",
    "compact-hash-check-time",
    "compaction-sleep-interval",
    "corrupt-check-time",
    "downgrade-check-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-timeout",
    "raft-read-timeout",
    "raft-write-timeout",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "watch-progress-notify-interval",
];

/// The flags that the file stands for, and the keys that etcd itself ignores.
pub(super) fn read(path: &Path) -> Result<(Vec<Pair>, Vec<String>), String> {
    let at = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--config-file {at}: cannot be read: {error}"))?;
    parse(&text).map_err(|error| format!("--config-file {at}: {error}"))
}

fn parse(text: &str) -> Result<(Vec<Pair>, Vec<String>), String> {
    if text.trim().is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let root: Option<Map<String, Value>> =
        serde_saphyr::from_str(text).map_err(|error| one_line(&error.to_string()))?;
    let (mut pairs, mut forgotten) = (Vec::new(), Vec::new());
    for (key, value) in root.unwrap_or_default() {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("client-transport-security", value) => group(&key, value, client_flag, &mut pairs)?,
            ("peer-transport-security", value) => group(&key, value, peer_flag, &mut pairs)?,
            ("socket-options", value) => {
                group(&key, value, |key| format!("socket-{key}"), &mut pairs)?;
            }
            ("discovery-config", value) => {
                group(&key, value, |key| format!("discovery-{key}"), &mut pairs)?;
            }
            (name, _) if FORGOTTEN.contains(&name) => forgotten.push(key),
            (_, value) => pairs.push((key.clone(), text_of(&key, value)?)),
        }
    }
    Ok((pairs, forgotten))
}

fn group(
    name: &str,
    value: Value,
    flag: impl Fn(&str) -> String,
    pairs: &mut Vec<Pair>,
) -> Result<(), String> {
    let Value::Object(keys) = value else {
        return Err(format!("{name} is no group of keys"));
    };
    for (key, value) in keys {
        if !value.is_null() {
            let flag = flag(&key);
            let value = text_of(&flag, value)?;
            pairs.push((flag, value));
        }
    }
    Ok(())
}

/// Flags of the client side have no common beginning.
fn client_flag(key: &str) -> String {
    match key {
        "allowed-hostname" => "client-cert-allowed-hostname".to_owned(),
        "allowed-cn" | "skip-client-san-verification" => format!("client-transport-security.{key}"),
        _ => key.to_owned(),
    }
}

fn peer_flag(key: &str) -> String {
    match key {
        "allowed-hostname" | "allowed-cn" => format!("peer-cert-{key}"),
        _ => format!("peer-{key}"),
    }
}

fn text_of(key: &str, value: Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => String::new(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if DURATIONS.contains(&key) && number.is_i64() => {
            format!("{number}ns")
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => text,
        Value::Array(values) => {
            let texts: Result<Vec<_>, _> = values
                .into_iter()
                .map(|value| text_of(key, value))
                .collect();
            texts?.join(",")
        }
        Value::Object(_) => return Err(format!("{key} is a group of keys, and should be a value")),
    })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Pair {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_are_flags() {
        let text = "name: 'a'\ndata-dir:\nsnapshot-count: 7\npre-vote: false\nlog-outputs: [stderr, /log]\n\
                    grpc-keepalive-interval: 600000000000\ngrpc-keepalive-timeout: 5s\nproxy: 'off'\n\
                    client-transport-security:\n  cert-file: /c\n  client-cert-auth: true\n  allowed-hostname: [a, b]\n\
                    peer-transport-security:\n  cert-file: /p\n  client-key-file:\n  allowed-cn: [kv]\n\
                    socket-options:\n  reuse-port: true\nauto-compaction-retention: \"1\"\n";
        let (mut pairs, forgotten) = parse(text).unwrap();
        let mut expected = vec![
            pair("auto-compaction-retention", "1"),
            pair("cert-file", "/c"),
            pair("client-cert-allowed-hostname", "a,b"),
            pair("client-cert-auth", "true"),
            pair("grpc-keepalive-interval", "600000000000ns"),
            pair("grpc-keepalive-timeout", "5s"),
            pair("log-outputs", "stderr,/log"),
            pair("name", "a"),
            pair("peer-cert-allowed-cn", "kv"),
            pair("peer-cert-file", "/p"),
            pair("pre-vote", "false"),
            pair("snapshot-count", "7"),
            pair("socket-reuse-port", "true"),
        ];
        pairs.sort();
        expected.sort();
        assert_eq!(pairs, expected);
        assert_eq!(forgotten, ["proxy"]);
        assert_eq!(parse("# nothing\n").unwrap().0, []);
    }

    #[test]
    fn what_is_no_configuration_is_refused_in_one_line() {
        for (text, said) in [
            ("name: [", ""),
            ("- a\n- b\n", ""),
            ("client-transport-security: 1", "client-transport-security"),
            ("name: {a: 1}", "name is a group"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(
                refused.contains(said) && !refused.contains('\n'),
                "{text}: {refused}"
            );
        }
    }
}
