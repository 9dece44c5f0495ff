//! Leader election by a Lease of our own: at most one operator writes.
//!
//! Invariants:
//! - Every change of the Lease is a replacement that carries the resourceVersion it was judged by, so of two that judge
//!   alike one fails.
//! - A holder's death is judged by *this* process's monotonic clock: the Lease has not changed for its whole duration
//!   since we first saw it so. Nobody's wall clock is compared with ours, and `renewTime` is only for human readers.
//! - The gate's deadline is counted from before the renewal was sent.
//!
//! It deliberately never leads a second time: a process that lost its lease ends, and its successor starts with nothing
//! in its head. It prefers no candidate, and it does not watch the Lease: a read every retry period is cheap and cannot
//! go quiet unnoticed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::gate::{Gate, Shut};
use crate::kubernetes::{self, CallError, Kubernetes};

/// The rhythm of the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a holder that says nothing is still believed.
    pub duration: Duration,
    /// How long after its last renewal the holder itself goes on writing.
    pub renew_deadline: Duration,
    /// How often the holder renews and the others look.
    pub retry_period: Duration,
}

impl Default for Timing {
    /// What `controller-runtime` and `client-go` use: 15, 10 and 2 seconds.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Says in a sentence why this rhythm cannot keep two operators apart, if it cannot.
    ///
    /// # Errors
    /// The sentence, naming the two durations that contradict each other.
    pub fn check(&self) -> Result<(), String> {
        if self.retry_period.is_zero() || self.retry_period * 2 > self.renew_deadline {
            return Err(format!(
                "the lease's retry period ({:?}) must be above zero and at most half of its renew deadline ({:?})",
                self.retry_period, self.renew_deadline
            ));
        }
        if self.renew_deadline + kubernetes::WRITE_TIMEOUT > self.duration {
            return Err(format!(
                "the lease's duration ({:?}) must exceed its renew deadline ({:?}) by the {:?} that a write may take",
                self.duration,
                self.renew_deadline,
                kubernetes::WRITE_TIMEOUT
            ));
        }
        Ok(())
    }
}

/// What this process knows of the Lease, and since when it stands so.
#[derive(Debug, Clone)]
pub struct Seen {
    lease: Option<Lease>,
    since: Instant,
}

impl Seen {
    /// Takes note of the Lease as read at `now`; an unchanged one keeps the moment it was first seen so.
    #[must_use]
    pub fn note(previous: Option<Self>, lease: Option<Lease>, now: Instant) -> Self {
        match previous {
            Some(previous) if version(&previous.lease) == version(&lease) => previous,
            _ => Self { lease, since: now },
        }
    }
}

/// What follows from what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is no Lease: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It was released, or its holder has been silent for its whole duration: take it.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// Judges the Lease from `me`'s side at `now`. Pure.
#[must_use]
pub fn evaluate(me: &str, seen: &Seen, ours: &Timing, now: Instant) -> Verdict {
    let Some(lease) = &seen.lease else {
        return Verdict::Create;
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    if holder.is_empty() {
        return Verdict::Take;
    }
    if holder == me {
        return Verdict::Renew;
    }
    // A duration we cannot read is taken as ours; a holder of another configuration is believed for as long as it asks.
    let believed = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(ours.duration, Duration::from_secs);
    if now.saturating_duration_since(seen.since) >= believed {
        Verdict::Take
    } else {
        Verdict::Wait
    }
}

/// Where an attempt left us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// We hold the Lease.
    Leading,
    /// Somebody else does, or nobody yet.
    Waiting {
        /// Who holds it, as far as we know.
        holder: String,
    },
}

/// What an attempt heard from the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// An answer, whatever it was.
    Answer,
    /// Nothing of use.
    Nothing,
}

/// One candidate for the Lease.
pub struct Candidate {
    kubernetes: Kubernetes,
    clock: Arc<dyn Clock>,
    gate: Gate,
    namespace: String,
    name: String,
    identity: String,
    timing: Timing,
    seen: Option<Seen>,
    deadline: Option<Instant>,
}

impl Candidate {
    /// A candidate that has not looked yet. `identity` must be unique to this process.
    ///
    /// # Panics
    /// If `timing` contradicts itself: the configuration has checked it with a message for the user.
    #[must_use]
    pub fn new(
        kubernetes: Kubernetes,
        clock: Arc<dyn Clock>,
        gate: Gate,
        lease: (&str, &str),
        identity: &str,
        timing: Timing,
    ) -> Self {
        assert_eq!(
            timing.check(),
            Ok(()),
            "a lease's rhythm is checked before anyone runs for it"
        );
        let (namespace, name) = lease;
        let (namespace, name, identity) = (namespace.into(), name.into(), identity.into());
        Self {
            kubernetes,
            clock,
            gate,
            namespace,
            name,
            identity,
            timing,
            seen: None,
            deadline: None,
        }
    }

