//! Waiting for a condition, with a deadline, and saying what was waited for.
//!
//! The condition answers `Err(what it sees)` while it does not hold; the last such sentence is in
//! the error, so that a failed test tells its story without a second run.
//!
//! It never waits for a time: there is no sleep to call here.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against what is waited for (elections take 100 ms
/// and more), long against what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The condition did not come true in time.
#[derive(Debug)]
pub struct TimedOut {
    what: String,
    after: Duration,
    last: String,
}

impl Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "waited {:.0} s for {}; last seen: {}",
            self.after.as_secs_f64(),
            self.what,
            self.last
        )
    }
}

impl std::error::Error for TimedOut {}

/// Looks until `condition` answers `Ok`, and gives what it answered.
///
/// # Errors
/// [`TimedOut`] with the last reason, once `deadline` has passed. A look under way is finished, and cut
/// off only when it takes as long again as the deadline itself.
pub async fn until<T, E: Display>(
    what: impl Display,
    deadline: Duration,
    condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    until_every(LOOK_EVERY, what, deadline, condition).await
}

/// As [`until`], with a rhythm of its own: for looks that cost the one who is looked at.
///
/// # Errors
/// As [`until`].
pub async fn until_every<T, E: Display>(
    every: Duration,
    what: impl Display,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    let began = Instant::now();
    loop {
        let last = match tokio::time::timeout(deadline, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => seen.to_string(),
            Err(_) => "a look that never ended".to_owned(),
        };
        if began.elapsed() >= deadline {
            return Err(TimedOut {
                what: what.to_string(),
                after: began.elapsed(),
                last,
            });
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_what_the_condition_found() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(60), async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("{looks} looks"))
            }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_it_waited_for_and_what_it_saw() {
        let never = until("rain", Duration::ZERO, async || Err::<(), _>("a blue sky"));
        let text = never.await.unwrap_err().to_string();
        assert_eq!(text, "waited 0 s for rain; last seen: a blue sky");
    }
}
