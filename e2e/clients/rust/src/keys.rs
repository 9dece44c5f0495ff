//! Keys: reads and writes, transactions, watches, compaction.

use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, Event, GetOptions,
    KeyValue, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType,
    WatchOptions, WatchStream,
};

use crate::{Played, first, revision, told, utf8};

/// A key without its revisions' absolute numbers.
fn shown(it: &KeyValue, base: i64) -> (String, String, i64, i64, i64) {
    let (made, changed) = (it.create_revision() - base, it.mod_revision() - base);
    (
        utf8(it.key()),
        utf8(it.value()),
        made,
        changed,
        it.version(),
    )
}

pub(crate) async fn kv(client: &mut Client) -> Played {
    let base = first(client).await?;
    for n in 0..5 {
        let options = PutOptions::new().with_prev_key();
        let put = client
            .put(format!("kv/{n}"), format!("v{n}"), Some(options))
            .await?;
        println!(
            "put at {} before: {:?}",
            revision(put.header()) - base,
            put.prev_key()
        );
    }
    let all = || GetOptions::new().with_prefix();
    let got = client.get("kv/", Some(all().with_limit(2))).await?;
    println!(
        "two of all: {} {} {}",
        got.kvs().len(),
        got.count(),
        got.more()
    );
    let sorted = all().with_sort(SortTarget::Value, SortOrder::Descend);
    for it in client.get("kv/", Some(sorted)).await?.kvs() {
        println!("{:?}", shown(it, base));
    }
    let then = GetOptions::new()
        .with_range("kv0")
        .with_revision(base + 4)
        .with_keys_only();
    let got = client.get("kv/2", Some(then)).await?;
    println!(
        "keys then: {:?}",
        got.kvs()
            .iter()
            .map(|it| shown(it, base))
            .collect::<Vec<_>>()
    );
    let counted = client
        .get("kv/", Some(all().with_count_only().with_serializable()))
        .await?;
    println!("count: {} {}", counted.count(), counted.kvs().len());
    let between = all()
        .with_min_mod_revision(base + 2)
        .with_max_create_revision(base + 4);
    told(
        "between",
        client
            .get("kv/", Some(between))
            .await
            .map(|it| (it.kvs().len(), it.count())),
    );
    let options = DeleteOptions::new().with_range("kv/3").with_prev_key();
    let gone = client.delete("kv/1", Some(options)).await?;
    println!("deleted: {} {}", gone.deleted(), gone.prev_kvs().len());
    refused(client, base).await;
    Ok(())
}

async fn refused(client: &mut Client, base: i64) {
    told("no key", client.put("", "", None).await.map(drop));
    let later = GetOptions::new().with_revision(base + 1_000_000);
    told("future", client.get("kv/0", Some(later)).await.map(drop));
    let ignoring = PutOptions::new().with_ignore_value();
    told(
        "ignore value",
        client.put("kv/none", "", Some(ignoring)).await.map(drop),
    );
    let both = PutOptions::new().with_ignore_lease().with_lease(7);
    told(
        "ignore lease",
        client.put("kv/0", "", Some(both)).await.map(drop),
    );
    let leased = PutOptions::new().with_lease(77);
    told(
        "no lease",
        client.put("kv/none", "", Some(leased)).await.map(drop),
    );
}

pub(crate) async fn txn(client: &mut Client) -> Played {
    let base = first(client).await?;
    for (from, to) in [("new", "x"), ("new", "x"), ("new", "y")] {
        let is_new = Compare::create_revision("txn/a", CompareOp::Equal, 0);
        let make = Txn::new()
            .when([is_new])
            .and_then([TxnOp::put("txn/a", "new", None)]);
        let swap = Txn::new()
            .when([Compare::value("txn/a", CompareOp::Equal, from)])
            .and_then([
                TxnOp::put("txn/a", to, None),
                TxnOp::get("txn/", Some(GetOptions::new().with_prefix())),
            ])
            .or_else([TxnOp::get("txn/a", None), TxnOp::txn(make)]);
        let done = client.txn(swap).await?;
        println!(
            "swap {from} {to} {} {}",
            done.succeeded(),
            revision(done.header()) - base
        );
        for answer in done.op_responses() {
            println!("  {}", answered(&answer, base));
        }
    }
    let versions = Compare::version("txn/", CompareOp::Greater, 0).with_prefix();
    let older = Compare::mod_revision("txn/a", CompareOp::Less, base + 1);
    let unleased = Compare::lease("txn/a", CompareOp::NotEqual, 0);
    for compare in [versions, older, unleased] {
        let done = client
            .txn(
                Txn::new()
                    .when([compare])
                    .and_then([TxnOp::delete("txn/none", None)]),
            )
            .await;
        told("compared", done.map(|it| it.succeeded()));
    }
    let twice = [
        TxnOp::put("txn/d", "1", None),
        TxnOp::put("txn/d", "2", None),
    ];
    told(
        "twice",
        client.txn(Txn::new().and_then(twice)).await.map(drop),
    );
    let many: Vec<TxnOp> = (0..129)
        .map(|n| TxnOp::put(format!("txn/m{n}"), "", None))
        .collect();
    told(
        "many",
        client.txn(Txn::new().and_then(many)).await.map(drop),
    );
    Ok(())
}

