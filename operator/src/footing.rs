//! Where members stand: the nodes of those that do not answer, and the nodes on which their volumes can be used; the node of the
//! leader; and those of the others while something is in hand or the leader's node is about to be emptied.
//!
//! So a healthy cluster at rest costs one read. Nodes and volumes live in no namespace: an
//! operator that is bound to namespaces may not read them, and does without.
//!
//! It deliberately concludes nothing from what it finds: see `plan`'s `footing.rs`.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};
use kube::ResourceExt;
use plan::{Footing, Probe, Seen, is_about_to_be_emptied, names};

use crate::context::Context;
use crate::kubernetes::CallError;

/// Where those members of the cluster with this uid stand that have a claim and gave no answer.
///
/// # Errors
/// [`CallError`], if the API server could not be read for another reason than that it is forbidden.
pub(crate) async fn footings(
    ctx: &Context,
    uid: Option<&str>,
    (pods, claims): (&[Pod], &[PersistentVolumeClaim]),
    probes: &BTreeMap<String, Probe>,
) -> Result<BTreeMap<String, Footing>, CallError> {
    let ours = |claim: &&PersistentVolumeClaim| {
        let of = claim.annotations().get(names::CLUSTER_UID);
        of.map(String::as_str) == uid
    };
    let looked = claims.iter().filter(ours).filter_map(|claim| {
        let member = claim.labels().get(names::MEMBER_LABEL)?;
        let answered = probes.get(member).is_some_and(|it| it.answer.is_ok());
        let pod = pods.iter().find(|it| it.name_any() == *member);
        (!answered).then_some(async move {
            let footing = footing(ctx, pod, claim).await?;
            Ok((member.clone(), footing))
        })
    });
    let found: Vec<_> = try_join_all(looked).await?;
    Ok(found.into_iter().collect())
}

/// The nodes of members that answer, as far as they matter: that of the leader, and if that is about to be emptied, or
/// something is in hand, those of all.
///
/// # Errors
/// As [`footings`].
pub(crate) async fn nodes(
    ctx: &Context,
    pods: &[Pod],
    probes: &BTreeMap<String, Probe>,
    in_hand: bool,
) -> Result<BTreeMap<String, Footing>, CallError> {
    let Some(leader) = leader(probes) else {
        return Ok(BTreeMap::new());
    };
    let of = async |member: &str| -> Result<(String, Footing), CallError> {
        let pod = pods.iter().find(|it| it.name_any() == member);
        let node = node(ctx, pod).await?;
        let within = Seen::Nothing;
        Ok((member.to_owned(), Footing { node, within }))
    };
    let first = of(leader).await?;
    let emptied = |it: &Seen<Node>| matches!(it, Seen::There(it) if is_about_to_be_emptied(it));
    let mut found = BTreeMap::new();
    if in_hand || emptied(&first.1.node) {
        let answered = probes.iter().filter(|(_, it)| it.answer.is_ok());
        let others = answered.map(|(name, _)| name.as_str());
        found.extend(try_join_all(others.filter(|it| *it != leader).map(of)).await?);
    }
    found.extend([first]);
    Ok(found)
}

/// The member that says it leads, in the highest term of those who do.
fn leader(probes: &BTreeMap<String, Probe>) -> Option<&str> {
    let answers = probes
        .iter()
        .filter_map(|(name, it)| Some((name, it.answer.as_ref().ok()?)));
    let leaders = answers.filter(|(_, it)| it.leader_id == it.member_id);
    leaders
        .max_by_key(|(_, it)| it.term)
        .map(|(name, _)| name.as_str())
}

async fn node(ctx: &Context, pod: Option<&Pod>) -> Result<Seen<Node>, CallError> {
    let name = pod.and_then(|it| it.spec.as_ref()?.node_name.as_deref());
    match name {
        Some(name) => ctx.kubernetes.see(name).await,
        None => Ok(Seen::Nothing),
    }
}

