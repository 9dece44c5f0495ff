//! Takes out of answers what differs from run to run by nature, and says so in its place.
//!
//! | What | Becomes |
//! |---|---|
//! | the header's cluster, member and term, where they are those of the member asked | nothing; all else stays |
//! | any other id that a server chose: of a member, of a lease | `$m0`, `$m1`.. the members, `$1`, `$2`.. in order of appearance |
//! | the same in hexadecimal digits, in keys and sentences | `$m0x`, `$1x` |
//! | this run's address in URLs | `ADDRESS` |
//! | sizes of a database, indexes and terms of its log, hashes over its file, tokens | `SIZE`, `INDEX`, `TERM`, `HASH`, `TOKEN` |
//! | which of several members leads | `LEADER` |
//! | the version of a server, where it is three numbers | `VERSION` |
//! | the rest of a lease's time, where it is a little less than what was granted | `LEFT` |
//! | the order of members, which is that of their ids, and of the checks of `/readyz`, which is none | that of their names |
//! | the order of the keys of a lease and of alarms, which is none, and of leases, which is that of their ends by the clock | that of themselves |
//! | the blob of a snapshot | `BLOB`, however many messages it came in |
//!
//! A zero stays a zero: what is missing is not hidden. `HashKV` stays too, for it depends on the history alone.
//!
//! It deliberately judges nothing: both servers' answers go through the same.

use std::collections::{BTreeSet, HashMap};

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// Numbers from here on may be ids that a server chose; smaller ones are somebody's own.
const CHOSEN: u64 = 1 << 40;
/// How much of a lease's time may have gone since it was granted, in seconds.
const GONE: i64 = 1800;

/// What is known of a run's servers, and which ids they have chosen so far.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    ids: Vec<(String, u64)>,
    cluster: u64,
    asked: u64,
    /// Numbers that the text itself holds: nobody else chose them.
    own: BTreeSet<u64>,
    addresses: Vec<String>,
    made: usize,
    /// What a request may name without knowing it: see [`super::text`].
    bound: HashMap<&'static str, u64>,
    /// Whether there are several members, of which any may lead.
    several: bool,
}

impl Plain {
    /// A run with these members, at these addresses.
    pub fn new(cluster: u64, members: &[u64], addresses: &[String]) -> Self {
        let names = members.iter().enumerate();
        Self {
            ids: names.map(|(at, id)| (format!("$m{at}"), *id)).collect(),
            cluster,
            addresses: addresses.to_vec(),
            several: members.len() > 1,
            bound: [("rev", 1)].into(),
            ..Self::default()
        }
    }

    /// One more member.
    pub fn joined(&mut self, member: u64) {
        let number = self.ids.iter().filter(|it| it.0.starts_with("$m")).count();
        self.ids.push((format!("$m{number}"), member));
        self.several = true;
    }

    /// The member that the following answers come from.
    pub fn asks(&mut self, member: u64) {
        self.asked = member;
    }

