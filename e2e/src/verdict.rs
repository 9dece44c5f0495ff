//! The verdict that every test under load ends with.
//!
//! It judges only what clients saw; what the operator did is for the tests themselves.

use anyhow::{Result, ensure};

use crate::FIGURE;
use crate::history::History;
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
