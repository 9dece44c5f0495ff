//! Between the wire's messages and the store's requests and answers: the same fields under the same names.
//!
//! The store has types of its own because what stands in the log must not change with the wire. Keys and values are moved.
//!
//! What this module deliberately does not do: check anything; `store::validate` does.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::TargetUnion as WireTarget;
use proto::etcdserverpb::request_op::Request as WireOp;
use proto::etcdserverpb::response_op::Response as WireAnswer;
use proto::mvccpb;

pub(super) fn range(request: pb::RangeRequest) -> store::RangeRequest {
    store::RangeRequest {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: request.sort_order,
        sort_target: request.sort_target,
        serializable: request.serializable,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

pub(super) fn put(request: pb::PutRequest) -> store::PutRequest {
    store::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(super) fn delete_range(request: pb::DeleteRangeRequest) -> store::DeleteRangeRequest {
    store::DeleteRangeRequest {
        key: request.key,
        range_end: request.range_end,
        prev_kv: request.prev_kv,
    }
}

pub(super) fn txn(request: pb::TxnRequest) -> store::TxnRequest {
    store::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(operation).collect(),
        failure: request.failure.into_iter().map(operation).collect(),
    }
}

fn operation(op: pb::RequestOp) -> store::RequestOp {
    let request = op.request.map(|request| match request {
        WireOp::RequestRange(request) => store::Op::Range(range(request)),
        WireOp::RequestPut(request) => store::Op::Put(put(request)),
        WireOp::RequestDeleteRange(request) => store::Op::DeleteRange(delete_range(request)),
        WireOp::RequestTxn(request) => store::Op::Txn(txn(request)),
    });
    store::RequestOp { request }
}

fn compare(compare: pb::Compare) -> store::Compare {
    let target_union = compare.target_union.map(|target| match target {
        WireTarget::Version(version) => store::TargetUnion::Version(version),
        WireTarget::CreateRevision(revision) => store::TargetUnion::CreateRevision(revision),
        WireTarget::ModRevision(revision) => store::TargetUnion::ModRevision(revision),
        WireTarget::Value(value) => store::TargetUnion::Value(value),
        WireTarget::Lease(lease) => store::TargetUnion::Lease(lease),
    });
    store::Compare {
        result: compare.result,
        target: compare.target,
        key: compare.key,
        target_union,
        range_end: compare.range_end,
    }
}

pub(super) fn key_value(kv: store::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

fn key_values(kvs: Vec<store::KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

type Header = Option<pb::ResponseHeader>;

pub(super) fn range_answer(answer: store::RangeResponse, header: Header) -> pb::RangeResponse {
    pb::RangeResponse {
        header,
        kvs: key_values(answer.kvs),
        more: answer.more,
        count: answer.count,
    }
}

pub(super) fn put_answer(answer: store::PutResponse, header: Header) -> pb::PutResponse {
    pb::PutResponse {
        header,
        prev_kv: answer.prev_kv.map(key_value),
    }
}

pub(super) fn delete_answer(
    answer: store::DeleteRangeResponse,
    header: Header,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header,
        deleted: answer.deleted,
        prev_kvs: key_values(answer.prev_kvs),
    }
}

pub(super) fn txn_answer(answer: store::TxnResponse, header: Header) -> pb::TxnResponse {
    pb::TxnResponse {
        header,
        succeeded: answer.succeeded,
        responses: answer.responses.into_iter().map(operation_answer).collect(),
    }
}

/// An answer inside a transaction: its header, as etcd has it, is the revision alone, and a nested transaction's is empty.
fn operation_answer(answer: Option<store::ResponseOp>) -> pb::ResponseOp {
    let header = |revision| {
        Some(pb::ResponseHeader {
            revision,
            ..Default::default()
        })
    };
    let response = answer.map(|answer| match answer {
        store::ResponseOp::Range(answer) => {
            let header = header(answer.revision);
            WireAnswer::ResponseRange(range_answer(answer, header))
        }
        store::ResponseOp::Put(answer) => {
            let header = header(answer.revision);
            WireAnswer::ResponsePut(put_answer(answer, header))
        }
        store::ResponseOp::DeleteRange(answer) => {
            let header = header(answer.revision);
            WireAnswer::ResponseDeleteRange(delete_answer(answer, header))
        }
        store::ResponseOp::Txn(answer) => {
            let header = header(answer.revision);
            WireAnswer::ResponseTxn(txn_answer(answer, header))
        }
    });
    pb::ResponseOp { response }
}

pub(crate) fn member(member: store::Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.is_learner,
    }
}

pub(crate) fn members(members: Vec<store::Member>) -> Vec<pb::Member> {
    members.into_iter().map(member).collect()
}

pub(super) fn alarm(alarm: store::Alarm) -> pb::AlarmMember {
    pb::AlarmMember {
        member_id: alarm.member,
        alarm: alarm.kind,
    }
}
