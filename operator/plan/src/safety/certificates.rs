//! The checker's part about CAs that are replaced under members that run, and about what cert-manager keeps for them.
//!
//! It believes nothing that a member has not shown in a handshake of this round, and deliberately knows no steps: only that
//! whoever is shown a certificate must believe in who signed it.

use super::{Facts, Violation, holds, is_dead, refuse};
use crate::action::Target;
use crate::certificates::{Authority, Issue};
use crate::objects::certificate::Certificate;
use crate::observed::{Keyring, Sought};

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

/// What one issuer has signed and members hold is not to be replaced by what another one signs, nor is a `Certificate` of somebody
/// else's.
pub(super) fn apply(facts: &Facts<'_>, wanted: &Certificate) -> Result<(), Violation> {
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let found = facts.observed.certificates.get(name);
    let uids = |it: &Certificate| -> Vec<String> {
        let owners = it.metadata.owner_references.iter().flatten();
        owners.map(|it| it.uid.clone()).collect()
    };
    if let Some(Sought::There(found)) = found
        && !uids(wanted).iter().all(|it| uids(found).contains(it))
    {
        return refuse(3, format!("Certificate {name} is somebody else's"));
    }
    let mut keyrings = facts.observed.keyrings.iter();
    let signed = keyrings.find(|it| it.secret == name);
    let signed = signed.and_then(|it| it.issuer.as_ref());
    let mut pods = facts.observed.pods.iter();
    let other = signed.is_some() && signed != wanted.spec.issuer_ref.as_ref();
    if other && pods.any(|it| holds(it, name)) {
        let sentence = format!(
            "Certificate {name} is to go to another issuer while a member holds its Secret"
        );
        return refuse(1, sentence);
    }
    Ok(())
}

/// Nobody holds what is renewed no more.
pub(super) fn delete(facts: &Facts<'_>, target: &Target) -> Result<(), Violation> {
    let mut pods = facts.observed.pods.iter();
    if pods.any(|it| holds(it, &target.name)) {
        let sentence = format!(
            "Certificate {} is to be deleted while a member holds its Secret",
            target.name
        );
        return refuse(1, sentence);
    }
    let seen = match facts.observed.certificates.get(&target.name) {
        Some(Sought::There(found)) => found.metadata.uid.as_ref() == Some(&target.uid),
        _ => false,
    };
    if seen {
        return Ok(());
    }
    let sentence = format!("Certificate {} is not the one that was seen", target.name);
    refuse(3, sentence)
}
