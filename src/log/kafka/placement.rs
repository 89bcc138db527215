//! Which node a board is best served by: the one that stores its partition reads all of its records anyway.
//!
//! The group of those who store says who has which partition, and finds out by itself who is gone. A node's address
//! travels in the name that its client has there, so there is no list of nodes to keep.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use parking_lot::RwLock;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio_util::sync::{CancellationToken, DropGuard};
use xxhash_rust::xxh3::xxh3_64;

use super::settings::KafkaSettings;
use super::{ASK_TIMEOUT, KafkaError, Quiet};
use crate::protocol::Route;
use crate::protocol::ids::BoardId;

/// Between two looks at the group.
const LOOK: Duration = Duration::from_secs(2);

/// What this node knows of the others.
pub(super) struct Placement {
    here: String,
    partitions: u32,
    nodes: Arc<RwLock<Vec<Node>>>,
    _looking: DropGuard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    address: String,
    partitions: Vec<i32>,
}

impl Placement {
    /// Begins to look, if this node has an address that clients can be told.
    pub(super) fn start(settings: &KafkaSettings) -> Result<Option<Self>, KafkaError> {
        let Some(here) = settings.address.clone() else {
            return Ok(None);
        };
        let client = BaseConsumer::from_config_and_context(&settings.admin(), Quiet)?;
        let (nodes, stop) = (Arc::default(), CancellationToken::new());
        let look = Look {
            client: Arc::new(client),
            group: settings.storing_group(),
            topic: settings.edits_topic(),
            nodes: Arc::clone(&nodes),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(look.repeat()));
        Ok(Some(Self {
            here,
            partitions: settings.partitions,
            nodes,
            _looking: stop.drop_guard(),
        }))
    }

    pub(super) fn route(&self, board: &BoardId) -> Route {
        Route {
            here: Some(self.here.clone()),
            hosts: hosts(&self.nodes.read(), board, self.partitions),
        }
    }

    pub(super) fn is_node(&self, address: &str) -> bool {
        self.nodes.read().iter().any(|node| node.address == address)
    }
}

/// Who has the board's partition first; then the others, for each board in an order of its own, so that those who are
/// sent on do not all go to one.
fn hosts(nodes: &[Node], board: &BoardId, partitions: u32) -> Vec<String> {
    let partition = i64::from(board.partition(partitions));
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by_cached_key(|node| {
        let is_owner = node.partitions.iter().any(|own| i64::from(*own) == partition);
        let draw = xxh3_64(format!("{board} {}", node.address).as_bytes());
        (!is_owner, draw)
    });
    nodes.iter().map(|node| node.address.clone()).collect()
}

struct Look {
    client: Arc<BaseConsumer<Quiet>>,
    group: String,
    topic: String,
    nodes: Arc<RwLock<Vec<Node>>>,
}

impl Look {
    async fn repeat(self) {
        loop {
            let (client, group, topic) = (Arc::clone(&self.client), self.group.clone(), self.topic.clone());
            let looking = tokio::task::spawn_blocking(move || members(&client, &group, &topic));
            // Nobody answers, or the group is about to settle: what was known stays.
            if let Ok(Some(nodes)) = looking.await {
                *self.nodes.write() = nodes;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn members(client: &BaseConsumer<Quiet>, group: &str, topic: &str) -> Option<Vec<Node>> {
    let groups = client.fetch_group_list(Some(group), ASK_TIMEOUT);
    let groups = groups.inspect_err(|error| tracing::debug!(%error, "The group did not tell its members."));
    let groups = groups.ok()?;
    let group = groups.groups().iter().find(|found| found.state() == "Stable")?;
    let nodes = group.members().iter().filter_map(|member| {
        let (_, address) = member.client_id().split_once(' ')?;
        Some(Node {
            address: address.to_owned(),
            partitions: assigned(member.assignment()?, topic)?,
        })
    });
    Some(nodes.collect())
}

/// Partitions of the topic in an assignment of Kafka's consumer protocol: a version, then for each topic its name and
/// partitions (`ConsumerProtocolAssignment.json` of Apache Kafka).
fn assigned(mut bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    let _version = bytes.try_get_i16().ok()?;
    let mut partitions = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let name_bytes = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (name, rest) = bytes.split_at_checked(name_bytes)?;
        bytes = rest;
        for _ in 0..bytes.try_get_i32().ok()? {
            let partition = bytes.try_get_i32().ok()?;
            if name == topic.as_bytes() {
                partitions.push(partition);
            }
        }
    }
    Some(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, partitions: &[i32]) -> Node {
        Node {
            address: address.to_owned(),
            partitions: partitions.to_vec(),
        }
    }

    #[test]
    fn the_owner_of_the_partition_comes_first_and_all_others_behind() {
        // Partition 31 of 64, see `partitions_never_change`.
        let board = BoardId::new("a").unwrap();
        let nodes = [
            node("http://one", &[0, 1]),
            node("http://two", &[30, 31]),
            node("http://three", &[]),
        ];
        let found = hosts(&nodes, &board, 64);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], "http://two");
        let firsts = (0..50).map(|number| {
            let board = BoardId::new(format!("b{number}")).unwrap();
            hosts(&nodes[..2], &board, 1_000)[0].clone()
        });
        let firsts: std::collections::BTreeSet<_> = firsts.collect();
        assert_eq!(firsts.len(), 2, "boards that nobody owns are spread");
    }

    #[test]
    fn an_assignment_is_read_and_a_torn_one_is_none() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for (topic, partitions) in [("edits", [3, 60]), ("other", [1, 2])] {
            bytes.extend([0, 5]);
            bytes.extend(topic.as_bytes());
            bytes.extend([0, 0, 0, 2, 0, 0, 0, partitions[0], 0, 0, 0, partitions[1]]);
        }
        bytes.extend([0xff; 4]);
        assert_eq!(assigned(&bytes, "edits"), Some(vec![3, 60]));
        assert_eq!(assigned(&bytes, "none"), Some(vec![]));
        for end in 0..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..end], "edits"), None, "{end}");
        }
    }
}