    /// Waits until the Lease is ours; errors on the way are logged and tried again. `looked` hears of every attempt.
    pub async fn acquire(&mut self, looked: impl Fn(Heard)) {
        let mut told = None;
        loop {
            match self.step().await {
                Ok(Standing::Leading) => return looked(Heard::Answer),
                Ok(waiting) => {
                    looked(Heard::Answer);
                    if told.as_ref() != Some(&waiting) {
                        tracing::info!(standing = ?waiting, "waiting for the lease");
                        told = Some(waiting);
                    }
                }
                Err(error) => {
                    looked(Heard::Nothing);
                    let error = kubernetes::chain(&error);
                    tracing::warn!(error, "the lease could not be reached");
                }
            }
            tokio::time::sleep(self.timing.retry_period).await;
        }
    }

    /// Renews until the Lease is lost, and shuts the gate then. `looked` hears of every renewal.
    pub async fn hold(&mut self, looked: impl Fn(Heard)) -> Shut {
        while self.renewed().await {
            looked(Heard::Answer);
            tokio::time::sleep(self.timing.retry_period).await;
        }
        self.gate.shut(Shut::Lost);
        Shut::Lost
    }

    /// Gives the Lease up, if it is ours, so that a successor need not wait. Errors cost only that wait.
    pub async fn release(mut self) {
        self.gate.shut(Shut::Stopping);
        match self.give_back().await {
            Ok(()) => tracing::info!("the lease is not ours any more"),
            Err(error) => {
                let error = kubernetes::chain(&error);
                tracing::warn!(error, "the lease was not released");
            }
        }
    }

    async fn give_back(&mut self) -> Result<(), CallError> {
        // A renewal that was cut off half-way may have left us with an old version: read, then write.
        self.look().await?;
        let lease = self.seen.as_ref().and_then(|seen| seen.lease.clone());
        match lease {
            Some(mut lease) if holder(Some(&lease)) == self.identity => {
                let spec = lease.spec.get_or_insert_default();
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(self.clock.now()));
                self.replace(&lease).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Renews within what is left of the deadline. False: it is lost.
    async fn renewed(&mut self) -> bool {
        loop {
            let Some(deadline) = self.deadline else {
                return false;
            };
            match tokio::time::timeout_at(deadline, self.step()).await {
                Ok(Ok(Standing::Leading)) => return true,
                Ok(Ok(Standing::Waiting { holder })) => {
                    tracing::error!(holder, "the lease was taken over");
                    return false;
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = kubernetes::chain(&error),
                        "the lease could not be renewed"
                    );
                }
                Err(_) => {
                    tracing::error!("the lease was not renewed in time");
                    return false;
                }
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + self.timing.retry_period)).await;
        }
    }

    /// One attempt: looks where it must, judges, and writes at most once.
    ///
    /// # Errors
    /// [`CallError`], when the API server could not be asked. Losing a race is no error.
    pub async fn step(&mut self) -> Result<Standing, CallError> {
        let begun = self.clock.instant();
        // What we wrote ourselves needs no second look: the replacement's resourceVersion tells.
        if self.deadline.is_none() {
            self.look().await?;
        }
        let seen = self
            .seen
            .as_ref()
            .expect("whoever holds a deadline or has looked, has seen");
        let verdict = evaluate(&self.identity, seen, &self.timing, begun);
        let wanted = match (verdict, &seen.lease) {
            (Verdict::Wait, lease) => {
                return Ok(Standing::Waiting {
                    holder: holder(lease.as_ref()),
                });
            }
            (Verdict::Create, _) => self.lease(None),
            (Verdict::Renew | Verdict::Take, lease) => self.lease(lease.as_ref()),
        };
        let written = match verdict {
            Verdict::Create => self.create(&wanted).await,
            _ => self.replace(&wanted).await,
        };
        match written {
            Ok(lease) => {
                let deadline = begun + self.timing.renew_deadline;
                self.seen = Some(Seen {
                    lease: Some(lease),
                    since: begun,
                });
                self.deadline = Some(deadline);
                self.gate.open_until(deadline);
                Ok(Standing::Leading)
            }
            Err(error) if error.code() == Some(409) || error.is_absent() => self.lost_race().await,
            Err(error) => Err(error),
        }
    }

    /// After a refused write: ours may still be the newest (its answer was lost), or somebody else was first.
    async fn lost_race(&mut self) -> Result<Standing, CallError> {
        self.look().await?;
        let lease = self.seen.as_ref().and_then(|seen| seen.lease.clone());
        if self.deadline.is_some() && holder(lease.as_ref()) == self.identity {
            // The next attempt renews upon what was just read; the gate's deadline has not moved.
            return Err(CallError::raced(
                "update",
                kubernetes::object::<Lease>(&self.name),
            ));
        }
        Ok(Standing::Waiting {
            holder: holder(lease.as_ref()),
        })
    }

