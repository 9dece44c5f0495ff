//! A cluster's status as a few lines of text: what the demo shows while it waits.
//!
//! Everything here stands in `kubectl get raftcluster -o yaml` too; nothing is asked of members.

use crds::{MemberPhase, MemberRole, MemberStatus, RaftCluster, RaftClusterStatus};

/// One line per fact: the cluster, its members, what the operator does and waits for.
pub(crate) fn lines(cluster: &RaftCluster) -> Vec<String> {
    let status = cluster.status.clone().unwrap_or_default();
    let mut lines = vec![head(cluster, &status)];
    let last = status.members.len().saturating_sub(1);
    for (n, member) in status.members.iter().enumerate() {
        let branch = if n == last { "└─" } else { "├─" };
        lines.push(format!("{branch} {}", member_line(member)));
    }
    if let Some(operation) = &status.operation {
        let member = operation.member.as_deref().unwrap_or_default();
        lines.push(
            format!(
                "   doing: {} {} {member}",
                operation.kind.as_str(),
                operation.step
            )
            .trim_end()
            .to_owned(),
        );
        lines.extend(
            operation
                .blocked_by
                .iter()
                .map(|b| format!("   waits: {}", b.message)),
        );
    }
    lines.extend(status.notices.iter().map(|n| format!("   note: {n}")));
    lines
}

fn head(cluster: &RaftCluster, status: &RaftClusterStatus) -> String {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ready = status
        .ready
        .clone()
        .unwrap_or_else(|| format!("0/{}", cluster.spec.replicas));
    let mut head = format!("{name}  {ready} ready");
    if let Some(leader) = &status.leader {
        head += &format!("  term {}", leader.term);
    }
    if let Some(quorum) = &status.quorum {
        head += &format!(
            "  quorum {} of {} healthy, may lose {}",
            quorum.required, quorum.healthy, quorum.tolerance
        );
    }
    head
}

fn member_line(member: &MemberStatus) -> String {
    let role = match member.role {
        MemberRole::Leader => "leader",
        MemberRole::Follower => "follower",
        MemberRole::Learner => "learner",
        MemberRole::Unknown => "-",
    };
    let phase = match member.phase {
        MemberPhase::Pending => "pending",
        MemberPhase::Starting => "starting",
        MemberPhase::CatchingUp => "catching up",
        MemberPhase::Ready => "ready",
        MemberPhase::Unhealthy => "unhealthy",
        MemberPhase::Leaving => "leaving",
        MemberPhase::VolumeLost => "volume lost",
        MemberPhase::Hibernated => "hibernated",
        MemberPhase::Fenced => "fenced",
    };
    let lag = member
        .lag
        .map_or_else(String::new, |lag| format!("lag {lag}"));
    format!("{:<20} {role:<9} {phase:<12} {lag}", member.name)
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the operator wrote it while the third member was catching up.
    const RECORDED: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: minimal }
spec: { replicas: 3, storage: { size: 1Gi } }
status:
  ready: 2/3
  leader: { name: minimal-x7k2p, term: 4 }
  quorum: { required: 2, healthy: 2, tolerance: 0 }
  members:
    - { name: minimal-x7k2p, role: Leader, phase: Ready, lag: 0 }
    - { name: minimal-a81bc, role: Follower, phase: Ready, lag: 0 }
    - { name: minimal-q0p3m, role: Learner, phase: CatchingUp, lag: 4120 }
  operation:
    type: ScaleUp
    step: PromoteLearner
    member: minimal-q0p3m
    startedAt: 2026-01-01T00:00:00Z
    deadline: 2026-01-01T00:05:00Z
    blockedBy:
      - { gate: CatchUp, message: 'minimal-q0p3m is 4120 entries behind, gate 100' }
";

    #[test]
    fn shows_members_and_what_is_waited_for() {
        let cluster: RaftCluster = serde_saphyr::from_str(RECORDED).unwrap();
        let expected = "\
minimal  2/3 ready  term 4  quorum 2 of 2 healthy, may lose 0
├─ minimal-x7k2p        leader    ready        lag 0
├─ minimal-a81bc        follower  ready        lag 0
└─ minimal-q0p3m        learner   catching up  lag 4120
   doing: ScaleUp PromoteLearner minimal-q0p3m
   waits: minimal-q0p3m is 4120 entries behind, gate 100";
        assert_eq!(lines(&cluster).join("\n"), expected);
    }

    #[test]
    fn a_cluster_that_nobody_has_looked_at_yet_has_a_line_too() {
        let mut cluster: RaftCluster = serde_saphyr::from_str(RECORDED).unwrap();
        cluster.status = None;
        assert_eq!(lines(&cluster), ["minimal  0/3 ready"]);
    }
}
