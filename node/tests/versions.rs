//! The cluster's version: agreed on by all members, lowered by a downgrade, and refused in etcd's words.

mod lab;

use lab::{Lab, Member, eventually};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::downgrade_request::DowngradeAction::{self, Cancel, Enable, Validate};
use quorate_node::version::served;
use tonic::Code;

async fn downgrade(
    member: &Member,
    action: DowngradeAction,
    version: &str,
) -> Result<String, (Code, String)> {
    let request = pb::DowngradeRequest {
        action: action.into(),
        version: version.to_owned(),
    };
    let answer = member.maintenance().downgrade(request).await;
    match answer {
        Ok(answer) => Ok(answer.into_inner().version),
        Err(status) => Err((status.code(), status.message().to_owned())),
    }
}

async fn all_say(members: &[Member], version: &str, target: &str) {
    for member in members {
        eventually("a member says the version", async || {
            let status = member.status().await.map_err(|error| error.to_string())?;
            let said = status.downgrade_info.unwrap_or_default();
            let is_so = (
                status.storage_version.as_str(),
                said.target_version.as_str(),
            ) == (version, target)
                && said.enabled != target.is_empty();
            is_so.then_some(()).ok_or(format!(
                "{} on its way to {:?}",
                status.storage_version, said.target_version
            ))
        })
        .await;
    }
}

#[tokio::test]
async fn a_cluster_agrees_on_its_version_and_is_downgraded_by_one_minor() {
    let mut lab = Lab::new();
    let members = lab.cluster(&["a", "b", "c"], &[]).await;
    let now = served();
    let older = now.one_down().expect("there is an older minor");
    let (now_text, older_text) = (format!("{now}.0"), format!("{older}.0"));
    let solo = &members[0];
    eventually("the version is decided", async || {
        let answer = downgrade(solo, Validate, &older.to_string()).await;
        answer.map_err(|refusal| format!("{refusal:?}"))
    })
    .await;
    all_say(&members, &now_text, "").await;
    let bad = |what: &str| Err((Code::InvalidArgument, format!("etcdserver: {what}")));
    let no_target = bad("invalid downgrade target version");
    assert_eq!(downgrade(solo, Validate, &now_text).await, no_target);
    assert_eq!(downgrade(solo, Enable, "3.1.0").await, no_target);
    let no_version = bad("wrong downgrade target version format");
    assert_eq!(downgrade(solo, Validate, "x").await, no_version);
    assert_eq!(downgrade(solo, Cancel, "").await, Ok(now.to_string()));

    let enabled = downgrade(&members[1], Enable, &older_text).await;
    assert_eq!(enabled, Ok(now.to_string()));
    all_say(&members, &older_text, &older_text).await;
    let under_way = downgrade(solo, Enable, &older_text).await;
    assert_eq!(under_way, no_target, "the version is that one already");
    assert_eq!(
        downgrade(solo, Cancel, "").await,
        Ok(older.to_string()),
        "and then it rises again"
    );
    all_say(&members, &now_text, "").await;
}
