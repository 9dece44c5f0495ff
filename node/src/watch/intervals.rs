//! Which of many spans of keys hold a given key, in time by how many do and the logarithm of how many there are.
//!
//! An AVL tree of the distinct spans, ordered by start, each node knowing how far its subtree's spans reach at most.
//!
//! Invariants:
//! - Nodes are in the order of their spans; no node is without members.
//! - The heights of a node's subtrees differ by at most one, so that recursion is never deep, whoever chooses the spans.
//! - `reach` is the largest end in the subtree.
//!
//! What this module deliberately does not do: single keys, which [`super::index`] finds by hashing.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bytes::Bytes;

/// `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: Bytes,
    pub(super) end: End,
}

/// Where a span ends. In this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Before this key.
    Before(Bytes),
    /// With the last of all keys.
    Never,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < &end[..],
            Self::Never => true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Intervals<M> {
    root: Link<M>,
}

type Link<M> = Option<Box<Node<M>>>;

#[derive(Debug)]
struct Node<M> {
    span: Span,
    members: BTreeSet<M>,
    reach: End,
    height: u8,
    left: Link<M>,
    right: Link<M>,
}

impl<M> Default for Intervals<M> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<M: Ord + Copy> Intervals<M> {
    /// Adds a member under its span.
    pub(super) fn insert(&mut self, span: Span, member: M) {
        self.root = Some(insert(self.root.take(), span, member));
    }

    /// Takes a member out that was added under this span.
    pub(super) fn remove(&mut self, span: &Span, member: M) {
        self.root = remove(self.root.take(), span, member);
    }

    /// Adds everybody whose span holds `key` to `found`.
    pub(super) fn holding(&self, key: &[u8], found: &mut Vec<M>) {
        holding(&self.root, key, found);
    }
}

fn holding<M: Copy>(link: &Link<M>, key: &[u8], found: &mut Vec<M>) {
    let Some(node) = link.as_ref().filter(|node| node.reach.is_after(key)) else {
        return;
    };
    holding(&node.left, key, found);
    if &node.span.start[..] <= key {
        if node.span.end.is_after(key) {
            found.extend(node.members.iter().copied());
        }
        holding(&node.right, key, found);
    }
}

fn insert<M: Ord>(link: Link<M>, span: Span, member: M) -> Box<Node<M>> {
    let Some(mut node) = link else {
        return Box::new(Node {
            reach: span.end.clone(),
            span,
            members: BTreeSet::from([member]),
            height: 1,
            left: None,
            right: None,
        });
    };
    match span.cmp(&node.span) {
        Ordering::Less => node.left = Some(insert(node.left.take(), span, member)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), span, member)),
        Ordering::Equal => {
            node.members.insert(member);
            return node;
        }
    }
    balanced(node)
}

fn remove<M: Ord>(link: Link<M>, span: &Span, member: M) -> Link<M> {
    let mut node = link?;
    match span.cmp(&node.span) {
        Ordering::Less => node.left = remove(node.left.take(), span, member),
        Ordering::Greater => node.right = remove(node.right.take(), span, member),
        Ordering::Equal => {
            node.members.remove(&member);
            if node.members.is_empty() {
                return joined(node.left, node.right);
            }
        }
    }
    Some(balanced(node))
}

/// The two subtrees of a node that is gone.
fn joined<M>(left: Link<M>, right: Link<M>) -> Link<M> {
    let Some(right) = right else { return left };
    let (mut first, rest) = take_first(right);
    first.left = left;
    first.right = rest;
    Some(balanced(first))
}

fn take_first<M>(mut node: Box<Node<M>>) -> (Box<Node<M>>, Link<M>) {
    match node.left.take() {
        None => {
            let rest = node.right.take();
            (node, rest)
        }
        Some(left) => {
            let (first, rest) = take_first(left);
            node.left = rest;
            (first, Some(balanced(node)))
        }
    }
}

