//! The verdict that every test under load ends with.
//!
//! It judges only what clients saw; what the operator did is for the tests themselves.

use anyhow::{Result, ensure};

use crate::FIGURE;
use crate::history::{History, Outcome};
use crate::linearizable;

/// Says what a history holds, and that nothing is lost and all of it is linearizable.
///
/// # Errors
/// The first lost write, or the contradiction.
pub fn judge(history: &History) -> Result<()> {
    println!("{FIGURE}{history}");
    let lost = history.lost();
    if let Some(first) = lost.first() {
        anyhow::bail!(
            "{} acknowledged writes are lost, the first: {first}",
            lost.len()
        );
    }
    ensure!(
        history.acknowledged_writes() > 0,
        "nothing was acknowledged, so nothing was tested"
    );
    linearizable::check(history)?;
    Ok(())
}

/// Revisions of a cluster that was rebuilt after it had lost its quorum begin beyond this.
const REBUILT: i64 = 1_000_000_000;

/// A history without what the loss of a quorum may have undone: what was acknowledged at later revisions than the survivor knew
/// may have had no effect, and what was read at them binds nobody.
#[must_use]
pub fn forgiven(history: History, known: i64) -> History {
    let undone = |revision: Option<i64>| revision.is_some_and(|it| it > known && it < REBUILT);
    let (mut count, mut operations) = (0, Vec::new());
    for mut operation in history.operations {
        if undone(operation.revision) {
            count += 1;
            if !operation.is_acknowledged_write() {
                continue;
            }
            operation.outcome = Outcome::Unknown("the plan named it as perhaps lost".to_owned());
            operation.revision = None;
        }
        operations.push(operation);
    }
    println!("{FIGURE}{count} operations may have been undone, as the plan said");
    History { operations }
}
