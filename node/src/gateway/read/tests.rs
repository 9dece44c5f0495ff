use super::*;
use crate::gateway::bindings::pool;

fn read(of: &str, json: &str) -> Result<DynamicMessage, String> {
    let of = pool().get_message_by_name(&format!("etcdserverpb.{of}"));
    message(&of.unwrap(), json.as_bytes())
}

/// The message as protobuf's text shows it, which is not what the gateway writes.
fn shown(of: &str, json: &str) -> String {
    read(of, json).unwrap().to_string()
}

#[test]
fn fields_have_both_names_and_numbers_both_shapes() {
    for json in [
        r#"{"key":"Zm9v","limit":"15","keys_only":true}"#,
        r#"{"key":"Zm9v","limit":15,"keysOnly":true}"#,
        r#"{"key":"Zm9v","limit":1.50e1,"keysOnly":true,"revision":null}"#,
        "{ \"keysOnly\" : true ,\n\"bogus\":{\"a\":[1,{\"b\":\"}\"}]}, \"key\":\"Zm\\u0039v\",\"limit\":\"150e-1\"}",
    ] {
        assert_eq!(
            shown("RangeRequest", json),
            r#"key:"foo",limit:15,keys_only:true"#,
            "{json}"
        );
    }
    let add = r#"{"peerURLs":["http://a:1","http://b:1"],"peer_urls":["no"],"isLearner":true}"#;
    assert_eq!(
        shown("MemberAddRequest", add),
        r#"peerURLs:["http://a:1","http://b:1"],isLearner:true"#
    );
}

