//! The graph in some locks: which packages ship follows from the graph and the environment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pkgapp_pypa::{ExtraName, MarkerTree, Version};

/// A package of a lock. A name may have several packages, for different environments.
pub(super) struct LockedNode {
    pub(super) version: Option<Version>,
    pub(super) edges: Vec<DependencyEdge>,
}

/// A dependency of one package on another.
pub(super) struct DependencyEdge {
    /// The packages of the required name. If there are several, other edges decide.
    pub(super) to: Vec<usize>,
    /// Extras that are requested.
    pub(super) extras: Vec<ExtraName>,
    pub(super) marker: MarkerTree,
    /// The extras that bring the dependency; if empty, it always applies.
    pub(super) only_for: Vec<ExtraName>,
}

/// The packages that ship, with their requested extras.
pub(super) type ShippingExtras = BTreeMap<usize, BTreeSet<ExtraName>>;

/// Returns the packages that are reachable from `start`. `holds` evaluates an edge's marker with
/// the active extras of the package that has the edge, and the packages that were reached so far.
pub(super) fn reach(
    nodes: &[LockedNode],
    start: &[DependencyEdge],
    holds: &dyn Fn(MarkerTree, &BTreeSet<ExtraName>, &ShippingExtras) -> bool,
) -> ShippingExtras {
    let mut walk = GraphWalk {
        nodes,
        holds,
        shipping: ShippingExtras::new(),
        waiting: VecDeque::new(),
        open: Vec::new(),
    };
    let none = BTreeSet::new();
    walk.follow(start, &none);
    loop {
        while let Some(next) = walk.waiting.pop_front() {
            let extras = walk.shipping.get(&next).cloned().unwrap_or_default();
            if let Some(node) = nodes.get(next) {
                walk.follow(&node.edges, &extras);
            }
        }
        if !walk.decide() {
            return walk.shipping;
        }
    }
}

struct GraphWalk<'a> {
    nodes: &'a [LockedNode],
    holds: &'a dyn Fn(MarkerTree, &BTreeSet<ExtraName>, &ShippingExtras) -> bool,
    shipping: ShippingExtras,
    waiting: VecDeque<usize>,
    /// Edges to several packages, which are decided after all other edges.
    open: Vec<(Vec<usize>, Vec<ExtraName>)>,
}

impl GraphWalk<'_> {
    fn follow(&mut self, edges: &[DependencyEdge], extras: &BTreeSet<ExtraName>) {
        for edge in edges {
            let is_asked_for = edge.only_for.is_empty()
                || edge.only_for.iter().any(|extra| extras.contains(extra));
            if !is_asked_for || !(self.holds)(edge.marker, extras, &self.shipping) {
                continue;
            }
            match edge.to[..] {
                [] => {}
                [one] => self.ship(one, &edge.extras),
                _ => self.open.push((edge.to.clone(), edge.extras.clone())),
            }
        }
    }

    fn ship(&mut self, index: usize, extras: &[ExtraName]) {
        let is_new = !self.shipping.contains_key(&index);
        let known = self.shipping.entry(index).or_default();
        let before = known.len();
        known.extend(extras.iter().cloned());
        if is_new || known.len() > before {
            self.waiting.push_back(index);
        }
    }

    /// Decides one open edge, first those of which a package ships already; returns `false` if
    /// there is none.
    fn decide(&mut self) -> bool {
        let ships = |to: &[usize]| {
            to.iter()
                .copied()
                .find(|index| self.shipping.contains_key(index))
        };
        let decided = self
            .open
            .iter()
            .enumerate()
            .find_map(|(place, (to, _))| Some((place, ships(to)?)));
        let newest = |to: &[usize]| {
            to.iter()
                .copied()
                .max_by_key(|&index| self.nodes[index].version.clone())
        };
        let decided = decided.or_else(|| Some((0, newest(&self.open.first()?.0)?)));
        let Some((place, index)) = decided else {
            return false;
        };
        let (_, extras) = self.open.remove(place);
        self.ship(index, &extras);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(to: &[usize], extras: &[&str], only_for: &[&str]) -> DependencyEdge {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        DependencyEdge {
            to: to.to_vec(),
            extras: names(extras),
            marker: MarkerTree::TRUE,
            only_for: names(only_for),
        }
    }

    fn shipping(nodes: Vec<(&str, Vec<DependencyEdge>)>, start: &[DependencyEdge]) -> Vec<usize> {
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|(version, edges)| LockedNode {
                version: Some(version.parse().unwrap()),
                edges,
            })
            .collect();
        reach(&nodes, start, &|marker, _, _| marker.is_true())
            .into_keys()
            .collect()
    }

    #[test]
    fn extras_that_are_asked_for_late_are_followed_too() {
        // 0 needs 1 and 2; 2 needs 1[x]; 1 needs 3 for x, and 4 for y, which nobody asks for.
        let nodes = vec![
            ("1", vec![edge(&[1], &[], &[]), edge(&[2], &[], &[])]),
            ("1", vec![edge(&[3], &[], &["x"]), edge(&[4], &[], &["y"])]),
            ("1", vec![edge(&[1], &["x"], &[])]),
            ("1", vec![edge(&[0], &[], &[])]),
            ("1", vec![]),
        ];
        assert_eq!(shipping(nodes, &[edge(&[0], &[], &[])]), [0, 1, 2, 3]);
    }

    #[test]
    fn an_edge_to_several_packages_takes_the_one_that_ships_else_the_newest() {
        let nodes = || {
            vec![
                ("1", vec![edge(&[1, 2], &[], &[])]),
                ("1.9", vec![]),
                ("1.10", vec![]),
                ("1", vec![]),
            ]
        };
        assert_eq!(shipping(nodes(), &[edge(&[0], &[], &[])]), [0, 2]);
        assert_eq!(
            shipping(nodes(), &[edge(&[0], &[], &[]), edge(&[1], &[], &[])]),
            [0, 1]
        );
    }
}
