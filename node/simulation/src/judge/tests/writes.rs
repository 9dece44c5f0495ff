//! What is written and read.

use super::super::LINEARIZABLE;
use super::*;

/// The last operation's answer.
fn last(scene: &mut Scene) -> &mut Answer {
    let operation = scene.history.operations.last_mut();
    &mut operation.expect("something was asked").answer
}

#[test]
fn one_store_is_seen() {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k1", "b"));
    scene.ask_with(put("k2", "c"), |_| Answer::Lost);
    scene.ask(guarded("k1", 3, "d", "e"));
    scene.ask(guarded("k1", 3, "f", "g"));
    scene.ask(all());
    scene.ask_with(delete("k2", ""), |_| Answer::Lost);
    scene.ask(delete("k", "l"));
    scene.ask(delete("k", "l"));
    scene.ask(all());
    let now = scene.now;
    scene.tell(now, put("k3", "never"), Answer::Lost);
    assert_good(&scene.history);
}

#[test]
fn every_write_has_an_author() {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.history.operations.clear();
    assert_eq!(broken(&scene.history), LINEARIZABLE);

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    let doubled = PutRequest {
        key: "k1".into(),
        value: "a".into(),
        ..PutRequest::default()
    };
    scene.apply(&Command::Put(doubled));
    assert_eq!(broken(&scene.history), LINEARIZABLE, "twice");

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k2", "b"));
    scene.ask_with(delete("k1", ""), |_| refused());
    assert_eq!(broken(&scene.history), LINEARIZABLE, "of another");
}

#[test]
fn what_was_refused_for_good_is_not_done() {
    let mut scene = Scene::new();
    scene.ask_with(put("k1", "a"), |_| Answer::Refused(Refusal::Timeout));
    assert_good(&scene.history);
    *last(&mut scene) = refused();
    assert_eq!(broken(&scene.history), LINEARIZABLE);
}

#[test]
fn what_was_acknowledged_is_done_where_it_was_told() {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k1", "b"));
    scene.history.writes.pop();
    assert_eq!(broken(&scene.history), LINEARIZABLE, "lost");

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k1", "b"));
    if let Response::Put(answer) = applied(last(&mut scene)) {
        answer.revision -= 1;
    }
    assert_eq!(broken(&scene.history), LINEARIZABLE, "elsewhere");

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.history.writes[0].0 = scene.now;
    assert_eq!(broken(&scene.history), LINEARIZABLE, "later");
}

#[test]
fn guards_are_judged_before_the_write() {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(guarded("k1", 2, "b", "c"));
    assert_good(&scene.history);
    if let Asked::Txn(txn) = &mut scene.history.operations[1].asked {
        txn.compare[0].target_union = Some(TargetUnion::ModRevision(1));
    }
    assert_eq!(broken(&scene.history), LINEARIZABLE);
}

#[test]
fn answers_tell_what_is_there() {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask_with(all(), |answer| match answer {
        Answer::Range(mut found) => {
            found.kvs.clear();
            Answer::Range(found)
        }
        other => other,
    });
    assert_eq!(broken(&scene.history), LINEARIZABLE, "a key is missing");

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(put("k1", "b"));
    if let Response::Put(answer) = applied(last(&mut scene)) {
        answer.prev_kv = None;
    }
    assert_eq!(broken(&scene.history), LINEARIZABLE, "what was before");

    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    scene.ask(delete("k1", ""));
    if let Response::DeleteRange(answer) = applied(last(&mut scene)) {
        answer.deleted = 2;
    }
    assert_eq!(broken(&scene.history), LINEARIZABLE, "how many");
}

/// The same, with a read of long ago told last.
fn stale(is_local: bool) -> History {
    let mut scene = Scene::new();
    scene.ask(put("k1", "a"));
    let old = scene.ask(all()).clone();
    scene.ask(put("k1", "b"));
    let mut asked = all();
    if let Asked::Range(range) = &mut asked {
        range.serializable = is_local;
    }
    let now = scene.now;
    scene.tell(now, asked, old);
    scene.history
}

#[test]
fn who_asks_later_sees_no_less() {
    assert_good(&stale(true));
    assert_eq!(broken(&stale(false)), LINEARIZABLE);
    let mut by_order_only = stale(false);
    by_order_only.is_whole = false;
    by_order_only.writes.clear();
    assert_eq!(broken(&by_order_only), LINEARIZABLE);
}

#[test]
fn nobody_is_told_of_what_no_member_has() {
    let mut scene = Scene::new();
    scene.ask_with(put("k1", "a"), |_| Answer::Lost);
    scene.ask(all());
    assert_good(&scene.history);
    scene.history.writes[0].0 = scene.now + 1;
    assert_eq!(broken(&scene.history), LINEARIZABLE);
}

#[test]
fn revisions_and_versions_follow() {
    let mut scene = Scene::new();
    scene.ask_with(put("k1", "a"), |_| Answer::Lost);
    scene.ask_with(put("k2", "b"), |_| Answer::Lost);
    scene.ask_with(put("k1", "c"), |_| Answer::Lost);
    assert_good(&scene.history);
    let kept = scene.history.writes.clone();
    scene.history.writes.remove(1);
    assert_eq!(broken(&scene.history), LINEARIZABLE, "a hole");

    let mut other = Scene::new();
    other.ask(put("k3", "a"));
    scene.history.writes = kept;
    scene.history.writes[0] = other.history.writes[0].clone();
    scene.history.operations.extend(other.history.operations);
    assert_eq!(
        broken(&scene.history),
        LINEARIZABLE,
        "a second version without a first"
    );
}