#[test]
fn bytes_are_base64_of_any_kind() {
    for (text, bytes) in [
        ("YQ==", &b"a"[..]),
        ("YQ", b"a"),
        ("YR==", b"a"),
        ("_-8", b"\xff\xef"),
        ("_-8=", b"\xff\xef"),
        ("/+8", b"\xff\xef"),
        ("", b""),
    ] {
        let json = format!(r#"{{"key":"{text}"}}"#);
        let read = read("RangeRequest", &json).unwrap();
        let key = read.get_field_by_name("key").unwrap();
        assert_eq!(key.as_bytes().unwrap(), bytes, "{text}");
    }
}

#[test]
fn enums_are_names_or_numbers_and_unknown_names_are_nothing() {
    assert_eq!(
        shown(
            "RangeRequest",
            r#"{"sort_order":"DESCEND","sort_target":4}"#
        ),
        "sort_order:DESCEND,sort_target:VALUE"
    );
    assert_eq!(shown("RangeRequest", r#"{"sort_order":"bogus"}"#), "");
    assert_eq!(
        shown("RangeRequest", r#"{"sort_order":77}"#),
        "sort_order:77"
    );
    let filters = r#"{"filters":["NODELETE","bogus",5]}"#;
    assert_eq!(shown("WatchCreateRequest", filters), "filters:[NODELETE,5]");
}

/// Message, JSON, and what etcd 3.7.3 said to it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "RangeRequest",
        "[]",
        "syntax error (line 1:1): unexpected token [",
    ),
    (
        "RangeRequest",
        "null",
        "syntax error (line 1:1): unexpected token null",
    ),
    (
        "RangeRequest",
        "5",
        "syntax error (line 1:1): unexpected token 5",
    ),
    (
        "RangeRequest",
        r#""x""#,
        r#"syntax error (line 1:1): unexpected token "x""#,
    ),
    (
        "RangeRequest",
        r#"{"key":5}"#,
        "(line 1:8): invalid value for bytes field key: 5",
    ),
    (
        "RangeRequest",
        "{\n\"key\"\n: \n  5}",
        "(line 4:3): invalid value for bytes field key: 5",
    ),
    (
        "RangeRequest",
        r#"{"key":"a"}"#,
        r#"(line 1:8): invalid value for bytes field key: "a""#,
    ),
    (
        "RangeRequest",
        r#"{"key":"!!!"}"#,
        r#"(line 1:8): invalid value for bytes field key: "!!!""#,
    ),
    ("RangeRequest", r#"{"key":"\ud800"}"#, "unexpected EOF"),
    (
        "RangeRequest",
        r#"{"limit":"x"}"#,
        r#"(line 1:10): invalid value for int64 field limit: "x""#,
    ),
    (
        "RangeRequest",
        r#"{"limit":1.5}"#,
        "(line 1:10): invalid value for int64 field limit: 1.5",
    ),
    (
        "RangeRequest",
        r#"{"limit":" 1"}"#,
        r#"(line 1:10): invalid value for int64 field limit: " 1""#,
    ),
    (
        "RangeRequest",
        r#"{"limit":"9223372036854775808"}"#,
        r#"(line 1:10): invalid value for int64 field limit: "9223372036854775808""#,
    ),
    (
        "RangeRequest",
        r#"{"limit":true}"#,
        "(line 1:10): invalid value for int64 field limit: true",
    ),
    (
        "RangeRequest",
        r#"{"keys_only":"true"}"#,
        r#"(line 1:14): invalid value for bool field keysOnly: "true""#,
    ),
    (
        "RangeRequest",
        r#"{"sort_order":"1","sort_order":1}"#,
        r#"(line 1:19): duplicate field "sort_order""#,
    ),
    (
        "RangeRequest",
        r#"{"keysOnly":null,"keys_only":true}"#,
        r#"(line 1:18): duplicate field "keys_only""#,
    ),
    (
        "MoveLeaderRequest",
        r#"{"targetID":-1}"#,
        "(line 1:13): invalid value for uint64 field targetID: -1",
    ),
    (
        "AuthUserGetRequest",
        r#"{"näme":"x", "name":5}"#,
        "(line 1:21): invalid value for string field name: 5",
    ),
    (
        "AuthUserGetRequest",
        r#"{"name":{"x":1}}"#,
        "(line 1:9): invalid value for string field name: {",
    ),
    (
        "AuthUserGetRequest",
        r#"{"name":"\ud800abcdefgh"}"#,
        r#"syntax error (line 1:9): invalid escape code "abcdef" in string"#,
    ),
    (
        "MemberAddRequest",
        r#"{"peerURLs":"http://a:1"}"#,
        r#"syntax error (line 1:13): unexpected token "http://a:1""#,
    ),
    (
        "MemberAddRequest",
        r#"{"peerURLs":[null]}"#,
        "(line 1:14): invalid value for string field peerURLs: null",
    ),
    (
        "TxnRequest",
        r#"{"compare":{}}"#,
        "syntax error (line 1:12): unexpected token {",
    ),
    (
        "TxnRequest",
        r#"{"compare":[null]}"#,
        "syntax error (line 1:13): unexpected token null",
    ),
    (
        "TxnRequest",
        r#"{"success":[{"request_put":5}]}"#,
        "syntax error (line 1:28): unexpected token 5",
    ),
    (
        "TxnRequest",
        r#"{"success":[{"request_put":{"key":"YQ==","value":"Yg=="},"request_range":{"key":"YQ=="}}]}"#,
        r#"(line 1:58): error parsing "request_range", oneof etcdserverpb.RequestOp.request is already set"#,
    ),
];

#[test]
fn what_does_not_fit_is_refused_in_protojsons_words() {
    for (of, json, said) in REFUSED {
        assert_eq!(read(of, json), Err(format!("proto: {said}")), "{json}");
    }
    let of = pool()
        .get_message_by_name("etcdserverpb.AuthUserGetRequest")
        .unwrap();
    assert_eq!(
        message(&of, b"{\"name\":\"\xff\"}").unwrap_err(),
        "proto: syntax error (line 1:9): invalid UTF-8 in string"
    );
}

#[test]
fn strings_say_what_their_escapes_mean() {
    let json = r#"{"name":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00é"}"#;
    let read = read("AuthUserGetRequest", json).unwrap();
    let name = read.get_field_by_name("name").unwrap();
    assert_eq!(name.as_str(), Some("\"\\/\x08\x0c\n\r\tä😀é"));
}

#[test]
fn messages_are_nested_only_so_deep() {
    let nested = |depth: usize| {
        let (open, close) = (r#"{"success":[{"request_txn":"#, "}]}");
        format!("{}{{}}{}", open.repeat(depth), close.repeat(depth))
    };
    assert!(read("TxnRequest", &nested(40)).is_ok());
    let error = read("TxnRequest", &nested(60)).unwrap_err();
    assert_eq!(error, "proto: exceeded max recursion depth");
}

proptest::proptest! {
    #[test]
    fn whatever_the_scanner_lets_pass_is_read_or_refused(json in r#"\PC*|[\{\}\[\]":,\\u0-9a-d null]*"#) {
        let mut values = crate::gateway::scan::Values::new(1 << 20);
        values.push(json.as_bytes());
        while let Ok(value) = values.next() {
            let of = pool().get_message_by_name("etcdserverpb.TxnRequest").unwrap();
            let _ = message(&of, &value);
        }
    }
}
