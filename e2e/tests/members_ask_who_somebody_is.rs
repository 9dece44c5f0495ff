//! Promise: authentication begins and ends while a cluster serves. In between whoever is nobody is served nothing, `root` has the password
//! that its Secret has now, a user may do what its roles say and nothing else, and members are replaced, added and rolled as ever.

use anyhow::{Context, Result, ensure};
use crds::{RaftRole, RaftUser};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use proto::etcdserverpb::AuthenticateRequest;
use proto::etcdserverpb::auth_client::AuthClient;
use serde_json::{Value, json};
use tonic::transport::Channel;
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
/// The Secret with the password of the reader.
const READER: &str = "guarded-reader";

e2e::on_each_engine!(members_ask_who_somebody_is);

async fn members_ask_who_somebody_is(engine: Engine) -> Result<()> {
    let lab = Lab::start("authentication", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let urls = lab.secured_endpoints(&name).await?;
    let shown = lab.shown(&name).await?;
    declare(&lab, &name).await?;
    stands(&lab, "reader", "AuthNotEnabled").await?;
    let traffic = Traffic::start_secured(Mix::default(), urls, shown);
    traffic.flows(50, PATIENCE).await?;

    password(&lab, ROOT, "root", "first").await?;
    let on = json!({ "auth": { "rootSecretName": ROOT } });
    lab.change(&name, &traffic, "authentication begins", on)
        .await?;
    nobody_is_served(&lab, &name).await?;
    is_password_of_root(&lab, &name, "first").await?;
    password(&lab, ROOT, "root", "second").await?;
    is_password_of_root(&lab, &name, "second").await?;

    reader_has_its_rights(&lab, &name).await?;
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

/// The application, whom its certificate names, and somebody with a password.
async fn declare(lab: &Lab, name: &str) -> Result<()> {
    let all = json!([{ "type": "ReadWrite", "prefix": "traffic/" }]);
    role(lab, name, "writer", all).await?;
    let some =
        json!([{ "type": "Read", "prefix": "traffic/" }, { "type": "Write", "key": "mine" }]);
    role(lab, name, "reader", some).await?;
    let certificate = json!({ "noPassword": true, "roles": ["writer"] });
    user(lab, name, name, certificate).await?;
    password(lab, READER, "reader", "known").await?;
    let password = json!({ "passwordSecretRef": { "name": READER }, "roles": ["reader"] });
    user(lab, name, "reader", password).await
}

async fn role(lab: &Lab, cluster: &str, name: &str, permissions: Value) -> Result<()> {
    let role = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "RaftRole", "metadata": { "name": name },
        "spec": { "clusterName": cluster, "permissions": permissions },
    });
    let roles: Api<RaftRole> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let by = PatchParams::apply("test");
    roles.patch(name, &by, &Patch::Apply(role)).await?;
    Ok(())
}

async fn user(lab: &Lab, cluster: &str, name: &str, spec: Value) -> Result<()> {
    let mut user = json!({
        "apiVersion": "quorate.io/v1alpha1", "kind": "RaftUser", "metadata": { "name": name },
        "spec": { "clusterName": cluster },
    });
    json_patch::merge(&mut user["spec"], &spec);
    let users: Api<RaftUser> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let by = PatchParams::apply("test");
    users.patch(name, &by, &Patch::Apply(user)).await?;
    Ok(())
}

/// Waits until a user stands so, for the spec that it has now.
async fn stands(lab: &Lab, name: &str, reason: &str) -> Result<()> {
    let users: Api<RaftUser> = Api::namespaced(lab.client().clone(), NAMESPACE);
    wait::until(format!("{name} to be {reason}"), PATIENCE, async || {
        let user = users.get(name).await.map_err(|it| it.to_string())?;
        let status = user.status.unwrap_or_default();
        let is = status.observed_generation == user.metadata.generation
            && status.conditions.iter().any(|it| it.reason == reason);
        is.then_some(()).ok_or_else(|| format!("{status:?}"))
    })
    .await?;
    Ok(())
}

/// The reader reads, writes its own key, and nothing else; what is taken from its role, from it and of it is gone.
async fn reader_has_its_rights(lab: &Lab, name: &str) -> Result<()> {
    stands(lab, "reader", "InForce").await?;
    let token = token(lab, name, "reader", "known").await?;
    let mut client = somebody(lab, name).await?;
    client.get_as(&token, "traffic/a").await?;
    client.put_as(&token, "mine").await?;
    is_refused(client.put_as(&token, "traffic/a").await)?;
    is_refused(client.get_as(&token, "other").await)?;

    let less = json!([{ "type": "Read", "prefix": "traffic/once/" }]);
    role(lab, name, "reader", less).await?;
    wait::until("the role to be narrower", PATIENCE, async || {
        let answer = client.get_as(&token, "traffic/a").await;
        is_refused(answer).map_err(|it| it.to_string())
    })
    .await?;
    client.get_as(&token, "traffic/once/a").await?;
    is_refused(client.put_as(&token, "mine").await)?;

    password(lab, READER, "reader", "changed").await?;
    let token = self::token(lab, name, "reader", "changed").await?;
    client.get_as(&token, "traffic/once/a").await?;
    let none = json!({ "passwordSecretRef": { "name": READER }, "roles": ["none"] });
    user(lab, name, "reader", none).await?;
    stands(lab, "reader", "RoleMissing").await?;
    is_refused(client.get_as(&token, "traffic/once/a").await)?;

    let users: Api<RaftUser> = Api::namespaced(lab.client().clone(), NAMESPACE);
    users.delete("reader", &DeleteParams::default()).await?;
    wait::until("the user to be gone", PATIENCE, async || {
        let auth = somebody(lab, name)
            .await
            .map_err(|it| it.to_string())?
            .auth();
        let entered = enter(auth, "reader", "changed").await;
        entered.map_or(Ok(()), |_| Err("it is let in".to_owned()))
    })
    .await?;
    Ok(())
}

/// Puts a password into the Secret.
async fn password(lab: &Lab, secret: &str, user: &str, password: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.into()));
    let data = Some([entry("username", user), entry("password", password)].into());
    if secrets.get_opt(secret).await?.is_some() {
        let change = Patch::Merge(json!({ "data": data }));
        secrets
            .patch(secret, &PatchParams::default(), &change)
            .await?;
        return Ok(());
    }
    let metadata = ObjectMeta {
        name: Some(secret.to_owned()),
        ..ObjectMeta::default()
    };
    let made = Secret {
        metadata,
        data,
        type_: Some("kubernetes.io/basic-auth".to_owned()),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &made).await?;
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
    let token = token(lab, name, "root", password).await?;
    let mut client = somebody(lab, name).await?;
    client.put_as(&token, "elsewhere").await?;
    ensure!(enter(client.auth(), "root", "another").await.is_err());
    Ok(())
}

/// Waits until a user is let in with this password.
async fn token(lab: &Lab, name: &str, user: &str, password: &str) -> Result<String> {
    let found = wait::until(format!("{password} to be in force"), PATIENCE, async || {
        let client = somebody(lab, name).await.map_err(|it| it.to_string())?;
        let entered = enter(client.auth(), user, password).await;
        entered.map_err(|it| it.to_string())
    });
    Ok(found.await?)
}

async fn enter(
    mut auth: AuthClient<Channel>,
    user: &str,
    password: &str,
) -> Result<String, Status> {
    let request = AuthenticateRequest {
        name: user.to_owned(),
        password: password.to_owned(),
    };
    Ok(auth.authenticate(request).await?.into_inner().token)
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
