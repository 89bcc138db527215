//! Random editing by several clients, mutants of its updates, and what the guard costs.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Xorshift: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }
}

fn random_edit(dice: &mut Dice, doc: &Doc, name: &str) -> Vec<u8> {
    edit(doc, |txn| {
        for _ in 0..=dice.roll(3) {
            let id = format!("e{}", dice.roll(12));
            let root = elements(txn);
            let known: Option<MapRef> = root.get(txn, &id).and_then(|out| out.cast().ok());
            match (dice.roll(14), known) {
                (0, _) | (_, None) => {
                    root.insert(txn, id, element("line"));
                }
                (1, _) => {
                    root.remove(txn, &id);
                }
                (2, Some(map)) => {
                    map.remove(txn, "text");
                }
                (3, Some(map)) => {
                    map.insert(txn, "text", "hello");
                }
                (4, _) => {
                    txn.get_or_insert_map("board:likes")
                        .insert(txn, format!("{id}:{name}"), 1);
                }
                (5, _) => {
                    txn.get_or_insert_map("board:likes")
                        .remove(txn, &format!("{id}:{name}"));
                }
                (6, _) => {
                    let text = txn.get_or_insert_text("notes");
                    let at = text.len(txn);
                    text.insert(txn, u32::try_from(dice.roll(at as usize + 1)).unwrap(), "안🖍x");
                }
                (7, _) => {
                    let text = txn.get_or_insert_text("notes");
                    let at = text.len(txn);
                    if at > 4 {
                        text.remove_range(txn, u32::try_from(dice.roll(at as usize - 3)).unwrap(), 2);
                    }
                }
                (8, _) => {
                    let list = txn.get_or_insert_array("theirs");
                    let at = u32::try_from(dice.roll(list.len(txn) as usize + 1)).unwrap();
                    let map = list.insert(txn, at, MapPrelim::default());
                    map.insert(txn, "a", MapPrelim::from([("b", Any::from(1))]));
                    if at > 3 {
                        list.remove(txn, at - 2);
                    }
                }
                (_, Some(map)) => {
                    map.insert(txn, "x", i64::try_from(dice.roll(500)).unwrap());
                    map.insert(txn, "y", 2);
                }
            }
        }
    })
}

fn assert_same_as_yrs(bytes: &[u8]) {
    let walk = walk(bytes).unwrap();
    let theirs = Update::decode_v1(bytes).unwrap();
    let mut mine = BTreeSet::new();
    let mut clocks = BTreeSet::new();
    for block in walk.blocks() {
        mine.extend((block.clock..block.clock + block.len).map(|clock| (block.client, clock)));
    }
    for (client, ranges) in theirs.insertions(true).iter() {
        for range in ranges.iter() {
            clocks.extend(range.clone().map(|clock| (client.get(), clock)));
        }
    }
    assert_eq!(mine, clocks);
    let mine: BTreeSet<_> = walk
        .deletes()
        .map(|range| (range.client, range.from, range.to))
        .collect();
    let mut deletes = BTreeSet::new();
    for (client, ranges) in theirs.delete_set().iter() {
        deletes.extend(ranges.iter().map(|range| (client.get(), range.start, range.end)));
    }
    assert_eq!(mine, deletes);
}

/// What a client of the board holds back while it is offline.
struct Peer {
    doc: Doc,
    user: UserId,
    queue: Vec<Vec<u8>>,
    is_offline: bool,
}

/// Five clients edit, go offline and come back; `visit` sees every update that reaches the board.
fn class(seed: u64, rounds: usize, mut visit: impl FnMut(&Board, &[u8], &UserId)) -> Board {
    let mut dice = Dice(seed);
    let mut board = Board::new();
    let mut peers: Vec<_> = ["anna", "ben", "cho", "dan", "eve"]
        .iter()
        .zip(1..)
        .map(|(name, client)| Peer {
            doc: doc(client * 1_000),
            user: user(name),
            queue: Vec::new(),
            is_offline: false,
        })
        .collect();
    for round in 0..rounds {
        let who = dice.roll(peers.len());
        let update = random_edit(&mut dice, &peers[who].doc, peers[who].user.as_str());
        peers[who].queue.push(update);
        if dice.roll(6) == 0 {
            peers[who].is_offline = !peers[who].is_offline;
        }
        if peers[who].is_offline {
            continue;
        }
        let queue = std::mem::take(&mut peers[who].queue);
        let updates = if queue.len() > 1 && dice.roll(2) == 0 {
            let vector = board.doc.transact().state_vector();
            vec![peers[who].doc.transact().encode_diff_v1(&vector)]
        } else {
            queue
        };
        for update in updates {
            assert_same_as_yrs(&update);
            visit(&board, &update, &peers[who].user);
            match board.check(&update, &peers[who].user) {
                Ok(Checked::Known) => continue,
                Ok(Checked::New(_)) => {}
                Err(refusal) => panic!("seed {seed}, round {round}: {refusal}"),
            }
            let emitted = apply(&board.doc, &update);
            assert_same_as_yrs(&emitted);
            let walk = walk_within(&emitted, &WalkLimits::TRUSTED).unwrap();
            board.index.note(&walk, Some(&peers[who].user), &[]).unwrap();
        }
        let state = board
            .doc
            .transact()
            .encode_diff_v1(&peers[who].doc.transact().state_vector());
        apply(&peers[who].doc, &state);
        if round % 50 == 0 {
            board.assert_level();
        }
    }
    board.assert_level();
    board
}

