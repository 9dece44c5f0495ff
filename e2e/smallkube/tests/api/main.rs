//! The Kubernetes API as a client meets it, through the real `kube::Client`.
//!
//! Every text takes a client and makes a namespace of its own, so it runs on any API server: here on smallkube alone, and
//! in `e2e/tests/real_contract` on smallkube and on a real kube-apiserver side by side, where the answers are compared.
//! Tests of what only smallkube can do (faults) stand in `faults.rs`. It deliberately tests no controller that a bare API
//! server lacks outside of `garbage.rs`.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by stopping

/// The texts of a module, as tests on smallkube. One that is not listed is dead code, and the compiler says so.
macro_rules! texts {
    ($($name:ident),* $(,)?) => {
        mod on_smallkube {
            $(#[tokio::test]
            async fn $name() {
                let cluster = smallkube::Smallkube::start(&smallkube::Options::default());
                super::$name(super::Setting::at(cluster.client("test")).await).await;
            })*
        }
    };
}

mod apply;
mod faults;
mod garbage;
mod objects;
mod schema;
mod setting;
mod tables;
mod watches;