fn answered(answer: &TxnOpResponse, base: i64) -> String {
    match answer {
        TxnOpResponse::Put(it) => format!("put {:?}", it.prev_key()),
        TxnOpResponse::Get(it) => format!(
            "get {:?}",
            it.kvs()
                .iter()
                .map(|it| shown(it, base))
                .collect::<Vec<_>>()
        ),
        TxnOpResponse::Delete(it) => format!("deleted {}", it.deleted()),
        TxnOpResponse::Txn(it) => format!("txn {} {}", it.succeeded(), it.op_responses().len()),
    }
}

/// The read that came with 3.7.
pub(crate) async fn stream(client: &mut Client) -> Played {
    for n in 0..20 {
        client
            .put(format!("stream/{n:02}"), "x".repeat(1000), None)
            .await?;
    }
    let all = GetOptions::new().with_prefix();
    let mut answers = client.kv_client().get_stream("stream/", Some(all)).await?;
    let (mut keys, mut count) = (Vec::new(), 0);
    while let Some(answer) = answers.message().await? {
        keys.extend(answer.kvs().iter().map(|it| utf8(it.key())));
        count = count.max(answer.count());
    }
    println!("streamed: {count} {keys:?}");
    Ok(())
}

pub(crate) async fn watch(client: &mut Client) -> Played {
    let base = first(client).await?;
    let options = WatchOptions::new()
        .with_prefix()
        .with_prev_key()
        .with_start_revision(base + 1);
    let mut events = client.watch("watch/", Some(options)).await?;
    let filtered = WatchOptions::new()
        .with_prefix()
        .with_filters([WatchFilterType::NoPut]);
    let mut deletions = client.watch("watch/", Some(filtered)).await?;
    let created = deletions.message().await?;
    println!(
        "created: {:?}",
        created.map(|it| (it.created(), it.events().len()))
    );
    for value in ["1", "2"] {
        client.put("watch/a", value, None).await?;
    }
    client.delete("watch/a", None).await?;
    client.put("watch/b", "3", None).await?;
    for event in next(&mut events, 4).await? {
        let before = event.prev_kv().map(|it| utf8(it.value()));
        println!(
            "{:?} {:?} {before:?}",
            event.event_type(),
            event.kv().map(|it| shown(it, base))
        );
    }
    for event in next(&mut deletions, 1).await? {
        println!("deletions: {:?}", event.event_type());
    }
    events.request_progress().await?;
    let progress = events.message().await?;
    println!(
        "progress: {:?}",
        progress.map(|it| (revision(it.header()) - base, it.events().len()))
    );
    // A second one on the same stream, by an id of its own.
    events
        .watch(
            "watch/c",
            Some(WatchOptions::new().with_watch_id(7).with_fragment()),
        )
        .await?;
    println!(
        "second: {:?}",
        events
            .message()
            .await?
            .map(|it| (it.created(), it.watch_id()))
    );
    events.cancel(7).await?;
    println!(
        "canceled: {:?}",
        events
            .message()
            .await?
            .map(|it| (it.canceled(), it.watch_id()))
    );
    Ok(())
}

/// So many events, in however many answers.
async fn next(stream: &mut WatchStream, wanted: usize) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    while events.len() < wanted {
        let answer = stream
            .message()
            .await?
            .ok_or_else(|| Error::WatchError("the stream has ended".to_owned()))?;
        events.extend_from_slice(answer.events());
    }
    Ok(events)
}

pub(crate) async fn compaction(client: &mut Client) -> Played {
    let base = first(client).await?;
    for _ in 0..3 {
        client.put("compaction", "", None).await?;
    }
    let physical = CompactionOptions::new().with_physical();
    told(
        "compacted",
        client.compact(base + 2, Some(physical)).await.map(drop),
    );
    told("again", client.compact(base + 2, None).await.map(drop));
    told(
        "future",
        client.compact(base + 1_000_000, None).await.map(drop),
    );
    let before = GetOptions::new().with_revision(base + 1);
    told(
        "before",
        client.get("compaction", Some(before)).await.map(drop),
    );
    let mut lost = client
        .watch(
            "compaction",
            Some(WatchOptions::new().with_start_revision(base + 1)),
        )
        .await?;
    while let Some(answer) = lost.message().await? {
        println!(
            "watch: {} {} {}",
            answer.created(),
            answer.canceled(),
            answer.compact_revision() - base
        );
        if answer.canceled() {
            break;
        }
    }
    Ok(())
}
