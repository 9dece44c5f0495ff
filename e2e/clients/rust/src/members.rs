//! Members of the cluster, and what keeps each of them going.

use etcd_client::{AlarmAction, AlarmType, Client, DowngradeOptions, MemberAddOptions};

use crate::{Played, first, told};

const SOMEWHERE: &str = "http://127.0.0.1:1";

pub(crate) async fn cluster(client: &mut Client) -> Played {
    let listed = client.member_list().await?;
    for it in listed.members() {
        println!(
            "{:?} {} {} {}",
            it.name(),
            it.peer_urls().len(),
            it.client_urls().len(),
            it.is_learner()
        );
    }
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add([SOMEWHERE], Some(learner)).await?;
    println!("added: {}", added.member_list().len());
    let id = added.member().map_or(0, |it| it.id());
    let listed = client.member_list().await?;
    for it in listed.members().iter().filter(|it| it.id() == id) {
        println!(
            "{:?} {:?} {:?} {}",
            it.name(),
            it.peer_urls(),
            it.client_urls(),
            it.is_learner()
        );
    }
    told("no URL", client.member_add([""], None).await.map(drop));
    told("promoted", client.member_promote(id).await.map(drop));
    told("promote none", client.member_promote(7).await.map(drop));
    let moved = client
        .member_update(id, ["http://127.0.0.1:2".to_owned()])
        .await;
    told("moved", moved.map(|it| it.members().len()));
    told(
        "update none",
        client
            .member_update(7, [SOMEWHERE.to_owned()])
            .await
            .map(drop),
    );
    told("to a learner", client.move_leader(id).await.map(drop));
    told(
        "removed",
        client.member_remove(id).await.map(|it| it.members().len()),
    );
    told("remove none", client.member_remove(7).await.map(drop));
    told("to none", client.move_leader(7).await.map(drop));
    Ok(())
}

pub(crate) async fn maintenance(client: &mut Client) -> Played {
    let base = first(client).await?;
    let status = client.status().await?;
    println!(
        "status: {} {}",
        status.version().starts_with("3.7."),
        status.storage_version()
    );
    println!("leads: {} {}", status.leader() != 0, status.is_learner());
    println!(
        "applied: {}",
        status.raft_index() >= status.raft_applied_index()
    );
    println!(
        "sizes: {} {}",
        status.db_size() >= status.raft_used_db_size(),
        status.db_size_quota()
    );
    println!("errors: {:?}", status.errors());
    let downgrade = status
        .downgrade_info()
        .map(|it| (it.enabled(), it.target_version().to_owned()));
    println!("downgrade: {downgrade:?}");
    told("defragmented", client.defragment().await.map(drop));
    told("hash", client.hash().await.map(|it| it.hash() != 0));
    let hashed = client.hash_kv(0).await;
    told(
        "hash of keys",
        hashed.map(|it| (it.hash() != 0, it.hash_revision() - base)),
    );
    told(
        "hash of later keys",
        client.hash_kv(base + 1_000_000).await.map(drop),
    );
    snapshot(client).await?;
    let mut more = client.maintenance_client();
    for version in ["3.6.0", "3.5.0", "none"] {
        let validated = more
            .downgrade(DowngradeOptions::Validate(version.to_owned()))
            .await;
        told("validated", validated.map(|it| it.version().to_owned()));
    }
    told(
        "nothing to cancel",
        more.downgrade(DowngradeOptions::Cancel).await.map(drop),
    );
    Ok(())
}

/// It is a file of whole sectors, and a SHA-256 of them.
async fn snapshot(client: &mut Client) -> Played {
    let mut parts = client.snapshot().await?;
    let (mut size, mut left, mut version) = (0, u64::MAX, String::new());
    while let Some(part) = parts.message().await? {
        size += part.blob().len();
        left = part.remaining_bytes();
        part.version().clone_into(&mut version);
    }
    println!(
        "snapshot: {} {left} {}",
        size % 512,
        version.starts_with("3.7.")
    );
    Ok(())
}

pub(crate) async fn alarm(client: &mut Client) -> Played {
    let none = client
        .alarm(AlarmAction::Get, AlarmType::None, None)
        .await?;
    println!("alarms: {}", none.alarms().len());
    let raised = client
        .alarm(AlarmAction::Activate, AlarmType::Nospace, None)
        .await;
    told(
        "raised",
        raised.map(|it| it.alarms().iter().map(|it| it.alarm()).collect::<Vec<_>>()),
    );
    told("full", client.put("alarm", "", None).await.map(drop));
    told(
        "deleted",
        client.delete("alarm", None).await.map(|it| it.deleted()),
    );
    let now = client
        .alarm(AlarmAction::Get, AlarmType::None, None)
        .await?;
    println!(
        "alarms: {:?}",
        now.alarms()
            .iter()
            .map(|it| (it.member_id(), it.alarm()))
            .collect::<Vec<_>>()
    );
    let status = client.status().await?;
    println!("errors: {:?}", status.errors());
    let cleared = client
        .alarm(AlarmAction::Deactivate, AlarmType::Nospace, None)
        .await;
    told("cleared", cleared.map(|it| it.alarms().len()));
    told("again", client.put("alarm", "", None).await.map(drop));
    Ok(())
}
