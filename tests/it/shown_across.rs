//! What is shown and never stored crosses nodes: people, pointers, strokes in the making, awareness.

use std::collections::VecDeque;
use std::time::Duration;

use panseo::protocol::{EphemeralState, ServerFrame};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, interval, timeout};

use crate::support::live::{Socket, y};
use crate::support::pair::{At, Pair};

/// Time in which somebody who leaves is gone everywhere.
const GONE_WITHIN: Duration = Duration::from_secs(2);
/// Awareness on the Yjs door.
const AWARENESS: &[u8] = &[1];

/// A client of our own door, with what it was shown and nobody has looked at.
struct Viewer {
    socket: Socket,
    shown: VecDeque<EphemeralState>,
}

impl Viewer {
    async fn joins(pair: &Pair, at: At, board: &str, user: &str) -> Self {
        Self {
            socket: pair.own(at, board, user).await,
            shown: VecDeque::new(),
        }
    }

    /// The next state that this client is shown.
    async fn next(&mut self) -> EphemeralState {
        while self.shown.is_empty() {
            let look = |frame| match frame {
                ServerFrame::Ephemeral { states } => Some(states),
                _ => None,
            };
            self.shown.extend(self.socket.find(look).await);
        }
        self.shown.pop_front().unwrap()
    }

    /// Reads on until a state of this kind by that user comes; gives its data.
    async fn sees(&mut self, user: &str, kind: &str) -> Json {
        loop {
            let state = self.next().await;
            if state.user.as_str() == user && state.kind == kind {
                return (&state.data).into();
            }
        }
    }

    async fn shows(&mut self, kind: &str, gesture: Option<&str>, data: Json) {
        let mut frame = json!({ "t": "ephemeral", "kind": kind, "data": data });
        if let Some(gesture) = gesture {
            frame["gesture"] = json!(gesture);
        }
        self.socket.text(&frame.to_string()).await;
    }
}

/// Reads on until an awareness message holds all of these texts.
async fn sees_awareness(socket: &mut Socket, texts: &[&str]) {
    loop {
        let message = socket.find_y(AWARENESS).await;
        let message = String::from_utf8_lossy(&message);
        if texts.iter().all(|text| message.contains(text)) {
            return;
        }
    }
}

/// An awareness update with one state.
fn awareness(client: u8, clock: u8, state: &str) -> Vec<u8> {
    let length = u8::try_from(state.len()).unwrap();
    y(AWARENESS, &[&[1, client, clock, length], state.as_bytes()].concat())
}

/// People of one board on two nodes, through both doors.
struct Class {
    mina: Viewer,
    jun: Socket,
    hana: Viewer,
    sora: Socket,
}

