//! Counts, and the summary at the end.

use std::ops::AddAssign;
use std::time::Duration;

use crate::ring::LeftOut;

/// Tests that passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Count {
    /// Something failed before any test could.
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
    };

    /// Reads what the test harness says at the end of each executable's output.
    pub(crate) fn read(output: &str) -> Self {
        let mut count = Self::default();
        for line in output.lines().filter(|l| l.starts_with("test result: ")) {
            let number = |what: &str| {
                let before = line.split(what).next()?.trim_end();
                before.rsplit(' ').next()?.parse::<usize>().ok()
            };
            count.passed += number("passed").unwrap_or(0);
            count.failed += number("failed").unwrap_or(0);
        }
        count
    }

    /// An executable that ended badly without naming a failed test has failed as a whole.
    pub(crate) fn with_ending(mut self, ended_well: bool) -> Self {
        if !ended_well && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

enum Result {
    Ran(Count, Duration),
    LeftOut(LeftOut),
}

/// What became of one ring.
pub(crate) struct Report {
    ring: &'static str,
    result: Result,
    /// Tests that did not fit into the ring's time.
    due: Vec<String>,
}

impl Report {
    pub(crate) fn ran(ring: &'static str, count: Count, took: Duration) -> Self {
        Self {
            ring,
            result: Result::Ran(count, took),
            due: Vec::new(),
        }
    }

    pub(crate) fn left_out(ring: &'static str, left_out: LeftOut) -> Self {
        Self {
            ring,
            result: Result::LeftOut(left_out),
            due: Vec::new(),
        }
    }

    /// With tests that did not fit into the ring's time.
    pub(crate) fn with_due(self, due: Vec<String>) -> Self {
        Self { due, ..self }
    }

    pub(crate) fn failed(&self) -> usize {
        self.count().failed
    }

    fn count(&self) -> Count {
        match &self.result {
            Result::Ran(count, _) => *count,
            Result::LeftOut(_) => Count::default(),
        }
    }

    fn line(&self) -> String {
        match &self.result {
            Result::Ran(count, took) => format!(
                "{:<24}{:>6} passed{:>6} failed{:>8.0} s",
                self.ring,
                count.passed,
                count.failed,
                took.as_secs_f64()
            ),
            Result::LeftOut(LeftOut { why, how }) => {
                format!(
                    "{:<24}  left out: {why}\n{:<24}  to run it: {how}",
                    self.ring, ""
                )
            }
        }
    }
}

/// Prints a line for each ring and the total as the last line.
pub(crate) fn print(reports: &[Report]) {
    println!();
    let mut total = Count::default();
    for report in reports {
        println!("{}", report.line());
        if !report.due.is_empty() {
            println!(
                "{:<24}  {} due, which did not fit into the time: {}",
                "",
                report.due.len(),
                report.due.join(" ")
            );
        }
        total += report.count();
    }
    println!("{} passed, {} failed", total.passed, total.failed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_result_line() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            Count::read(output),
            Count {
                passed: 15,
                failed: 2
            }
        );
    }

    #[test]
    fn an_executable_that_dies_counts_as_failed() {
        let count = Count::read("running 3 tests\n").with_ending(false);
        assert_eq!(
            count,
            Count {
                passed: 0,
                failed: 1
            }
        );
    }
}