/// The node with its subtrees, whose heights differ by at most two, put right.
fn balanced<M>(mut node: Box<Node<M>>) -> Box<Node<M>> {
    match node.tilt() {
        2 => {
            node.left = node.left.take().map(|left| {
                if left.tilt() < 0 {
                    turned_left(left)
                } else {
                    left
                }
            });
            turned_right(node)
        }
        -2 => {
            node.right = node.right.take().map(|right| {
                if right.tilt() > 0 {
                    turned_right(right)
                } else {
                    right
                }
            });
            turned_left(node)
        }
        _ => {
            node.measure();
            node
        }
    }
}

fn turned_right<M>(mut node: Box<Node<M>>) -> Box<Node<M>> {
    let Some(mut top) = node.left.take() else {
        return node;
    };
    node.left = top.right.take();
    node.measure();
    top.right = Some(node);
    top.measure();
    top
}

fn turned_left<M>(mut node: Box<Node<M>>) -> Box<Node<M>> {
    let Some(mut top) = node.right.take() else {
        return node;
    };
    node.right = top.left.take();
    node.measure();
    top.left = Some(node);
    top.measure();
    top
}

fn height<M>(link: &Link<M>) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

impl<M> Node<M> {
    /// By how much the left side is higher.
    fn tilt(&self) -> i8 {
        height(&self.left).cast_signed() - height(&self.right).cast_signed()
    }

    fn measure(&mut self) {
        self.height = 1 + height(&self.left).max(height(&self.right));
        let below = [&self.left, &self.right].into_iter().flatten();
        let reach = below.map(|node| &node.reach).max();
        self.reach = reach
            .map_or(&self.span.end, |reach| reach.max(&self.span.end))
            .clone();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Height, after everything that must hold was looked at.
    fn check(link: &Link<u16>) -> Result<(u8, Option<End>), TestCaseError> {
        let Some(node) = link else {
            return Ok((0, None));
        };
        let (left, left_reach) = check(&node.left)?;
        let (right, right_reach) = check(&node.right)?;
        prop_assert!(left.abs_diff(right) <= 1, "{left} beside {right}");
        prop_assert_eq!(node.height, 1 + left.max(right));
        prop_assert!(!node.members.is_empty());
        let reach = left_reach.max(right_reach).max(Some(node.span.end.clone()));
        prop_assert_eq!(Some(&node.reach), reach.as_ref());
        Ok((node.height, reach))
    }

    fn span(start: u8, len: u8) -> Span {
        let end = start.checked_add(len).filter(|end| *end < 250);
        Span {
            start: vec![start].into(),
            end: end.map_or(End::Never, |end| End::Before(vec![end].into())),
        }
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_spans(
            steps in vec((any::<u8>(), 1..60_u8, 0..40_u16, any::<bool>()), 1..300),
            keys in vec(any::<u8>(), 8),
        ) {
            let (mut tree, mut list) = (Intervals::default(), BTreeSet::new());
            for (start, len, member, adds) in steps {
                let span = span(start / 8, len / 8 + 1);
                if adds {
                    tree.insert(span.clone(), member);
                    list.insert((span, member));
                } else if let Some((span, member)) = list.iter().nth(usize::from(member)).cloned() {
                    tree.remove(&span, member);
                    list.remove(&(span, member));
                }
                check(&tree.root)?;
                for key in &keys {
                    let key = [key / 8];
                    let mut found = Vec::new();
                    tree.holding(&key, &mut found);
                    found.sort_unstable();
                    let holds = |span: &Span| span.start[..] <= key[..] && span.end.is_after(&key);
                    let mut expected: Vec<u16> =
                        list.iter().filter(|(span, _)| holds(span)).map(|(_, member)| *member).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(&found, &expected);
                }
            }
        }
    }

    #[test]
    fn spans_in_order_make_no_list() {
        let mut tree = Intervals::default();
        for number in 0..4_096_u16 {
            let start = number.to_be_bytes().to_vec().into();
            tree.insert(
                Span {
                    start,
                    end: End::Never,
                },
                number,
            );
        }
        assert!(height(&tree.root) <= 13, "{}", height(&tree.root));
    }
}
