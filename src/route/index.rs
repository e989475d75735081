//! Which routes may match an event, found without looking at the others: exact topics by hash, globs by a trie of their
//! literal starts, both kept by source. Routes that fix neither are always looked at.
//!
//! Holds: the cost grows with the routes that match, not with those that do not (`benches/route.rs`, and a test below).
//! The order of the answer is the order of the file.

use super::glob::Glob;
use crate::model::OWN_SOURCE;
use foldhash::HashMap;
use std::sync::Arc;

/// Finds the routes of an event by source and topic.
#[derive(Debug, Default)]
pub struct Index {
    by_source: HashMap<Arc<str>, Topics>,
    any_source: Topics,
}

/// Routes found for one event, in the order of the file. The first few take no memory of their own.
#[derive(Debug)]
pub struct Found {
    few: [u32; FEW],
    len: usize,
    many: Vec<u32>,
}

const FEW: usize = 32;

#[derive(Debug, Default)]
struct Topics {
    exact: HashMap<Box<str>, Vec<u32>>,
    globs: Trie,
    always: Vec<u32>,
}

/// Nodes by byte; a node holds the globs whose literal start ends there.
#[derive(Debug, Default)]
struct Trie {
    nodes: Vec<TrieNode>,
}

#[derive(Debug, Default)]
struct TrieNode {
    /// Sorted by byte.
    next: Vec<(u8, u32)>,
    globs: Vec<(Glob, u32)>,
}

impl Index {
    /// Adds a route: no `from` is any source of the file, no `topics` is any topic. Routes must be added in the order of the file.
    pub fn add(&mut self, route: u32, from: &[Arc<str>], topics: &[Glob]) {
        if from.is_empty() {
            self.any_source.add(route, topics);
        }
        for source in from {
            self.by_source.entry(Arc::clone(source)).or_default().add(route, topics);
        }
    }

    /// The routes whose source and topic match.
    pub fn find(&self, source: &str, topic: &str) -> Found {
        let mut found = Found { few: [0; FEW], len: 0, many: vec![] };
        if let Some(topics) = self.by_source.get(source) {
            topics.find(topic, &mut found);
        }
        // What the daemon itself says is for those who asked for it by name.
        if source != OWN_SOURCE {
            self.any_source.find(topic, &mut found);
        }
        found.sort();
        found
    }
}

impl Topics {
    fn add(&mut self, route: u32, topics: &[Glob]) {
        if topics.is_empty() {
            self.always.push(route);
        }
        for glob in topics {
            if glob.is_exact() {
                self.exact.entry(glob.text().into()).or_default().push(route);
            } else {
                self.globs.add(glob, route);
            }
        }
    }

    fn find(&self, topic: &str, found: &mut Found) {
        for route in &self.always {
            found.push(*route);
        }
        if let Some(routes) = self.exact.get(topic) {
            for route in routes {
                found.push(*route);
            }
        }
        self.globs.find(topic, found);
    }
}

impl Trie {
    fn add(&mut self, glob: &Glob, route: u32) {
        if self.nodes.is_empty() {
            self.nodes.push(TrieNode::default());
        }
        let mut at = 0;
        for byte in glob.prefix().bytes() {
            let fresh = self.nodes.len();
            let next = &mut self.nodes[at].next;
            match next.binary_search_by_key(&byte, |(b, _)| *b) {
                Ok(i) => at = next[i].1 as usize,
                Err(i) => {
                    next.insert(i, (byte, fresh as u32));
                    self.nodes.push(TrieNode::default());
                    at = fresh;
                }
            }
        }
        self.nodes[at].globs.push((glob.clone(), route));
    }

    fn find(&self, topic: &str, found: &mut Found) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut rest = topic.bytes();
        loop {
            for (glob, route) in &node.globs {
                if glob.matches(topic) {
                    found.push(*route);
                }
            }
            let Some(byte) = rest.next() else { return };
            let Ok(i) = node.next.binary_search_by_key(&byte, |(b, _)| *b) else { return };
            node = &self.nodes[node.next[i].1 as usize];
        }
    }
}

impl Found {
    fn push(&mut self, route: u32) {
        if self.many.is_empty() && self.len < FEW {
            self.few[self.len] = route;
            self.len += 1;
            return;
        }
        if self.many.is_empty() {
            self.many.extend_from_slice(&self.few[..self.len]);
        }
        self.many.push(route);
    }

    /// Into the order of the file, each route once (two of its globs may match).
    fn sort(&mut self) {
        if self.many.is_empty() {
            let few = &mut self.few[..self.len];
            few.sort_unstable();
            let mut kept = 0;
            for i in 0..few.len() {
                if i == 0 || few[i] != few[i - 1] {
                    few[kept] = few[i];
                    kept += 1;
                }
            }
            self.len = kept;
        } else {
            self.many.sort_unstable();
            self.many.dedup();
        }
    }

