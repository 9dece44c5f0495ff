//! The JSON gateway of a real member, request by request against what etcd 3.7.3 answered: `gateway/answers.txt`, recorded from
//! a member as fresh as ours, with the cluster's, the member's and the term's number under letters.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod lab;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lab::{Lab, Member};

fn connected(member: &Member, path: &str, body: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((member.ip.as_str(), 2379))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    Ok(stream)
}

/// Status and body.
fn post(member: &Member, path: &str, body: &str) -> std::io::Result<String> {
    let mut answer = String::new();
    connected(member, path, body)?.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(format!("{status} {}", body.trim_end()))
}

/// The text with letters for the numbers that differ between clusters.
fn lettered(text: &str, header: &serde_json::Value) -> String {
    [("cluster_id", "C"), ("member_id", "M"), ("raft_term", "T")]
        .iter()
        .fold(text.to_owned(), |text, (name, letter)| {
            let number = format!("\"{name}\":{}", header[name]);
            text.replace(&number, &format!("\"{name}\":\"{letter}\""))
        })
}

async fn solo(lab: &mut Lab) -> Member {
    lab.cluster(&["solo"], &[]).await.swap_remove(0)
}

#[tokio::test]
async fn every_answer_is_etcds_to_the_byte() {
    let mut lab = Lab::new();
    let member = solo(&mut lab).await;
    let list = post(&member, "/v3/cluster/member/list", "{}").unwrap();
    let list: serde_json::Value = serde_json::from_str(list.strip_prefix("200 ").unwrap()).unwrap();
    let cases = include_str!("gateway/answers.txt").trim().split("\n\n");
    for case in cases {
        let (request, expected) = case.split_once('\n').unwrap();
        let request = request.strip_prefix("POST ").unwrap();
        let (path, body) = request.split_once(' ').unwrap_or((request, ""));
        let answer = post(&member, path, body).unwrap();
        assert_eq!(lettered(&answer, &list["header"]), expected, "{request}");
    }
}

#[tokio::test]
async fn a_watch_is_a_line_for_each_answer_for_as_long_as_the_client_stays() {
    let mut lab = Lab::new();
    let member = solo(&mut lab).await;
    let create = r#"{"create_request":{"key":"Zm9v"}}"#;
    let stream = connected(&member, "/v3/watch", create).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut results = lines.filter(|line| line.starts_with("{\"result\":"));
    assert!(results.next().unwrap().ends_with(",\"created\":true}}"));
    for value in ["YQ==", "Yg=="] {
        let put = format!(r#"{{"key":"Zm9v","value":"{value}"}}"#);
        post(&member, "/v3/kv/put", &put).unwrap();
        let line = results.next().unwrap();
        assert!(line.contains(r#""events":[{"kv":{"key":"Zm9v""#), "{line}");
        assert!(
            line.contains(&format!(r#""value":"{value}"}}}}]"#)),
            "{line}"
        );
    }
    post(&member, "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#).unwrap();
    let line = results.next().unwrap();
    assert!(
        line.contains(r#""events":[{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"4"}}]"#),
        "{line}"
    );
}
