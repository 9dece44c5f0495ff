//! The checker's part about CAs that are replaced under members that run.
//!
//! It believes nothing that a member has not shown in a handshake of this round, and deliberately knows no steps: only that
//! whoever is shown a certificate must believe in who signed it.

use super::{Facts, Violation, holds, is_dead, refuse};
use crate::certificates::{Authority, Issue};
use crate::observed::Keyring;

/// Another CA may sign when all members believe in it, and the old one may go when no member shows a certificate of it.
pub(super) fn replace(
    facts: &Facts<'_>,
    issue: &Issue,
    name: &str,
    found: Option<&Keyring>,
) -> Result<(), Violation> {
    let roots = found.map(|it| it.roots.as_slice()).unwrap_or_default();
    let [signs, beside] = roots else {
        let sentence = format!("the CA in {name} is to be replaced and there are not two");
        return refuse(1, sentence);
    };
    let holders = facts.observed.pods.iter();
    let mut holders = holders.filter(|it| holds(it, name) && !is_dead(it));
    let unready = holders.find(|pod| {
        let member = pod.metadata.name.clone().unwrap_or_default();
        let shaken = facts.observed.handshakes.get(&(member, issue.surface));
        let Some(Ok(shaken)) = shaken else {
            return true;
        };
        match issue.authority {
            Authority::Next { .. } => !shaken.trusts.contains(beside),
            _ => shaken.issuer != *signs || !shaken.trusts.contains(signs),
        }
    });
    match unready {
        None => Ok(()),
        Some(pod) => {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            refuse(
                1,
                format!(
                    "the CA in {name} is to be replaced, and {pod} was not seen to be ready for it"
                ),
            )
        }
    }
}
