//! Bytes that are no message, or more than one.
//!
//! It deliberately makes no known field of another kind: go passes it over, our library refuses it.

use prost::Message;
use rand::Rng;
use serde_json::{Value, json};

use super::super::text::Action;
use super::super::value;
use super::{Made, request};

/// Calls that do no harm whatever the bytes happen to say.
const HARMLESS: &[&str] = &[
    "KV.Range",
    "KV.Put",
    "KV.DeleteRange",
    "KV.Txn",
    "KV.RangeStream",
    "Lease.LeaseRevoke",
    "Lease.LeaseTimeToLive",
    "Auth.UserGet",
    "Auth.RoleGet",
    "Cluster.MemberList",
    "Maintenance.HashKV",
];

impl Made {
    pub(super) fn odd_request(&mut self) {
        let (method, bytes) = match self.chance.random_range(0..5) {
            0 => (self.one_of(HARMLESS), self.noise()),
            1 => self.cut_short(),
            2 => self.with_more(),
            3 => (self.one_of(HARMLESS), self.nonsense()),
            _ => ("Auth.UserGet", vec![10, 2, 0xff, 0xfe]),
        };
        let method = request(method, json!({})).method;
        self.act(Action::Raw { method, bytes });
    }

    /// In a field that nobody knows, of which there is as much as it says, or less.
    fn noise(&mut self) -> Vec<u8> {
        let noise: Vec<u8> = (0..self.up_to(20)).map(|_| self.chance.random()).collect();
        let more = u8::from(self.chance.random_bool(0.5));
        let length = u8::try_from(noise.len()).unwrap_or(0) + more;
        [vec![0xfa, 0x7d, length], noise].concat()
    }

    fn sound(&mut self) -> (&'static str, Vec<u8>) {
        let (method, message): (_, Value) = match self.chance.random_range(0..3) {
            0 => ("KV.Put", self.put()),
            1 => ("KV.Range", self.range()),
            _ => ("KV.Txn", self.txn(1)),
        };
        let request = request(method, message);
        let message = value::message(&request.message, &request.method.input());
        let message = message.expect("what is generated fits its description");
        (method, message.encode_to_vec())
    }

    fn cut_short(&mut self) -> (&'static str, Vec<u8>) {
        let (method, mut bytes) = self.sound();
        bytes.truncate(self.up_to(bytes.len()));
        (method, bytes)
    }

    /// With fields that nobody knows, which are passed over.
    fn with_more(&mut self) -> (&'static str, Vec<u8>) {
        let (method, mut bytes) = self.sound();
        bytes.extend([0xfa, 0x7f, 3, 1, 2, 3, 0xf0, 0x7f, 9]);
        (method, bytes)
    }

    /// A kind of field that there is not, a field that may not be, a number without an end, an end without a beginning.
    fn nonsense(&mut self) -> Vec<u8> {
        self.one_of(&[vec![0x0f], vec![0x02, 0], [0x80; 11].to_vec(), vec![0x0c]])
    }
}
