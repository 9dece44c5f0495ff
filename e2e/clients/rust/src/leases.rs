//! What hangs on a lease: keys, locks, elections.

use etcd_client::{
    Client, Error, EventType, GetOptions, LeaderKey, LeaseGrantOptions, LeaseTimeToLiveOptions,
    LockOptions, ProclaimOptions, PutOptions, ResignOptions,
};

use crate::{Played, told, utf8};

pub(crate) async fn lease(client: &mut Client) -> Played {
    let granted = client
        .lease_grant(60, Some(LeaseGrantOptions::new().with_id(4711)))
        .await?;
    println!(
        "granted: {} {} {:?}",
        granted.id(),
        granted.ttl(),
        granted.error()
    );
    let again = client
        .lease_grant(60, Some(LeaseGrantOptions::new().with_id(4711)))
        .await;
    told("again", again.map(drop));
    told(
        "too long",
        client.lease_grant(10_000_000_000, None).await.map(drop),
    );
    for key in ["lease/a", "lease/b"] {
        told(
            "attached",
            client
                .put(key, "", Some(PutOptions::new().with_lease(4711)))
                .await
                .map(drop),
        );
    }
    lives_and_ends(client).await?;
    expires(client).await
}

async fn lives_and_ends(client: &mut Client) -> Played {
    let (mut keeper, mut alive) = client.lease_keep_alive(4711).await?;
    keeper.keep_alive().await?;
    println!(
        "alive: {:?}",
        alive.message().await?.map(|it| (it.id(), it.ttl()))
    );
    let left = client
        .lease_time_to_live(4711, Some(LeaseTimeToLiveOptions::new().with_keys()))
        .await?;
    // etcd gives them in no order.
    let mut keys: Vec<String> = left.keys().iter().map(|it| utf8(it)).collect();
    keys.sort();
    println!("keys: {keys:?} of {}", left.granted_ttl());
    println!(
        "leases: {:?}",
        client
            .leases()
            .await?
            .leases()
            .iter()
            .map(|it| it.id())
            .collect::<Vec<_>>()
    );
    told("revoked", client.lease_revoke(4711).await.map(drop));
    keeper.keep_alive().await?;
    println!(
        "gone: {:?}",
        alive.message().await?.map(|it| (it.id(), it.ttl()))
    );
    let under = client
        .get("lease/", Some(GetOptions::new().with_prefix()))
        .await;
    told("left", under.map(|it| it.count()));
    told(
        "keep alive without",
        client.lease_keep_alive(4711).await.map(drop),
    );
    told(
        "left of none",
        client
            .lease_time_to_live(4711, None)
            .await
            .map(|it| (it.ttl(), it.granted_ttl())),
    );
    told("revoke none", client.lease_revoke(4711).await.map(drop));
    Ok(())
}

async fn expires(client: &mut Client) -> Played {
    let brief = client.lease_grant(1, None).await?.id();
    let mut events = client.watch("lease/brief", None).await?;
    client
        .put("lease/brief", "", Some(PutOptions::new().with_lease(brief)))
        .await?;
    while let Some(answer) = events.message().await? {
        if answer
            .events()
            .iter()
            .any(|it| it.event_type() == EventType::Delete)
        {
            println!("expired");
            break;
        }
    }
    Ok(())
}

pub(crate) async fn lock(client: &mut Client) -> Played {
    let [one, other] = [
        client.lease_grant(30, None).await?.id(),
        client.lease_grant(30, None).await?.id(),
    ];
    let held = client
        .lock("lock", Some(LockOptions::new().with_lease(one)))
        .await?;
    let key = held.key().to_vec();
    println!("locked below: {}", key.starts_with(b"lock/"));
    let again = client
        .lock("lock", Some(LockOptions::new().with_lease(one)))
        .await;
    told("again", again.map(|it| it.key() == key));
    let mut beside = client.clone();
    let waits = tokio::spawn(async move {
        beside
            .lock("lock", Some(LockOptions::new().with_lease(other)))
            .await
    });
    // Until the second waits too.
    while client
        .get("lock/", Some(GetOptions::new().with_prefix()))
        .await?
        .count()
        < 2
    {}
    println!("the other waits: {}", !waits.is_finished());
    told("unlocked", client.unlock(key).await.map(drop));
    let second = waits.await.map_err(|it| Error::Internal(it.to_string()))?;
    told("the other", second.map(|it| it.key().starts_with(b"lock/")));
    told("session ends", client.lease_revoke(other).await.map(drop));
    let brief = client.lock("lock", None).await;
    told(
        "without a lease",
        brief.map(|it| it.key().starts_with(b"lock/")),
    );
    told(
        "no such lease",
        client
            .lock("lock", Some(LockOptions::new().with_lease(77)))
            .await
            .map(drop),
    );
    told(
        "no name",
        client
            .lock("", Some(LockOptions::new().with_lease(one)))
            .await
            .map(drop),
    );
    told("unlock none", client.unlock("lock/none").await.map(drop));
    Ok(())
}

pub(crate) async fn election(client: &mut Client) -> Played {
    told("nobody", client.leader("election").await.map(drop));
    let [one, other] = [
        client.lease_grant(30, None).await?.id(),
        client.lease_grant(30, None).await?.id(),
    ];
    let won = client.campaign("election", "one", one).await?;
    let leader = won.leader().cloned().unwrap_or_default();
    println!("won: {} {}", utf8(leader.name()), leader.lease() == one);
    // etcd answers who observes only once somebody leads.
    let mut seen = client.observe("election").await?;
    observed(seen.message().await?.as_ref().and_then(|it| it.kv()));
    proclaimed(client, &leader, "one again").await;
    observed(seen.message().await?.as_ref().and_then(|it| it.kv()));
    let mut beside = client.clone();
    let waits = tokio::spawn(async move { beside.campaign("election", "two", other).await });
    while client
        .get("election/", Some(GetOptions::new().with_prefix()))
        .await?
        .count()
        < 2
    {}
    told(
        "resigned",
        client
            .resign(Some(ResignOptions::new().with_leader(leader.clone())))
            .await
            .map(drop),
    );
    let second = waits.await.map_err(|it| Error::Internal(it.to_string()))?;
    told(
        "second",
        second.map(|it| it.leader().is_some_and(|it| it.lease() == other)),
    );
    observed(seen.message().await?.as_ref().and_then(|it| it.kv()));
    proclaimed(client, &leader, "late").await;
    observed(client.leader("election").await?.kv());
    told("no leader given", client.resign(None).await.map(drop));
    told(
        "no such lease",
        client.campaign("election", "three", 77).await.map(drop),
    );
    Ok(())
}

async fn proclaimed(client: &mut Client, leader: &LeaderKey, value: &str) {
    let options = ProclaimOptions::new().with_leader(leader.clone());
    told(
        "proclaimed",
        client.proclaim(value, Some(options)).await.map(drop),
    );
}

fn observed(leader: Option<&etcd_client::KeyValue>) {
    println!("observed: {:?}", leader.map(|it| utf8(it.value())));
}