impl Class {
    /// Mina and Jun (Yjs) at the first node, Hana and Sora (Yjs) at the second.
    async fn meets(pair: &Pair, board: &str) -> Self {
        pair.board(board).await;
        let mut class = Self {
            mina: Viewer::joins(pair, At::One, board, "mina").await,
            jun: pair.yjs(At::One, board, "jun").await,
            hana: Viewer::joins(pair, At::Two, board, "hana").await,
            sora: pair.yjs(At::Two, board, "sora").await,
        };
        class.jun.binary(awareness(71, 1, r#"{"tool":"pen"}"#)).await;
        class.sora.binary(awareness(72, 1, r#"{"tool":"eraser"}"#)).await;
        class
    }

    async fn see_each_other(&mut self) {
        self.mina.sees("hana", "join").await;
        let state = self.mina.sees("sora", "awareness").await;
        assert_eq!(state["tool"], "eraser");
        self.hana.sees("jun", "awareness").await;
        sees_awareness(&mut self.sora, &["pen", "\"jun\""]).await;
        sees_awareness(&mut self.jun, &["eraser", "\"sora\""]).await;
    }

    async fn see_what_is_shown(&mut self) {
        self.mina.shows("pointer", None, json!({ "x": 11, "y": 12 })).await;
        let pointer = self.hana.sees("mina", "pointer").await;
        assert_eq!(pointer, json!({ "x": 11, "y": 12 }));
        sees_awareness(&mut self.sora, &["\"x\":11", "\"mina\""]).await;
        self.sora
            .binary(awareness(72, 2, r#"{"pointer":{"x":21,"y":22}}"#))
            .await;
        let state = self.mina.sees("sora", "awareness").await;
        assert_eq!(state["pointer"], json!({ "x": 21, "y": 22 }));
        sees_awareness(&mut self.jun, &["\"x\":21", "\"sora\""]).await;
    }

    /// All pieces of a stroke arrive in their order, and nothing of it behind its commit.
    async fn see_a_stroke(&mut self) {
        let gesture = "01890000-0000-7000-8000-000000000001";
        let mut pace = interval(Duration::from_millis(5));
        for piece in 0..100 {
            pace.tick().await;
            self.mina.shows("stroke", Some(gesture), json!({ "n": piece })).await;
        }
        for number in 0..100 {
            assert_eq!(self.hana.sees("mina", "stroke").await, json!({ "n": number }));
        }
        let element = json!({ "id": "s", "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 });
        let commit = json!({ "t": "op", "seq": 1, "gesture": gesture,
            "ops": [{ "op": "element.create", "element": element }] });
        self.mina.socket.text(&commit.to_string()).await;
        let committed = |frame| matches!(frame, ServerFrame::Event { .. }).then_some(());
        self.hana.socket.find(committed).await;
        self.mina.shows("pointer", None, json!({ "x": 1, "y": 1 })).await;
        loop {
            match self.hana.next().await.kind.as_str() {
                "stroke" => panic!("a piece came behind its record"),
                "pointer" => return,
                _ => {}
            }
        }
    }

    async fn see_who_leaves(self) {
        let Self {
            mina,
            jun,
            mut hana,
            mut sora,
        } = self;
        drop(jun);
        let left = timeout(GONE_WITHIN, hana.sees("jun", "leave")).await;
        left.expect("who leaves is gone within 2 s");
        // Mina's pointer ends for Yjs clients: the `null` of an entry is the last text of a message.
        drop(mina);
        let left = timeout(GONE_WITHIN, hana.sees("mina", "leave")).await;
        left.expect("who leaves is gone within 2 s");
        timeout(GONE_WITHIN, sees_awareness(&mut sora, &["null"]))
            .await
            .expect("who leaves is gone within 2 s");
    }
}

// [R-78]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_both_nodes_see_each_other() {
    let pair = Pair::in_memory().await;
    let mut class = Class::meets(&pair, "lesson").await;
    class.see_each_other().await;
    class.see_what_is_shown().await;
    class.see_a_stroke().await;
    class.see_who_leaves().await;
    pair.stop().await;
}

/// Records in all partitions of a topic.
fn records(pair: &Pair, topic: &str) -> i64 {
    let settings = &pair.ground.as_ref().unwrap().broker.settings;
    let topic = format!("{}.{topic}.v1", settings.prefix);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers);
    let consumer: BaseConsumer = config.create().unwrap();
    let ends = (0..settings.partitions).map(|partition| {
        let partition = i32::try_from(partition).unwrap();
        let (low, high) = consumer
            .fetch_watermarks(&topic, partition, Duration::from_secs(10))
            .unwrap();
        high - low
    });
    ends.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_two_real_nodes_see_each_other() {
    let Some(mut pair) = Pair::real().await else { return };
    // Alone, nothing but who is here is told.
    pair.board("alone").await;
    let mut mina = Viewer::joins(&pair, At::One, "alone", "mina").await;
    for x in 0..60 {
        mina.shows("pointer", None, json!({ "x": x, "y": 1 })).await;
        mina.sees("mina", "pointer").await;
    }
    assert_eq!(records(&pair, "cursors"), 0);
    assert!(records(&pair, "presence") > 0);
    let mut class = Class::meets(&pair, "lesson").await;
    class.see_each_other().await;
    class.see_what_is_shown().await;
    class.see_a_stroke().await;
    assert!(records(&pair, "cursors") > 0);
    class.see_who_leaves().await;
    planned_stop_and_loss(&mut pair).await;
    let (_, metrics) = pair.servers[0].request("GET", "/metrics", "", "").await;
    for feature in ["presence", "cursors", "control"] {
        let lag = format!("panseo_kafka_lag{{feature=\"{feature}\"");
        assert!(metrics.contains(&lag), "no lag of {feature}");
    }
    for direction in ["in", "out"] {
        let relayed = format!("panseo_relayed_total{{feature=\"cursors\",direction=\"{direction}\"}}");
        assert!(metrics.contains(&relayed), "nothing went {direction}");
    }
}

/// A node that stops as it should takes its people along at once; one that is killed does after the grace.
async fn planned_stop_and_loss(pair: &mut Pair) {
    let mut mina = Viewer::joins(pair, At::One, "lesson", "mina").await;
    let mut hana = Viewer::joins(pair, At::Two, "lesson", "hana").await;
    mina.sees("hana", "join").await;
    let stop = std::process::Command::new("kill")
        .arg(pair.servers[1].child.id().to_string())
        .status();
    assert!(stop.unwrap().success());
    assert_eq!(hana.socket.closed().await, 1012);
    timeout(GONE_WITHIN, mina.sees("hana", "leave"))
        .await
        .expect("who was on a node that stops is gone within 2 s");
    pair.servers[1].restart();
    pair.addresses[1] = pair.servers[1].address;
    let hana = Viewer::joins(pair, At::Two, "lesson", "hana").await;
    mina.sees("hana", "join").await;
    let killed = Instant::now();
    pair.servers[1].child.kill().unwrap();
    drop(hana);
    loop {
        let pause = Duration::from_secs(15);
        if timeout(pause, mina.sees("hana", "leave")).await.is_ok() {
            break;
        }
        assert!(killed.elapsed() < Duration::from_secs(35), "a ghost stays");
    }
    let seconds = killed.elapsed().as_secs();
    assert!(
        (15..35).contains(&seconds),
        "gone after {seconds} s: the grace is 30 s after the last refresh"
    );
}
