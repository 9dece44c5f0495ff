//! Users, roles and calls with the rights of somebody.

use rand::Rng;
use serde_json::{Value, json};

use super::super::text::Action;
use super::Made;

const USERS: &[&str] = &["u1", "u2", "u3", "root", ""];
const ROLES: &[&str] = &["r1", "r2", "root", ""];
const PASSWORDS: &[&str] = &["p", "q", ""];
/// The one of root, whenever users count.
const OF_ROOT: &str = "p";
/// What rights are given on, each key with one end only: of several with one key etcd overlooks all but the first when it is
/// given again.
const RANGES: &[(&str, &str)] = &[
    ("a", ""),
    ("a\u{0}", "c"),
    ("ab", "a"),
    ("b", "z"),
    ("c", "\u{0}"),
    ("k1", ""),
    ("k2", "k4"),
    ("\u{0}", "\u{0}"),
    ("", ""),
    ("", "z"),
];

impl Made {
    pub(super) fn auth_request(&mut self) {
        let (user, role) = (self.one_of(USERS), self.one_of(ROLES));
        let password = self.one_of(PASSWORDS);
        match self.chance.random_range(0..100) {
            0..14 => self.user_add(user, password),
            14..24 => self.ask("Auth.UserGet", json!({ "name": user })),
            24..28 => self.ask("Auth.UserList", json!({})),
            28..34 => self.ask("Auth.UserDelete", json!({ "name": user })),
            34..40 if user != "root" => self.ask(
                "Auth.UserChangePassword",
                json!({ "name": user, "password": password }),
            ),
            34..50 => self.ask("Auth.UserGrantRole", json!({ "user": user, "role": role })),
            50..57 => self.ask("Auth.UserRevokeRole", json!({ "name": user, "role": role })),
            57..65 => self.ask("Auth.RoleAdd", json!({ "name": role })),
            65..71 => self.ask("Auth.RoleGet", json!({ "role": role })),
            71..74 => self.ask("Auth.RoleList", json!({})),
            74..78 => self.ask("Auth.RoleDelete", json!({ "role": role })),
            78..90 => self.role_grant(role),
            90..94 => self.role_revoke(role),
            94..96 => self.ask("Auth.AuthStatus", json!({})),
            _ => self.ask(
                "Auth.Authenticate",
                json!({ "name": user, "password": password }),
            ),
        }
    }

    fn user_add(&mut self, user: &str, password: &str) {
        let mut add = json!({ "name": user, "password": password });
        if user == "root" {
            add["password"] = json!(OF_ROOT);
        } else if self.rarely() {
            add["options"] = json!({ "no_password": true });
        }
        self.ask("Auth.UserAdd", add);
    }

    fn role_grant(&mut self, role: &str) {
        let (key, end) = self.one_of(RANGES);
        let perm = json!({ "permType": self.up_to(3), "key": key, "range_end": end });
        let mut grant = json!({ "name": role });
        if !self.rarely() {
            grant["perm"] = perm;
        }
        self.ask("Auth.RoleGrantPermission", grant);
    }

    fn role_revoke(&mut self, role: &str) {
        let ((key, _), (_, other)) = (self.one_of(RANGES), self.one_of(RANGES));
        let (key, end) = if self.rarely() {
            (key, other)
        } else {
            self.one_of(RANGES)
        };
        self.ask(
            "Auth.RoleRevokePermission",
            json!({ "role": role, "key": key, "range_end": end }),
        );
    }

    /// Users count from here on, until root ends it.
    pub(super) fn auth_episode(&mut self) {
        self.call(
            "Auth.UserAdd",
            json!({ "name": "root", "password": OF_ROOT }),
        );
        self.call("Auth.RoleAdd", json!({ "name": "root" }));
        self.call(
            "Auth.UserGrantRole",
            json!({ "user": "root", "role": "root" }),
        );
        self.somebody();
        self.call("Auth.AuthEnable", json!({}));
        self.is_guarded = true;
        for _ in 0..4 + self.up_to(5) {
            self.identity();
            for _ in 0..3 + self.up_to(6) {
                self.guarded_request();
            }
        }
        self.login("root", OF_ROOT);
        self.call("Auth.AuthStatus", json!({}));
        self.call("Auth.AuthDisable", json!({}));
        self.act(Action::Token(None));
        self.is_guarded = false;
    }

    /// Users with some rights, whatever was there before.
    fn somebody(&mut self) {
        for (user, role) in [("u1", "r1"), ("u2", "r2")] {
            let add = json!({ "name": user, "password": OF_ROOT });
            self.call("Auth.UserAdd", add.clone());
            self.call("Auth.UserChangePassword", add);
            self.call("Auth.RoleAdd", json!({ "name": role }));
            self.call("Auth.UserGrantRole", json!({ "user": user, "role": role }));
            self.role_grant(role);
            self.role_grant(role);
        }
    }

    fn login(&mut self, user: &str, password: &str) {
        let (user, password) = (user.to_owned(), password.to_owned());
        self.act(Action::Login { user, password });
    }

    fn identity(&mut self) {
        match self.chance.random_range(0..10) {
            0..3 => self.login("root", OF_ROOT),
            3..5 => self.login("u1", OF_ROOT),
            5..7 => self.login("u2", OF_ROOT),
            7 => self.login("u3", "q"),
            8 => self.act(Action::Token(Some("nonsense".to_owned()))),
            _ => self.act(Action::Token(None)),
        }
    }

    fn guarded_request(&mut self) {
        match self.chance.random_range(0..100) {
            0..45 => self.key_request(),
            45..52 => self.lease_request(),
            52..75 => self.auth_request(),
            75..82 => self.upkeep_request(),
            82..88 => self.member_request(),
            88..91 => self.odd_request(),
            91..97 => self.guarded_watch(),
            _ => self.call("Auth.AuthEnable", json!({})),
        }
    }

    /// Whoever may not watch is told with the first answer, as is whoever may.
    fn guarded_watch(&mut self) {
        let range: Value = self.watched();
        self.open("w", "Watch.Watch", json!({ "create_request": range }));
        self.read("w", "Watch.Watch", 1);
        self.close("w");
    }
}