    async fn look(&mut self) -> Result<(), CallError> {
        let lease = self
            .kubernetes
            .find::<Lease>(&self.namespace, &self.name)
            .await?;
        self.seen = Some(Seen::note(self.seen.take(), lease, self.clock.instant()));
        Ok(())
    }

    /// The Lease as we want it, upon `current`.
    fn lease(&self, current: Option<&Lease>) -> Lease {
        let now = MicroTime(self.clock.now());
        let old = current
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let ours = old.holder_identity.as_deref() == Some(&self.identity);
        let transitions = old.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX),
            ),
            acquire_time: if ours {
                old.acquire_time.clone()
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(if ours || current.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..old
        };
        let metadata = current.map_or_else(
            || ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            |lease| ObjectMeta {
                managed_fields: None,
                ..lease.metadata.clone()
            },
        );
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        let api = self.kubernetes.namespaced::<Lease>(&self.namespace);
        let parameters = PostParams {
            field_manager: Some(kubernetes::MANAGER.into()),
            dry_run: false,
        };
        kubernetes::write(
            "create",
            kubernetes::object::<Lease>(&self.name),
            api.create(&parameters, lease),
        )
        .await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        let api = self.kubernetes.namespaced::<Lease>(&self.namespace);
        let parameters = PostParams {
            field_manager: Some(kubernetes::MANAGER.into()),
            dry_run: false,
        };
        kubernetes::write(
            "update",
            kubernetes::object::<Lease>(&self.name),
            api.replace(&self.name, &parameters, lease),
        )
        .await
    }
}

fn version(lease: &Option<Lease>) -> Option<&str> {
    lease
        .as_ref()
        .and_then(|lease| lease.metadata.resource_version.as_deref())
}

fn holder(lease: Option<&Lease>) -> String {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    spec.and_then(|spec| spec.holder_identity.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str, seconds: Option<i32>) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.into()),
                lease_duration_seconds: seconds,
                // A wall clock from another age: it must not matter.
                renew_time: Some(MicroTime(jiff::Timestamp::UNIX_EPOCH)),
                ..LeaseSpec::default()
            }),
        }
    }

    fn judged(lease: Option<Lease>, waited: Duration) -> Verdict {
        let since = Instant::now();
        evaluate(
            "me",
            &Seen { lease, since },
            &Timing::default(),
            since + waited,
        )
    }

    #[test]
    fn an_absent_lease_is_created_ours_renewed_and_a_released_one_taken() {
        assert_eq!(judged(None, Duration::ZERO), Verdict::Create);
        assert_eq!(
            judged(Some(lease("me", "1", Some(15))), Duration::ZERO),
            Verdict::Renew
        );
        assert_eq!(
            judged(Some(lease("", "1", Some(15))), Duration::ZERO),
            Verdict::Take
        );
        assert_eq!(
            judged(Some(Lease::default()), Duration::ZERO),
            Verdict::Take
        );
    }

    #[test]
    fn a_silent_holder_is_believed_for_its_own_duration_by_our_own_clock() {
        let other = |seconds| Some(lease("other", "1", seconds));
        assert_eq!(
            judged(other(Some(15)), Duration::from_secs(14)),
            Verdict::Wait
        );
        assert_eq!(
            judged(other(Some(15)), Duration::from_secs(15)),
            Verdict::Take
        );
        assert_eq!(
            judged(other(Some(60)), Duration::from_secs(59)),
            Verdict::Wait
        );
        assert_eq!(
            judged(other(None), Duration::from_secs(14)),
            Verdict::Wait,
            "ours, if it says none"
        );
        assert_eq!(
            judged(other(Some(-5)), Duration::from_secs(14)),
            Verdict::Wait,
            "nonsense is none"
        );
    }

    #[test]
    fn any_change_of_the_lease_starts_the_silence_anew() {
        let start = Instant::now();
        let later = start + Duration::from_secs(14);
        let first = Seen::note(None, Some(lease("other", "1", Some(15))), start);
        let same = Seen::note(
            Some(first.clone()),
            Some(lease("other", "1", Some(15))),
            later,
        );
        assert_eq!(same.since, start);
        let renewed = Seen::note(Some(first), Some(lease("other", "2", Some(15))), later);
        assert_eq!(renewed.since, later);
        let verdict = evaluate(
            "me",
            &renewed,
            &Timing::default(),
            start + Duration::from_secs(20),
        );
        assert_eq!(verdict, Verdict::Wait);
    }

    #[test]
    fn a_rhythm_that_lets_two_write_is_refused_by_name() {
        assert_eq!(Timing::default().check(), Ok(()));
        let short = Timing {
            duration: Duration::from_secs(12),
            ..Timing::default()
        };
        assert!(
            short
                .check()
                .expect_err("too short")
                .contains("must exceed its renew deadline")
        );
        let rare = Timing {
            retry_period: Duration::from_secs(6),
            ..Timing::default()
        };
        assert!(rare.check().expect_err("too rare").contains("at most half"));
    }
}
