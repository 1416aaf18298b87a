//! Aho-Corasick over bytes, with the match rules of mlx-lm's `_build_trie`: the first pattern to
//! end wins; of those that end together, the longest; of equal ones, the last given.

use std::collections::VecDeque;

/// Place in an [`Automaton`].
pub(super) type NodeId = u32;

/// The place before any text.
pub(super) const ROOT: NodeId = 0;

#[derive(Debug, Default)]
struct Node {
    /// Next byte → node, sorted by byte.
    edges: Vec<(u8, NodeId)>,
    fail: NodeId,
    depth: u32,
    /// Index of the pattern that ends here.
    pattern: Option<u32>,
}

/// Finds several patterns in a stream of bytes.
#[derive(Debug)]
pub(super) struct Automaton {
    nodes: Vec<Node>,
    lengths: Vec<usize>,
}

impl Automaton {
    /// An automaton for `patterns`; empty ones never match.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut this = Self { nodes: vec![Node::default()], lengths: Vec::new() };
        for (index, pattern) in patterns.into_iter().enumerate() {
            this.lengths.push(pattern.len());
            let node = pattern.bytes().fold(ROOT, |node, byte| this.child_or_new(node, byte));
            if node != ROOT {
                this.nodes[node as usize].pattern = Some(index as u32);
            }
        }
        this.link();
        this
    }

    fn child(&self, node: NodeId, byte: u8) -> Option<NodeId> {
        let edges = &self.nodes[node as usize].edges;
        edges.binary_search_by_key(&byte, |e| e.0).ok().map(|i| edges[i].1)
    }

    fn child_or_new(&mut self, node: NodeId, byte: u8) -> NodeId {
        let new = self.nodes.len() as NodeId;
        let parent = &mut self.nodes[node as usize];
        match parent.edges.binary_search_by_key(&byte, |e| e.0) {
            Ok(i) => parent.edges[i].1,
            Err(i) => {
                parent.edges.insert(i, (byte, new));
                let depth = parent.depth + 1;
                self.nodes.push(Node { depth, ..Node::default() });
                new
            }
        }
    }

    /// Sets failure links breadth first; a node without a pattern inherits that of its link.
    fn link(&mut self) {
        let mut queue: VecDeque<NodeId> = self.nodes[0].edges.iter().map(|e| e.1).collect();
        while let Some(parent) = queue.pop_front() {
            for (byte, child) in self.nodes[parent as usize].edges.clone() {
                let fail = self.advance(self.nodes[parent as usize].fail, byte);
                let inherited = self.nodes[fail as usize].pattern;
                let node = &mut self.nodes[child as usize];
                node.fail = fail;
                node.pattern = node.pattern.or(inherited);
                queue.push_back(child);
            }
        }
    }

    /// The place after one more byte.
    pub fn advance(&self, mut node: NodeId, byte: u8) -> NodeId {
        loop {
            if let Some(next) = self.child(node, byte) {
                return next;
            }
            if node == ROOT {
                return ROOT;
            }
            node = self.nodes[node as usize].fail;
        }
    }

    /// Index and length in bytes of the pattern that ends at `node`.
    pub fn matched(&self, node: NodeId) -> Option<(usize, usize)> {
        let index = self.nodes[node as usize].pattern? as usize;
        Some((index, self.lengths[index]))
    }

    /// Bytes at the end of the text read so far that may be the beginning of a pattern.
    pub fn depth(&self, node: NodeId) -> usize {
        self.nodes[node as usize].depth as usize
    }
}
