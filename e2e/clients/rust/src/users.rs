//! Users and roles. The last scene: it leaves authentication as it was.

use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, Permission, PermissionType,
    RoleRevokePermissionOptions, UserAddOptions,
};

use crate::{Played, told};

pub(crate) async fn auth(client: &mut Client, endpoints: &[String]) -> Played {
    told(
        "not on",
        client
            .auth_client()
            .authenticate("root".to_owned(), "secret".to_owned())
            .await
            .map(drop),
    );
    for name in ["root", "reader"] {
        told(
            "user",
            client.user_add(name, "secret", None).await.map(drop),
        );
        told("role", client.role_add(name).await.map(drop));
        told(
            "granted",
            client.user_grant_role(name, name).await.map(drop),
        );
    }
    told(
        "by certificate",
        client
            .user_add("cn", "", Some(UserAddOptions::new().with_no_pwd()))
            .await
            .map(drop),
    );
    told("twice", client.user_add("reader", "", None).await.map(drop));
    let all = Permission::new(PermissionType::Read, "auth/").with_prefix();
    told(
        "permitted",
        client.role_grant_permission("reader", all).await.map(drop),
    );
    let one = Permission::read_write("auth/mine");
    told(
        "permitted",
        client.role_grant_permission("reader", one).await.map(drop),
    );
    listed(client).await;
    told("enabled", client.auth_enable().await.map(drop));
    told("nobody", client.get("auth/a", None).await.map(drop));
    let mut root = signed_in(endpoints, "root", "secret").await?;
    told(
        "wrong password",
        signed_in(endpoints, "reader", "guess").await.map(drop),
    );
    told("root puts", root.put("auth/a", "1", None).await.map(drop));
    reads(&mut root, endpoints).await?;
    undone(&mut root).await;
    told("disabled", root.auth_disable().await.map(drop));
    Ok(())
}

async fn signed_in(endpoints: &[String], name: &str, password: &str) -> Result<Client, Error> {
    Client::connect(
        endpoints,
        Some(ConnectOptions::new().with_user(name, password)),
    )
    .await
}

async fn listed(client: &mut Client) {
    let role = client.role_get("reader").await;
    let shown = |it: Permission| {
        (
            it.get_type(),
            it.key_str().map(str::to_owned).ok(),
            it.is_prefix(),
        )
    };
    told(
        "role",
        role.map(|it| it.permissions().into_iter().map(shown).collect::<Vec<_>>()),
    );
    told(
        "roles",
        client.role_list().await.map(|it| it.roles().to_vec()),
    );
    told(
        "users",
        client.user_list().await.map(|it| it.users().to_vec()),
    );
    told(
        "user",
        client
            .user_get("reader")
            .await
            .map(|it| it.roles().to_vec()),
    );
}

async fn reads(root: &mut Client, endpoints: &[String]) -> Played {
    let mut reader = signed_in(endpoints, "reader", "secret").await?;
    let all = || Some(GetOptions::new().with_prefix());
    told(
        "reader gets",
        reader.get("auth/", all()).await.map(|it| it.count()),
    );
    told("gets too much", reader.get("auth", all()).await.map(drop));
    told(
        "puts what is not its own",
        reader.put("auth/a", "2", None).await.map(drop),
    );
    told(
        "puts its own",
        reader.put("auth/mine", "2", None).await.map(drop),
    );
    told(
        "adds a user",
        reader.user_add("other", "x", None).await.map(drop),
    );
    told(
        "password",
        root.user_change_password("reader", "another")
            .await
            .map(drop),
    );
    let user = ("reader".to_owned(), "another".to_owned());
    told("signs in anew", reader.update_user(Some(user)).await);
    told(
        "reader gets",
        reader.get("auth/", all()).await.map(|it| it.count()),
    );
    let range = RoleRevokePermissionOptions::new().with_prefix();
    told(
        "forbidden",
        root.role_revoke_permission("reader", "auth/", Some(range))
            .await
            .map(drop),
    );
    told(
        "reader gets none",
        reader.get("auth/", all()).await.map(drop),
    );
    Ok(())
}

async fn undone(root: &mut Client) {
    told(
        "role taken",
        root.user_revoke_role("reader", "reader").await.map(drop),
    );
    told(
        "taken again",
        root.user_revoke_role("reader", "reader").await.map(drop),
    );
    told("role deleted", root.role_delete("reader").await.map(drop));
    told("user deleted", root.user_delete("reader").await.map(drop));
    told("no such user", root.user_delete("reader").await.map(drop));
    told("root stays", root.user_delete("root").await.map(drop));
}
