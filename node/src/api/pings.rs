//! Pings that come too often, judged as Go's gRPC judges them for etcd, and answered with its farewell: GOAWAY, enhance your
//! calm, `too_many_pings`.
//!
//! - A ping is too early when the one before came less than `--grpc-keepalive-min-time` ago; on a connection without a call,
//!   less than two hours ago. The third early one in a row ends the connection.
//! - Whatever is sent to the client between two pings forgives: clients measure bandwidth with pings while they receive.
//! - Over TLS etcd's pings go to another server, which counts none; so only those that no keepalive sends are too many there.
//!
//! What this module deliberately does not do: see them; [`super::sight`] does.

use std::time::Duration;

use tokio::time::Instant;

/// Without a call nobody has a reason to ping; Go's figure.
const IDLE: Duration = Duration::from_secs(2 * 3_600);
/// Early pings that are let pass; Go's figure.
const STRIKES_MAX: u8 = 2;
/// Over TLS: more often than any keepalive, and seldom enough to cost nothing.
const SECURE_MIN: Duration = Duration::from_millis(100);

/// How often a client may ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    least: Duration,
    /// Between two pings while there is no call.
    least_idle: Duration,
}

impl Rules {
    /// On a plain connection, with `--grpc-keepalive-min-time`, or over TLS.
    pub(super) fn new(min_time: Duration, is_secure: bool) -> Self {
        if is_secure {
            let least = min_time.min(SECURE_MIN);
            return Self {
                least,
                least_idle: least,
            };
        }
        Self {
            least: min_time,
            least_idle: IDLE,
        }
    }
}

/// The pings of one connection.
#[derive(Debug)]
pub(super) struct Pings {
    rules: Rules,
    last: Option<Instant>,
    strikes: u8,
}

impl Pings {
    pub(super) const fn new(rules: Rules) -> Self {
        Self {
            rules,
            last: None,
            strikes: 0,
        }
    }

    /// Whether this ping is one too many. `calls` are open; `forgiven` says that something was sent since the last one.
    pub(super) fn is_too_many(&mut self, now: Instant, calls: usize, forgiven: bool) -> bool {
        let least = if calls == 0 {
            self.rules.least_idle
        } else {
            self.rules.least
        };
        let is_early = self.last.is_some_and(|last| last + least > now);
        self.last = Some(now);
        if forgiven {
            self.strikes = 0;
        } else if is_early {
            self.strikes += 1;
        }
        self.strikes > STRIKES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_judged_as_go_judges_them() {
        let second = Duration::from_secs(1);
        let begin = Instant::now();
        let judge = |rules: Rules, pings: &[(u32, usize, bool)]| {
            let mut judged = Pings::new(rules);
            let too_many = |(at, calls, forgiven): &(u32, usize, bool)| {
                judged.is_too_many(begin + second * *at, *calls, *forgiven)
            };
            pings.iter().map(too_many).collect::<Vec<_>>()
        };
        let plain = Rules::new(5 * second, false);
        let often = [(0, 1, false), (1, 1, false), (2, 1, false), (3, 1, false)];
        assert_eq!(judge(plain, &often), [false, false, false, true]);
        let seldom = [(0, 1, false), (5, 1, false), (10, 1, false), (15, 1, false)];
        assert!(!judge(plain, &seldom).contains(&true));
        let idle = seldom.map(|(at, _, forgiven)| (at, 0, forgiven));
        assert!(judge(plain, &idle)[3]);
        assert!(!judge(Rules::new(5 * second, true), &idle).contains(&true));
        let receiving = often.map(|(at, calls, _)| (at, calls, true));
        assert!(!judge(plain, &receiving).contains(&true));
    }
}