#[test]
fn random_editing_keeps_index_and_document_level() {
    for seed in 1..=12 {
        class(seed * 7919, 600, |_, _, _| {});
    }
}

fn mutate(dice: &mut Dice, update: &[u8], other: &[u8]) -> Vec<u8> {
    let mut mutant = update.to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(mutant.len().max(1));
        match dice.roll(8) {
            0 => mutant.truncate(at),
            1 if !other.is_empty() => {
                let cut = dice.roll(other.len());
                mutant.truncate(at);
                mutant.extend_from_slice(&other[cut..]);
            }
            2 => {
                mutant.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
            }
            3 => {
                mutant.splice(at..at, [117, 1].repeat(40));
            }
            4 if at + 8 < mutant.len() => {
                let copy = mutant[at..at + 8].to_vec();
                {
                    mutant.splice(at..at, copy);
                }
            }
            5 if at < mutant.len() => mutant[at] = mutant[at].wrapping_add(1),
            _ if at < mutant.len() => mutant[at] ^= 1 << dice.roll(8),
            _ => {}
        }
    }
    mutant
}

/// Applies what the guard lets through to a copy of the document, which must not die, park anything, or differ.
fn survives(state: &[u8], index: &BlockIndex, mutant: &[u8], user: &UserId) -> Option<bool> {
    let walk = walk(mutant).ok()?;
    let context = CheckContext {
        user,
        is_handover: false,
        may_bind: &|_| true,
        may_relay: &|_| Relay::No,
    };
    let Ok(Checked::New(admission)) = index.check(&walk, &context) else {
        return None;
    };
    // A value that came and went may leave none: the caller is told, and puts the old one back.
    let is_told = |id: &str, property: Property| {
        let mut touched = admission.touched.iter();
        touched.any(|touch| {
            let is_changed =
                matches!(&touch.deed, Deed::Changed { set, unset } if set.union(*unset).contains(property));
            &*touch.id == id && is_changed
        })
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let copy = doc(1 << 33);
        apply(&copy, state);
        let emitted = apply(&copy, mutant);
        assert!(!copy.transact().has_missing_updates(), "parked");
        let mut fresh = BlockIndex::new();
        fresh
            .note(&walk_within(state, &WalkLimits::TRUSTED).unwrap(), None, &[])
            .unwrap();
        fresh
            .note(&walk_within(&emitted, &WalkLimits::TRUSTED).unwrap(), None, &[])
            .unwrap();
        for (client, clock) in copy.transact().state_vector().iter() {
            assert_eq!(fresh.next_clock(client.get()), *clock);
        }
        for advance in walk.sections() {
            assert!(fresh.next_clock(advance.client) >= advance.to);
        }
        let txn = copy.transact();
        let Some(root) = txn.get_map("board:elements") else {
            return;
        };
        for (id, out) in root.iter(&txn) {
            let map: MapRef = out.cast().unwrap_or_else(|_| panic!("{id} is no map"));
            for property in [Property::Type, Property::X, Property::Y, Property::Pos] {
                let key = property.name();
                assert!(
                    map.contains_key(&txn, key) || is_told(id, property),
                    "{id} has no {key}"
                );
            }
        }
    }));
    Some(outcome.is_ok())
}

fn many(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |count| count.parse().unwrap())
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the share that is applied tells whether the mutants are any good"
)]
fn mutants_that_pass_the_guard_do_no_harm() {
    let wanted = many("PANSEO_MUTANTS", 20_000);
    let (mut tried, mut passed, mut bad) = (0, 0, Vec::new());
    let mut dice = Dice(4242);
    let mut seed = 0;
    while tried < wanted {
        seed += 1;
        let mut last = Vec::new();
        class(seed * 104_729, 120, |board, update, user| {
            let state = board.doc.transact().encode_diff_v1(&StateVector::default());
            for _ in 0..60 {
                let mutant = mutate(&mut dice, update, &last);
                tried += 1;
                let verdict = survives(&state, &board.index, &mutant, user);
                passed += usize::from(verdict.is_some());
                if verdict == Some(false) && bad.len() < 5 {
                    bad.push((seed, mutant, update.to_vec()));
                }
            }
            last = update.to_vec();
        });
    }
    println!("{tried} mutants, {passed} applied");
    assert!(bad.is_empty(), "{bad:?}");
}