    /// Keeps only some.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        if self.many.is_empty() {
            let mut kept = 0;
            for i in 0..self.len {
                if keep(self.few[i]) {
                    self.few[kept] = self.few[i];
                    kept += 1;
                }
            }
            self.len = kept;
        } else {
            self.many.retain(|route| keep(*route));
            // An empty list means that the few count.
            self.len = 0;
        }
    }

    /// Places in the list of routes, ascending.
    pub fn routes(&self) -> &[u32] {
        if self.many.is_empty() { &self.few[..self.len] } else { &self.many }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts.iter().map(|text| Glob::parse(text).unwrap()).collect()
    }

    #[test]
    fn routes_come_in_the_order_of_the_file_each_once() {
        let mut index = Index::default();
        index.add(0, &[], &globs(&["ORDER_*"]));
        index.add(1, &["shop".into()], &globs(&["ORDER_PAID", "ORDER_P*", "**"]));
        index.add(2, &["other".into()], &globs(&["ORDER_PAID"]));
        index.add(3, &["shop".into(), "other".into()], &[]);
        index.add(4, &[], &globs(&["*_PAID"]));
        assert_eq!(index.find("shop", "ORDER_PAID").routes(), [0, 1, 3, 4]);
        assert_eq!(index.find("other", "ORDER_PAID").routes(), [0, 2, 3, 4]);
        assert_eq!(index.find("third", "REFUND").routes(), [0_u32; 0]);
        assert_eq!(index.find("shop", "a.b").routes(), [1, 3]);
    }

    #[test]
    fn what_the_daemon_says_goes_to_routes_that_name_it() {
        let mut index = Index::default();
        index.add(0, &[], &globs(&["**"]));
        index.add(1, &[OWN_SOURCE.into()], &globs(&["output.*"]));
        index.add(2, &["shop".into(), OWN_SOURCE.into()], &[]);
        assert_eq!(index.find(OWN_SOURCE, "output.down").routes(), [1, 2]);
        assert_eq!(index.find("shop", "output.down").routes(), [0, 2]);
    }

    #[test]
    fn more_routes_than_fit_on_the_stack_are_all_found() {
        let mut index = Index::default();
        (0..100).for_each(|route| index.add(route, &[], &globs(&["a*", "ab"])));
        assert_eq!(index.find("x", "ab").routes(), (0..100).collect::<Vec<_>>());
        let kept = |keep: fn(u32) -> bool| {
            let mut found = index.find("x", "ab");
            found.retain(keep);
            found.routes().to_vec()
        };
        assert_eq!(kept(|route| route > 97), [98, 99]);
        assert_eq!(kept(|_| false), [0_u32; 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        /// Against each route asked by itself, in words that share nothing with the index: our own events too, letters of two bytes, and more
        /// matches than fit on the stack.
        #[test]
        fn the_index_finds_what_asking_every_route_finds(
            routes in proptest::collection::vec((proptest::collection::vec("[st]|switchyard", 0..3), proptest::collection::vec("[abü.*?]{1,5}", 0..3)), 0..100),
            source in "[stu]|switchyard",
            topic in "[abü.]{1,5}",
        ) {
            let mut index = Index::default();
            let mut expected = vec![];
            for (i, (from, topics)) in routes.iter().enumerate() {
                let Ok(globs) = topics.iter().map(|t| Glob::parse(t)).collect::<Result<Vec<_>, _>>() else { continue };
                let sources: Vec<Arc<str>> = from.iter().map(|s| s.as_str().into()).collect();
                index.add(i as u32, &sources, &globs);
                let taken = if from.is_empty() { source != OWN_SOURCE } else { from.contains(&source) };
                if taken && (topics.is_empty() || topics.iter().any(|glob| switchyard_reference::glob::matches(glob, &topic))) {
                    expected.push(i as u32);
                }
            }
            let found = index.find(&source, &topic);
            prop_assert_eq!(found.routes(), expected);
        }
    }

    /// Nodes and globs that one look-up touches.
    fn touched(index: &Index, source: &str, topic: &str) -> usize {
        let mut count = 0;
        for topics in index.by_source.get(source).into_iter().chain([&index.any_source]) {
            count += topics.always.len() + topics.exact.get(topic).map_or(0, Vec::len);
            let Some(mut node) = topics.globs.nodes.first() else { continue };
            let mut rest = topic.bytes();
            loop {
                count += 1 + node.globs.len();
                let Some(byte) = rest.next() else { break };
                let Ok(i) = node.next.binary_search_by_key(&byte, |(b, _)| *b) else { break };
                node = &topics.globs.nodes[node.next[i].1 as usize];
            }
        }
        count
    }

    #[test]
    fn ten_thousand_routes_that_do_not_match_cost_what_ten_cost() {
        let work = |others: u32| {
            let mut index = Index::default();
            index.add(0, &["shop".into()], &globs(&["ORDER_*"]));
            for i in 0..others {
                let glob = if i % 2 == 0 { format!("TOPIC_{i}") } else { format!("TOPIC_{i}_*") };
                index.add(1 + i, &[], &globs(&[&glob]));
            }
            assert_eq!(index.find("shop", "ORDER_PAID").routes(), [0]);
            touched(&index, "shop", "ORDER_PAID")
        };
        assert_eq!(work(10), work(10_000));
    }
}
