use super::*;

#[test]
fn no_right_reaches_further_than_its_purpose() {
    for right in all() {
        let words = [&right.group, &right.resource]
            .into_iter()
            .chain(right.verbs);
        assert!(!words.clone().any(|word| *word == "*"), "{right:?}");
        let resource = right.resource;
        assert!(!resource.contains("exec"), "{right:?}");
        let reaches_all =
            |verb: &&str| ["list", "watch", "delete", "deletecollection"].contains(verb);
        assert!(
            resource != "secrets" || !right.verbs.iter().any(reaches_all),
            "{right:?}"
        );
        assert_ne!(right.group, "rbac.authorization.k8s.io", "{right:?}");
        assert!(
            !right.why.is_empty() && right.verbs.is_sorted(),
            "{right:?}"
        );
    }
}

#[test]
fn a_call_is_permitted_by_group_resource_and_verb_together() {
    assert!(permits("", "pods", "patch"));
    assert!(!permits("policy", "pods", "patch"));
    assert!(!permits("", "services", "delete"));
    assert!(!permits("", "pods/exec", "create"));
}
