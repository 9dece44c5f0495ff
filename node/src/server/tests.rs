//! The end of a member whose disk does not let it end.

#![allow(
    clippy::unwrap_used,
    reason = "what the test needs and cannot have fails it"
)]

use std::sync::{Condvar, Mutex};

use store::{Command, PutRequest};

use super::*;
use crate::config::Invocation;
use crate::refusal::Refusal;
use crate::storage::Observer;

/// A disk whose every write takes as long as it is told to hang.
#[derive(Default)]
struct Disk {
    hangs: Mutex<bool>,
    changed: Condvar,
}

impl Disk {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }
}

impl Observer for Disk {
    fn synced(&self, _took: Duration) {
        let hangs = self.hangs.lock().unwrap();
        drop(self.changed.wait_while(hangs, |hangs| *hangs).unwrap());
    }
}

/// However the test ends, its threads can.
struct Released(Arc<Disk>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.hang(false);
    }
}

async fn lone_member(folder: &std::path::Path, disk: &Arc<Disk>) -> Member {
    let flags = [
        format!("--data-dir={}", folder.display()),
        "--listen-client-urls=http://127.0.0.1:0".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:1".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
    ];
    let Invocation::Serve(config) = Config::read(flags, []).unwrap() else {
        panic!("the flags ask for a member");
    };
    let options = Options {
        observer: Arc::clone(disk) as Arc<dyn Observer>,
        ..Options::default()
    };
    let (resolver, rng) = (Resolver::new(None), SmallRng::seed_from_u64(7));
    let security = Security::open(&config, resolver.clone()).unwrap();
    let patience = Duration::from_millis(50);
    Member::begin(&config, resolver, &security, options, rng, patience)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_neither_clients_nor_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::default());
    let _released = Released(Arc::clone(&disk));
    let member = lone_member(folder.path(), &disk).await;
    let handle = member.handle();
    let mut status = handle.watch_status();
    status.wait_for(Status::is_leader).await.unwrap();

    disk.hang(true);
    let put = Command::Put(PutRequest {
        key: "k".into(),
        ..PutRequest::default()
    });
    let waiting = tokio::spawn(async move { handle.propose(put.to_bytes()).await });
    status.wait_for(|status| status.pending > 0).await.unwrap();
    member.stop_rounds.cancel();
    assert_eq!(waiting.await.unwrap(), Err(Refusal::Stopped));

    let ended = member.rounds.await.unwrap();
    assert!(
        matches!(ended, Err(ServeError::DiskHangs(_))),
        "ended with {ended:?}"
    );
}
