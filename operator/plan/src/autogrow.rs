//! Volumes that grow by themselves: by how much, and when.
//!
//! The size is latched in the status before any claim is asked for it; from there on it is wanted like one in the spec, and
//! `volume.rs` and `resize.rs` do the rest.
//!
//! Invariants:
//! - Nothing grows beyond `maxSize`, nor within the cooldown, nor before all volumes are as they are wanted now.
//! - Without `autoGrow` what has grown stays; a lower `spec.storage.size` is a wish to shrink.
//!
//! This file deliberately knows no disk: how full a volume is, is concluded from the size of the database on it. The rest of a
//! volume is for the log, and for the second copy that a defragmentation or a checkpoint writes, so it counts twice.

use crds::{AutoGrow, ChangePolicy, RaftCluster, StorageStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    quantity,
    view::View,
    volume::{Drift, drift},
};

/// How often the database is counted.
const COPIES: u64 = 2;
const MEBIBYTE: u64 = 1 << 20;

/// The size that volumes are to have: that of the spec, or what they have grown to from there.
pub(crate) fn size(cluster: &RaftCluster) -> String {
    let asked = &cluster.spec.storage.size.0;
    let grown = cluster.status.as_ref().and_then(|it| it.storage.as_ref());
    let bytes = quantity::bytes;
    let holds =
        |it: &&StorageStatus| bytes(asked) >= bytes(&it.asked) && bytes(&it.size) > bytes(asked);
    grown.filter(holds).map_or(asked, |it| &it.size).clone()
}

/// What the status has to remember of it after this round.
pub(crate) fn next(view: &View<'_>) -> Option<StorageStatus> {
    let spec = &view.spec;
    let old = view.status.storage.as_ref();
    let grown_at = old.filter(|it| it.size == spec.size);
    let grown_at = grown_at.and_then(|it| it.grown_at.clone());
    let larger = spec.auto_grow.as_ref().filter(|auto| {
        let since = grown_at.as_ref().map(|it| it.0);
        is_full(view, auto) && rested(view, auto, since) && is_quiet(view)
    });
    if let Some(size) = larger.and_then(|auto| larger_than(&spec.size, auto)) {
        let now = Timestamp::from_second(view.now.as_second()).unwrap_or(view.now);
        return Some(StorageStatus {
            asked: spec.asked_size.clone(),
            size,
            grown_at: Some(Time(now)),
        });
    }
    (spec.size != spec.asked_size).then(|| StorageStatus {
        asked: spec.asked_size.clone(),
        size: spec.size.clone(),
        grown_at,
    })
}

/// What a person should know: that volumes fill up and may not grow any more.
pub(crate) fn notice(view: &View<'_>) -> Option<String> {
    let auto = view.spec.auto_grow.as_ref()?;
    let ended = is_full(view, auto) && larger_than(&view.spec.size, auto).is_none();
    ended.then(|| {
        format!(
            "the volumes are {} percent full or more and have grown to spec.storage.autoGrow.maxSize, {}; raise it, or compact \
             and defragment the members",
            auto.threshold_percent, auto.max_size.0
        )
    })
}

/// Whether the fullest volume is as full as it may become.
fn is_full(view: &View<'_>, auto: &AutoGrow) -> bool {
    let used = view
        .roster()
        .iter()
        .filter_map(|it| it.answer?.db_size)
        .max();
    let threshold = u64::try_from(auto.threshold_percent).unwrap_or(100);
    let (Some(used), Some(size)) = (used, quantity::bytes(&view.spec.size)) else {
        return false;
    };
    u128::from(used) * u128::from(COPIES) * 100 >= u128::from(size) * u128::from(threshold)
}

fn rested(view: &View<'_>, auto: &AutoGrow, since: Option<Timestamp>) -> bool {
    let cooldown = SignedDuration::from_secs(auto.cooldown_seconds);
    since.is_none_or(|it| view.now.duration_since(it) >= cooldown)
}

/// Whether every volume is as it is wanted now.
fn is_quiet(view: &View<'_>) -> bool {
    let as_wanted = |it: &&_| drift(view, it) == Drift::None;
    view.spec.change_policy != ChangePolicy::Deny && view.roster().iter().all(as_wanted)
}

/// The next size, if there may be one.
fn larger_than(size: &str, auto: &AutoGrow) -> Option<String> {
    let (size, max) = (quantity::bytes(size)?, quantity::bytes(&auto.max_size.0)?);
    let step = match auto.increment.strip_suffix('%') {
        Some(percent) => size.checked_mul(percent.parse().ok()?)? / 100,
        None => quantity::bytes(&auto.increment)?,
    };
    let next = size
        .checked_add(step.max(1))?
        .checked_next_multiple_of(MEBIBYTE)?;
    match () {
        () if size >= max => None,
        () if next >= max => Some(auto.max_size.0.clone()),
        () => Some(format!("{}Mi", next / MEBIBYTE)),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    fn auto(increment: &str, max: &str) -> AutoGrow {
        AutoGrow {
            threshold_percent: 80,
            increment: increment.to_owned(),
            max_size: Quantity(max.to_owned()),
            cooldown_seconds: 0,
        }
    }

    #[test]
    fn the_next_size_is_a_step_up_and_never_above_the_ceiling() {
        for (size, increment, max, wanted) in [
            ("4Gi", "25%", "8Gi", Some("5120Mi")),
            ("4Gi", "1Gi", "8Gi", Some("5120Mi")),
            ("4Gi", "1", "8Gi", Some("4097Mi")),
            ("4Gi", "999%", "8Gi", Some("8Gi")),
            ("8Gi", "20%", "8Gi", None),
            ("9Gi", "20%", "8Gi", None),
            ("4Gi", "much", "8Gi", None),
        ] {
            let found = larger_than(size, &auto(increment, max));
            assert_eq!(
                found.as_deref(),
                wanted,
                "{size} by {increment} up to {max}"
            );
        }
    }
}