async fn footing(
    ctx: &Context,
    pod: Option<&Pod>,
    claim: &PersistentVolumeClaim,
) -> Result<Footing, CallError> {
    let node = node(ctx, pod).await?;
    let within = within(ctx, claim).await?;
    Ok(Footing { node, within })
}

/// By which annotation of a claim the scheduler says on which node its volume is to be made. Nothing takes it back when the node
/// dies first: the pod waits for a volume that nobody makes.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The nodes on which a claim's volume can be used, or will be when it is made.
async fn within(
    ctx: &Context,
    claim: &PersistentVolumeClaim,
) -> Result<Seen<Vec<Node>>, CallError> {
    let name = claim.spec.as_ref().and_then(|it| it.volume_name.as_deref());
    let Some(name) = name.filter(|it| !it.is_empty()) else {
        return chosen(ctx, claim).await;
    };
    let volume = match ctx.kubernetes.see::<PersistentVolume>(name).await? {
        Seen::There(volume) => volume,
        Seen::Forbidden => return Ok(Seen::Forbidden),
        Seen::Absent => return Ok(Seen::Absent),
        Seen::Nothing => return Ok(Seen::Nothing),
    };
    let Some(selectors) = selectors(&volume) else {
        return Ok(Seen::Nothing);
    };
    let mut all = Vec::new();
    for selector in selectors {
        let Some(nodes) = ctx.kubernetes.see_all(&selector).await? else {
            return Ok(Seen::Forbidden);
        };
        all.extend(nodes);
    }
    Ok(Seen::There(all))
}

/// The node on which a claim's volume is to be made. Of one that is gone, whoever makes volumes chooses another.
async fn chosen(
    ctx: &Context,
    claim: &PersistentVolumeClaim,
) -> Result<Seen<Vec<Node>>, CallError> {
    let Some(node) = claim.annotations().get(SELECTED_NODE) else {
        return Ok(Seen::Nothing);
    };
    Ok(match ctx.kubernetes.see(node).await? {
        Seen::There(node) => Seen::There(vec![node]),
        Seen::Forbidden => Seen::Forbidden,
        Seen::Absent | Seen::Nothing => Seen::Nothing,
    })
}

/// One label selector for each term of a volume's affinity; none if it has none, or one that labels cannot say.
fn selectors(volume: &PersistentVolume) -> Option<Vec<String>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required.as_ref()?.node_selector_terms;
    let selectors: Option<Vec<String>> = terms.iter().map(selector).collect();
    selectors.filter(|it| !it.is_empty())
}

fn selector(term: &NodeSelectorTerm) -> Option<String> {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    if expressions.is_empty() || term.match_fields.as_ref().is_some_and(|it| !it.is_empty()) {
        return None;
    }
    let parts: Option<Vec<String>> = expressions.iter().map(requirement).collect();
    parts.map(|it| it.join(","))
}

fn requirement(it: &NodeSelectorRequirement) -> Option<String> {
    let (key, values) = (&it.key, it.values.as_deref().unwrap_or_default().join(","));
    match it.operator.as_str() {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.clone()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tied(affinity: serde_json::Value) -> Option<Vec<String>> {
        let volume = json!({"spec": {"nodeAffinity": affinity}});
        selectors(&serde_json::from_value(volume).expect("a volume"))
    }

    #[test]
    fn a_local_volume_selects_its_node_and_a_zonal_one_its_zone() {
        let terms = |terms| json!({"required": {"nodeSelectorTerms": terms}});
        let of = |key: &str, operator: &str, values: &[&str]| json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]);
        let selected = |it| tied(terms(it)).map(|it| it.join(" or "));
        assert_eq!(
            selected(of("kubernetes.io/hostname", "In", &["node-1"])).as_deref(),
            Some("kubernetes.io/hostname in (node-1)")
        );
        assert_eq!(
            selected(of("zone", "In", &["a", "b"])).as_deref(),
            Some("zone in (a,b)")
        );
        assert_eq!(
            selected(of("disks", "Gt", &["3"])),
            None,
            "no label says it"
        );
        assert_eq!(tied(json!(null)), None, "it can be used everywhere");
    }
}