    /// The request with the ids that its names stand for.
    pub fn request(&mut self, value: &Value) -> Value {
        match value {
            Value::String(it) => self
                .named(it)
                .map_or_else(|| Value::from(self.hex_filled(it)), Value::from),
            Value::Number(it) => {
                self.own
                    .extend(it.as_i64().map(i64::cast_unsigned).or(it.as_u64()));
                value.clone()
            }
            Value::Array(all) => all.iter().map(|it| self.request(it)).collect(),
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, it)| (name.clone(), self.request(it)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }

    fn named(&self, name: &str) -> Option<u64> {
        let id = self.ids.iter().find(|it| it.0 == name);
        id.map(|it| it.1).or_else(|| self.neighbour(name))
    }

    /// The last revision that a header told.
    pub fn revision(&self) -> Option<i64> {
        self.bound.get("rev").map(|it| it.cast_signed())
    }

    /// What `$NAME`, `$NAME+1` or `$NAME-1` stands for.
    fn neighbour(&self, name: &str) -> Option<u64> {
        let name = name.strip_prefix('$')?;
        let (word, offset) = name.split_at(name.find(['+', '-']).unwrap_or(name.len()));
        let offset = if offset.is_empty() { "0" } else { offset };
        let bound = self.bound.get(word)?;
        bound.checked_add_signed(offset.parse().ok()?)
    }

    /// Keeps what later requests may name.
    fn keep(&mut self, message: &str, fields: &Map<String, Value>) {
        let kept = match message {
            "ResponseHeader" => ("rev", fields.get("revision")),
            "LeaderKey" => ("leader", fields.get("rev")),
            "MemberAddResponse" => ("learner", fields.get("member").and_then(|it| it.get("ID"))),
            _ => return,
        };
        if let (name, Some(Value::Number(it))) = kept {
            self.bind(name, it.as_u64().unwrap_or(0));
        }
    }

    /// A revision only grows; an answer may have been made before another.
    fn bind(&mut self, name: &'static str, value: u64) {
        let kept = self.bound.entry(name).or_default();
        *kept = if name == "rev" {
            value.max(*kept)
        } else {
            value
        };
    }

    /// The key of a lock or an election ends with the lease that holds it, which the server may have chosen.
    fn name_of_lease(&mut self, message: &str, fields: &Map<String, Value>) {
        let key = fields.get("key").and_then(Value::as_str);
        let lease = key
            .filter(|_| ["LockResponse", "LeaderKey"].contains(&message))
            .and_then(|it| u64::from_str_radix(it.rsplit_once('/')?.1, 16).ok());
        if let Some(lease) = lease {
            self.id("lease", lease);
        }
    }

    fn hex_filled(&self, text: &str) -> String {
        if !text.contains('$') && !text.contains("ADDRESS") {
            return text.to_owned();
        }
        let text = (self.ids.iter()).fold(text.to_owned(), |text, (name, id)| {
            text.replace(&format!("{name}x"), &format!("{id:x}"))
        });
        let address = self.addresses.first().map_or("", String::as_str);
        text.replace("ADDRESS", address)
    }

    /// A sentence without what differs.
    pub fn text(&self, text: &str) -> String {
        let text =
            (self.addresses.iter()).fold(text.to_owned(), |text, it| text.replace(it, "ADDRESS"));
        (self.ids.iter()).fold(text, |text, (name, id)| {
            let text = text.replace(&format!("{id:016x}"), &format!("{name}x"));
            let text = text.replace(&format!("{id:x}"), &format!("{name}x"));
            text.replace(&id.to_string(), name)
        })
    }

    /// A message without what differs.
    pub fn message(&mut self, value: Value, descriptor: &MessageDescriptor) -> Value {
        self.walk(value, descriptor, true)
    }

    fn walk(&mut self, value: Value, descriptor: &MessageDescriptor, is_outer: bool) -> Value {
        let Value::Object(fields) = value else {
            return value;
        };
        let is_operation = descriptor.name() == "ResponseOp";
        self.keep(descriptor.name(), &fields);
        self.name_of_lease(descriptor.name(), &fields);
        let mut plain = Map::new();
        for (name, value) in fields {
            let Some(field) = descriptor.get_field_by_name(&name) else {
                plain.insert(name, value);
                continue;
            };
            let one = |it: &mut Self, value| match field.kind() {
                Kind::Message(inner) if inner.name() == "ResponseHeader" => {
                    it.header(value, is_outer)
                }
                Kind::Message(inner) => it.walk(value, &inner, is_outer && !is_operation),
                kind => it.scalar(&name, value, &kind),
            };
            let value = match value {
                Value::Array(all) => all.into_iter().map(|value| one(self, value)).collect(),
                value => one(self, value),
            };
            plain.insert(name, value);
        }
        self.whole(descriptor.name(), &mut plain);
        Value::Object(plain)
    }

    /// Only the revision, where the rest is as it must be. An operation's header within a transaction holds no more.
    fn header(&mut self, value: Value, is_outer: bool) -> Value {
        let Value::Object(mut fields) = value else {
            return value;
        };
        if !is_outer {
            return Value::Object(fields);
        }
        self.keep("ResponseHeader", &fields);
        for (name, expected) in [("cluster_id", self.cluster), ("member_id", self.asked)] {
            match fields.remove(name) {
                Some(it) if it == expected => {}
                other => drop(fields.insert(name.to_owned(), other.unwrap_or_else(|| 0.into()))),
            }
        }
        if fields.remove("raft_term").is_none() {
            fields.insert("raft_term".to_owned(), 0.into());
        }
        Value::Object(fields)
    }

    fn scalar(&mut self, name: &str, value: Value, kind: &Kind) -> Value {
        match value {
            Value::String(it) if matches!(kind, Kind::String | Kind::Bytes) => {
                Value::from(self.text(&it))
            }
            Value::Number(it) => {
                let Some(id) = it.as_i64().map(i64::cast_unsigned).or(it.as_u64()) else {
                    return Value::Number(it);
                };
                self.id(name, id).map_or(Value::Number(it), Value::from)
            }
            other => other,
        }
    }

    /// The name of an id that a server chose.
    fn id(&mut self, field: &str, id: u64) -> Option<String> {
        if let Some((name, _)) = self.ids.iter().find(|it| it.1 == id) {
            return Some(name.clone());
        }
        let may_be_one = ["ID", "lease", "leader", "memberID"].contains(&field);
        if !may_be_one
            || id < CHOSEN
            || id > i64::MAX.cast_unsigned() && field == "lease"
            || self.own.contains(&id)
        {
            return None;
        }
        self.made += 1;
        let name = format!("${}", self.made);
        self.ids.push((name.clone(), id));
        Some(name)
    }

    /// What only the message as a whole tells.
    fn whole(&self, message: &str, fields: &mut Map<String, Value>) {
        let stand_ins: &[(&str, &str)] = match message {
            "StatusResponse" => &[
                ("dbSize", "SIZE"),
                ("dbSizeInUse", "SIZE"),
                ("raftIndex", "INDEX"),
                ("raftAppliedIndex", "INDEX"),
                ("raftTerm", "TERM"),
                ("version", "VERSION"),
            ],
            "SnapshotResponse" => &[
                ("blob", "BLOB"),
                ("remaining_bytes", "SIZE"),
                ("version", "VERSION"),
            ],
            "HashResponse" => &[("hash", "HASH")],
            "AuthenticateResponse" => &[("token", "TOKEN")],
            _ => &[],
        };
        for (field, stand_in) in stand_ins {
            if let Some(value) = fields
                .get_mut(*field)
                .filter(|it| !is_odd_version(field, it))
            {
                *value = Value::from(*stand_in);
            }
        }
        if let Some(leader) = fields.get_mut("leader").filter(|_| self.several) {
            *leader = Value::from("LEADER");
        }
        for name in ["keys", "leases", "alarms", "errors"] {
            if let Some(Value::Array(all)) = fields.get_mut(name) {
                all.sort_by_key(ToString::to_string);
            }
        }
        if let Some(Value::Array(members)) = fields.get_mut("members") {
            members.sort_by_key(|it| it["ID"].to_string());
        }
        if message == "LeaseTimeToLiveResponse" {
            left(fields);
        }
    }

    /// What came over HTTP without what differs; numbers of 64 bits are strings there.
    pub fn http(&mut self, value: Value) -> Value {
        match value {
            Value::Array(all) => all.into_iter().map(|it| self.http(it)).collect(),
            Value::Object(fields) => self.http_object(fields),
            Value::String(text) => Value::from(self.text(&text)),
            other => other,
        }
    }

    /// The same over HTTP as of a message.
    fn of_http(&mut self, fields: &mut Map<String, Value>) {
        let number = |it: Option<&Value>| it?.as_str()?.parse::<u64>().ok();
        let revision = fields.get("header").and_then(|it| it.get("revision"));
        let learner = fields
            .get("member")
            .filter(|_| fields.contains_key("members"))
            .and_then(|it| it.get("ID"));
        for (name, value) in [("rev", revision), ("learner", learner)] {
            if let Some(it) = number(value) {
                self.bind(name, it);
            }
        }
        for name in ["keys", "leases", "alarms"] {
            if let Some(Value::Array(all)) = fields.get_mut(name) {
                all.sort_by_key(ToString::to_string);
            }
        }
        left(fields);
    }

    fn http_object(&mut self, mut fields: Map<String, Value>) -> Value {
        if let Some(Value::Array(lines)) = fields.get_mut("lines") {
            let is_check = |it: &Value| it.as_str().is_some_and(|it| it.starts_with('['));
            let checks = lines.iter().take_while(|it| is_check(it)).count();
            lines[..checks].sort_by_key(|it| {
                it.as_str()
                    .and_then(|it| it.split(']').nth(1))
                    .map(str::to_owned)
            });
        }
        self.of_http(&mut fields);
        let stand_ins: HashMap<&str, &str> = [
            ("dbSize", "SIZE"),
            ("dbSizeInUse", "SIZE"),
            ("raftIndex", "INDEX"),
            ("raftAppliedIndex", "INDEX"),
            ("raftTerm", "TERM"),
            ("raft_term", "TERM"),
            ("token", "TOKEN"),
            ("hash", "HASH"),
            ("etcdserver", "VERSION"),
        ]
        .into();
        for (name, value) in &mut fields {
            let number = value.as_str().and_then(|it| it.parse::<u64>().ok());
            let made = number.and_then(|it| self.id(name, it));
            *value = match (stand_ins.get(name.as_str()), number) {
                (Some(stand_in), _) if !value.is_object() && !is_odd_version(name, value) => {
                    Value::from(*stand_in)
                }
                (_, Some(it)) if it == self.cluster => Value::from("CLUSTER"),
                _ => made.map_or_else(|| self.http(value.clone()), Value::from),
            };
        }
        if let Some(Value::Array(members)) = fields.get_mut("members") {
            members.sort_by_key(|it| it["ID"].to_string());
        }
        Value::Object(fields)
    }
}

/// What is left of a lease, in numbers or in strings.
fn left(fields: &mut Map<String, Value>) {
    let number = |name: &str| {
        let it = fields.get(name)?;
        it.as_i64().or_else(|| it.as_str()?.parse().ok())
    };
    let left = number("TTL").zip(number("grantedTTL"));
    if left.is_some_and(|(left, granted)| left > 0 && (granted - GONE..=granted).contains(&left)) {
        fields.insert("TTL".to_owned(), Value::from("LEFT"));
    }
}

/// Whether a version is more than three numbers: some clients read no more.
fn is_odd_version(field: &str, value: &Value) -> bool {
    let is_number = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit());
    let text = value.as_str().unwrap_or_default();
    ["version", "etcdserver"].contains(&field)
        && !(text.split('.').count() == 3 && text.split('.').all(is_number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::services;
    use super::*;

    const LEASE: i64 = 7_587_891_234_567_890;

    fn plain() -> Plain {
        let mut plain = Plain::new(10, &[20], &["127.1.2.3".to_owned()]);
        plain.asks(20);
        plain
    }

    fn answer(plain: &mut Plain, method: &str, value: Value) -> Value {
        plain.message(value, &services::method(method).unwrap().output())
    }

    #[test]
    fn a_header_keeps_what_is_not_as_it_must_be() {
        let right = json!({ "header": { "cluster_id": 10, "member_id": 20, "revision": 5, "raft_term": 2 } });
        assert_eq!(
            answer(&mut plain(), "KV.Put", right),
            json!({ "header": { "revision": 5 } })
        );
        let wrong = json!({ "header": { "cluster_id": 10, "member_id": 21 } });
        let kept = json!({ "header": { "member_id": 21, "raft_term": 0 } });
        assert_eq!(answer(&mut plain(), "KV.Put", wrong), kept);
    }

    #[test]
    fn an_id_that_a_server_chose_has_a_name_from_then_on() {
        let mut plain = plain();
        let granted = answer(
            &mut plain,
            "Lease.LeaseGrant",
            json!({ "ID": LEASE, "TTL": 5 }),
        );
        assert_eq!(granted, json!({ "ID": "$1", "TTL": 5 }));
        assert_eq!(
            plain.request(&json!({ "lease": "$1", "key": "k/$1x" }))["lease"],
            LEASE
        );
        assert_eq!(plain.text(&format!("k/{LEASE:x}")), "k/$1x");
    }

    #[test]
    fn an_id_of_the_text_stays() {
        let mut plain = plain();
        plain.request(&json!({ "ID": LEASE }));
        let granted = answer(&mut plain, "Lease.LeaseGrant", json!({ "ID": LEASE }));
        assert_eq!(granted, json!({ "ID": LEASE }));
    }

    #[test]
    fn sizes_are_taken_out_and_zeros_stay() {
        let status = json!({ "dbSize": 4096, "version": "3.7.0", "storageVersion": "3.7.0" });
        let expected = json!({ "dbSize": "SIZE", "version": "VERSION", "storageVersion": "3.7.0" });
        assert_eq!(answer(&mut plain(), "Maintenance.Status", status), expected);
        let odd = json!({ "version": "3.7.0-rc.1" });
        assert_eq!(answer(&mut plain(), "Maintenance.Status", odd.clone()), odd);
    }

    #[test]
    fn the_rest_of_a_lease_is_no_certain_number() {
        let alive = json!({ "TTL": 99, "grantedTTL": 100 });
        let expected = json!({ "TTL": "LEFT", "grantedTTL": 100 });
        assert_eq!(
            answer(&mut plain(), "Lease.LeaseTimeToLive", alive),
            expected
        );
        let gone = json!({ "TTL": -1 });
        assert_eq!(
            answer(&mut plain(), "Lease.LeaseTimeToLive", gone.clone()),
            gone
        );
    }
}
