//! Promise: authentication begins and ends while a cluster serves. In between whoever is nobody is served nothing, `root` has the password
//! that its Secret has now, and members are replaced, added and rolled as ever.

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::secured::{Papers, Shown};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use proto::authpb::permission::Type;
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, AuthenticateRequest,
};
use serde_json::json;
use tonic::{Code, Status};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: guarded }
spec:
  replicas: 3
  storage: { size: 1Gi }
  tls:
    client: { mode: Operator, plaintext: Allowed }
";

/// The Secret with the password of `root`.
const ROOT: &str = "guarded-root";

e2e::on_each_engine!(members_ask_who_somebody_is);

async fn members_ask_who_somebody_is(engine: Engine) -> Result<()> {
    let lab = Lab::start("authentication", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let urls = lab.secured_endpoints(&name).await?;
    let shown = lab.shown(&name).await?;
    application(&mut root(&lab, &name).await?.client(&urls[0]).await?, &name).await?;
    let traffic = Traffic::start_secured(Mix::default(), urls, shown);
    traffic.flows(50, PATIENCE).await?;

    password(&lab, "first").await?;
    let on = json!({ "auth": { "rootSecretName": ROOT } });
    lab.change(&name, &traffic, "authentication begins", on)
        .await?;
    nobody_is_served(&lab, &name).await?;
    is_password_of_root(&lab, &name, "first").await?;
    password(&lab, "second").await?;
    is_password_of_root(&lab, &name, "second").await?;

    let spec = json!({ "replicas": 4, "image": lab.engine().next_image() });
    lab.change(&name, &traffic, "scale and roll with authentication", spec)
        .await?;
    replace_one(&lab, &name, &traffic).await?;
    nobody_is_served(&lab, &name).await?;
    is_password_of_root(&lab, &name, "second").await?;

    lab.change(
        &name,
        &traffic,
        "authentication ends",
        json!({ "auth": null }),
    )
    .await?;
    somebody(&lab, &name).await?.put_all(vec![]).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// What the operator shows.
async fn root(lab: &Lab, name: &str) -> Result<Shown> {
    let secrets: Api<Secret> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let mut secret = secrets.get(&format!("{name}-server-tls")).await?;
    let entries = secret.data.get_or_insert_default();
    for kind in ["crt", "key"] {
        let own = entries.get(&format!("operator.{kind}"));
        let own = own.context("the operator has no certificate")?.clone();
        entries.insert(format!("tls.{kind}"), own);
    }
    Shown::of(&Papers::of(&secret, format!("{name}.{NAMESPACE}.svc"))?)
}

/// Makes the application a user, whom its certificate names.
async fn application(client: &mut Client, name: &str) -> Result<()> {
    let mut auth = client.auth();
    let role = "writer".to_owned();
    auth.role_add(AuthRoleAddRequest { name: role.clone() })
        .await?;
    let all = Permission {
        perm_type: Type::Readwrite.into(),
        key: "traffic/".into(),
        range_end: "traffic0".into(),
    };
    auth.role_grant_permission(AuthRoleGrantPermissionRequest {
        name: role.clone(),
        perm: Some(all),
    })
    .await?;
    auth.user_add(AuthUserAddRequest {
        name: name.to_owned(),
        options: Some(UserAddOptions { no_password: true }),
        ..AuthUserAddRequest::default()
    })
    .await?;
    let user = name.to_owned();
    auth.user_grant_role(AuthUserGrantRoleRequest { user, role })
        .await?;
    Ok(())
}

/// Puts a password into the Secret.
async fn password(lab: &Lab, password: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.into()));
    let data = Some([entry("username", "root"), entry("password", password)].into());
    if secrets.get_opt(ROOT).await?.is_some() {
        let change = Patch::Merge(json!({ "data": data }));
        secrets
            .patch(ROOT, &PatchParams::default(), &change)
            .await?;
        return Ok(());
    }
    let metadata = ObjectMeta {
        name: Some(ROOT.to_owned()),
        ..ObjectMeta::default()
    };
    let secret = Secret {
        metadata,
        data,
        type_: Some("kubernetes.io/basic-auth".to_owned()),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// A client that shows nothing.
async fn somebody(lab: &Lab, name: &str) -> Result<Client> {
    let urls = lab.endpoints(name).await?;
    Ok(Client::connect(urls.first().context("a member")?).await?)
}

async fn nobody_is_served(lab: &Lab, name: &str) -> Result<()> {
    let refused = somebody(lab, name).await?.put_as("", "traffic/a").await;
    is_refused(refused)?;
    let refused = somebody(lab, name).await?.under("traffic/").await;
    is_refused(refused.map(drop))
}

fn is_refused(answer: Result<(), Status>) -> Result<()> {
    let Err(status) = answer else {
        anyhow::bail!("nobody was served");
    };
    let codes = [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::PermissionDenied,
    ];
    ensure!(codes.contains(&status.code()), "{status:?}");
    Ok(())
}

/// Waits until `root` is let in with this password, and with it alone.
async fn is_password_of_root(lab: &Lab, name: &str, password: &str) -> Result<()> {
    let found = wait::until(format!("{password} to be in force"), PATIENCE, async || {
        let client = somebody(lab, name).await.map_err(|it| it.to_string())?;
        let request = |password: &str| AuthenticateRequest {
            name: "root".to_owned(),
            password: password.to_owned(),
        };
        let token = client.auth().authenticate(request(password)).await;
        token
            .map(|it| it.into_inner().token)
            .map_err(|it| it.to_string())
    });
    let token = found.await?;
    let mut client = somebody(lab, name).await?;
    client.put_as(&token, "elsewhere").await?;
    let wrong = AuthenticateRequest {
        name: "root".to_owned(),
        password: "another".to_owned(),
    };
    ensure!(client.auth().authenticate(wrong).await.is_err());
    Ok(())
}

/// Deletes a `RaftMember`, and waits until another stands in its place.
async fn replace_one(lab: &Lab, name: &str, traffic: &Traffic) -> Result<()> {
    let members = lab.raft_members().list(&ListParams::default()).await?.items;
    let gone = members[0].metadata.name.clone().unwrap_or_default();
    let now = DeleteParams::default();
    lab.raft_members().delete(&gone, &now).await?;
    let replaced = async {
        wait::until(format!("{gone} to be replaced"), PATIENCE, async || {
            let cluster = lab.clusters().get(name).await;
            let cluster = cluster.map_err(|it| it.to_string())?;
            let status = cluster.status.clone().unwrap_or_default();
            let there = status.members.iter().any(|it| it.name == gone);
            if e2e::lab::is_ready(&cluster) && !there {
                Ok(())
            } else {
                Err(e2e::lab::told(&cluster))
            }
        })
        .await
    };
    tokio::select! {
        done = replaced => done?,
        followed = lab.follow(name, traffic) => followed?,
    }
    traffic.use_endpoints(lab.secured_endpoints(name).await?);
    Ok(traffic.flows(50, PATIENCE).await?)
}
