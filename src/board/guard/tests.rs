//! The walk against yrs's own decoder, the index against real documents, and each verdict.

use std::collections::BTreeMap;

use yrs::updates::decoder::Decode;
use yrs::{Any, Array, Doc, Map, MapPrelim, MapRef, ReadTxn, StateVector, Text, Transact, Update, WriteTxn};

use super::*;
use crate::protocol::element::{EntryKind, Property, PropertySet};
use crate::protocol::ids::UserId;

mod form;
mod random;

const ANNA: u64 = 11;
const BEN: u64 = 22;

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn doc(client: u64) -> Doc {
    let mut options = yrs::Options::with_client_id(yrs::block::ClientID::new(client));
    options.offset_kind = yrs::OffsetKind::Utf16;
    Doc::with_options(options)
}

/// Runs `edit` and returns the update that it emitted.
fn edit(doc: &Doc, edit: impl FnOnce(&mut yrs::TransactionMut<'_>)) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    edit(&mut txn);
    txn.commit();
    txn.encode_update_v1()
}

fn apply(doc: &Doc, update: &[u8]) -> Vec<u8> {
    let update = Update::decode_v1(update).unwrap();
    edit(doc, |txn| txn.apply_update(update).unwrap())
}

fn element(kind: &str) -> MapPrelim {
    MapPrelim::from([
        ("type", Any::from(kind)),
        ("x", Any::from(1)),
        ("y", Any::from(2.5)),
        ("pos", Any::from("a0")),
    ])
}

fn elements(txn: &mut yrs::TransactionMut<'_>) -> MapRef {
    txn.get_or_insert_map("board:elements")
}

fn inner(txn: &mut yrs::TransactionMut<'_>, id: &str) -> MapRef {
    let root = elements(txn);
    root.get(txn, id).unwrap().cast().unwrap()
}

/// A server's document with its index.
struct Board {
    doc: Doc,
    index: BlockIndex,
}

impl Board {
    fn new() -> Self {
        let mut index = BlockIndex::new();
        index.bind_server(1 << 33);
        Self {
            doc: doc(1 << 33),
            index,
        }
    }

    fn check(&self, update: &[u8], user: &UserId) -> Result<Checked, Refusal> {
        self.index.check(
            &walk(update).unwrap(),
            &CheckContext {
                user,
                is_handover: false,
                may_bind: &|_| true,
                may_relay: &|_| Relay::No,
            },
        )
    }

    fn shape(&self, update: &[u8]) -> bool {
        matches!(self.check(update, &user("anna")), Err(Refusal::Shape(_)))
    }

    fn take(&mut self, update: &[u8], user: &UserId) -> Admission {
        let Checked::New(admission) = self.check(update, user).unwrap() else {
            panic!("known already")
        };
        let emitted = apply(&self.doc, update);
        assert!(!self.doc.transact().has_missing_updates());
        self.index
            .note(&walk_within(&emitted, &WalkLimits::TRUSTED).unwrap(), Some(user), &[])
            .unwrap();
        self.assert_level();
        admission
    }

    fn assert_level(&self) {
        let mine: BTreeMap<_, _> = self.index.state_vector().collect();
        let txn = self.doc.transact();
        let theirs: BTreeMap<_, _> = txn
            .state_vector()
            .iter()
            .map(|(client, clock)| (client.get(), *clock))
            .collect();
        assert_eq!(mine, theirs);
        let mut mine: Vec<_> = self.index.deleted().collect();
        mine.sort_unstable();
        let state = txn.encode_diff_v1(&StateVector::default());
        let mut fresh = BlockIndex::new();
        fresh
            .note(&walk_within(&state, &WalkLimits::TRUSTED).unwrap(), None, &[])
            .unwrap();
        let mut theirs: Vec<_> = fresh.deleted().collect();
        theirs.sort_unstable();
        assert_eq!(mine, theirs);
        for kind in [EntryKind::Element, EntryKind::Page] {
            assert_eq!(self.index.entry_count(kind), fresh.entry_count(kind));
        }
        if let Some(root) = txn.get_map("board:elements") {
            assert_eq!(root.len(&txn) as usize, self.index.entry_count(EntryKind::Element));
        }
    }
}

fn deeds(admission: &Admission) -> Vec<(&str, &Deed)> {
    admission
        .touched
        .iter()
        .map(|touch| (&*touch.id, &touch.deed))
        .collect()
}

fn changed<const SET: usize, const UNSET: usize>(set: [Property; SET], unset: [Property; UNSET]) -> Deed {
    Deed::Changed {
        set: PropertySet::of(&set),
        unset: PropertySet::of(&unset),
    }
}

/// A board with element `e` by Anna, and her document.
fn with_element() -> (Board, Doc) {
    let (mut board, anna) = (Board::new(), doc(ANNA));
    let update = edit(&anna, |txn| {
        elements(txn).insert(txn, "e", element("rectangle"));
    });
    board.take(&update, &user("anna"));
    (board, anna)
}

#[test]
fn a_new_element_is_created_by_its_client() {
    let (board, _) = with_element();
    assert_eq!(board.index.creator(EntryKind::Element, "e"), Some(&user("anna")));
    let fresh = edit(&doc(BEN), |txn| {
        elements(txn).insert(txn, "f", element("line"));
    });
    let Ok(Checked::New(admission)) = board.check(&fresh, &user("ben")) else {
        panic!()
    };
    assert_eq!(
        deeds(&admission),
        [(
            "f",
            &Deed::Created {
                client: BEN,
                author: None,
            }
        )]
    );
    assert_eq!((admission.binds, admission.advances), (vec![BEN], vec![(BEN, 0, 5)]));
}

#[test]
fn an_overwrite_touches_one_property() {
    let (mut board, anna) = with_element();
    let update = edit(&anna, |txn| {
        inner(txn, "e").insert(txn, "x", 7);
    });
    assert_eq!(
        deeds(&board.take(&update, &user("anna"))),
        [("e", &changed([Property::X], []))]
    );
    assert_eq!(board.check(&update, &user("anna")), Ok(Checked::Known));
}

#[test]
fn removal_of_a_property_and_of_an_element_are_told() {
    let (mut board, anna) = with_element();
    let set = edit(&anna, |txn| {
        inner(txn, "e").insert(txn, "text", "hi");
    });
    board.take(&set, &user("anna"));
    let unset = edit(&anna, |txn| {
        inner(txn, "e").remove(txn, "text");
    });
    assert_eq!(
        deeds(&board.take(&unset, &user("anna"))),
        [("e", &changed([], [Property::Text]))]
    );
    let remove = edit(&anna, |txn| {
        elements(txn).remove(txn, "e");
    });
    assert_eq!(deeds(&board.take(&remove, &user("anna"))), [("e", &Deed::Removed)]);
    assert!(!board.index.contains(EntryKind::Element, "e"));
}

#[test]
fn another_map_under_the_key_is_a_replacement() {
    let (mut board, anna) = with_element();
    let update = edit(&anna, |txn| {
        elements(txn).insert(txn, "e", element("ellipse"));
    });
    let admission = board.take(&update, &user("anna"));
    assert_eq!(
        deeds(&admission),
        [(
            "e",
            &Deed::Replaced {
                client: ANNA,
                author: None,
                says_locked: false
            }
        )]
    );
}

#[test]
fn an_edit_of_an_element_that_is_gone_is_harmless() {
    let (mut board, anna) = with_element();
    let state = anna.transact().encode_diff_v1(&StateVector::default());
    let ben = doc(BEN);
    apply(&ben, &state);
    let remove = edit(&anna, |txn| {
        elements(txn).remove(txn, "e");
    });
    board.take(&remove, &user("anna"));
    let late = edit(&ben, |txn| {
        inner(txn, "e").insert(txn, "x", 9);
    });
    assert!(board.take(&late, &user("ben")).touched.is_empty());
}

#[test]
fn a_gap_is_refused() {
    let (board, anna) = with_element();
    edit(&anna, |txn| {
        inner(txn, "e").insert(txn, "x", 3);
    });
    let later = edit(&anna, |txn| {
        inner(txn, "e").insert(txn, "y", 3);
    });
    assert_eq!(board.check(&later, &user("anna")), Err(Refusal::Gap));
    let empty = BlockIndex::new();
    let deletes_only = edit(&anna, |txn| {
        inner(txn, "e").remove(txn, "y");
    });
    let (anna, context) = (user("anna"), walk(&deletes_only).unwrap());
    let context = empty.check(
        &context,
        &CheckContext {
            user: &anna,
            is_handover: false,
            may_bind: &|_| true,
            may_relay: &|_| Relay::No,
        },
    );
    assert_eq!(context, Err(Refusal::Gap));
}

#[test]
fn blocks_of_another_user_are_refused_unless_they_may_be_relayed() {
    let (board, anna) = with_element();
    let update = edit(&anna, |txn| {
        inner(txn, "e").insert(txn, "x", 3);
    });
    let ben = user("ben");
    let blocks = vec![(ANNA, 5, 6)];
    assert_eq!(board.check(&update, &ben), Err(Refusal::ForeignClient { blocks }));
    let context = CheckContext {
        user: &ben,
        is_handover: false,
        may_bind: &|_| true,
        may_relay: &|client| if client == ANNA { Relay::Yes } else { Relay::No },
    };
    let Ok(Checked::New(admission)) = board.index.check(&walk(&update).unwrap(), &context) else {
        panic!()
    };
    assert_eq!(admission.relayed, [(ANNA, 5, 6)]);
    let forged = edit(&doc(1 << 33), |txn| {
        txn.get_or_insert_map("mine").insert(txn, "x", 1);
    });
    let blocks = vec![(1 << 33, 0, 1)];
    assert_eq!(board.check(&forged, &ben), Err(Refusal::ForeignClient { blocks }));
}

type Edit = fn(&mut yrs::TransactionMut<'_>);

#[test]
fn what_does_not_fit_the_schema_is_refused() {
    let (board, anna) = with_element();
    let edits: Vec<(&str, Edit)> = vec![
        ("meta", |txn| {
            txn.get_or_insert_map("board:meta").insert(txn, "schema", 2);
        }),
        ("plain value for an element", |txn| {
            elements(txn).insert(txn, "f", 1);
        }),
        ("incomplete element", |txn| {
            elements(txn).insert(txn, "f", MapPrelim::from([("x", Any::from(1))]));
        }),
        ("list under a root", |txn| {
            txn.get_or_insert_text("board:elements").push(txn, "hello");
        }),
        ("unknown property", |txn| {
            inner(txn, "e").insert(txn, "nonsense", 1);
        }),
        ("property of another kind", |txn| {
            inner(txn, "e").insert(txn, "mimeType", "a");
        }),
        ("text for a number", |txn| {
            inner(txn, "e").insert(txn, "x", "a");
        }),
        ("not a number", |txn| {
            inner(txn, "e").insert(txn, "x", f64::NAN);
        }),
        ("nested map", |txn| {
            inner(txn, "e").insert(txn, "extra", MapPrelim::default());
        }),
        ("new type", |txn| {
            inner(txn, "e").insert(txn, "type", "line");
        }),
        ("no x", |txn| {
            inner(txn, "e").remove(txn, "x");
        }),
        ("somebody's like", |txn| {
            txn.get_or_insert_map("board:likes").insert(txn, "e:ben", 1);
        }),
        ("long key", |txn| {
            elements(txn).insert(txn, "k".repeat(65), element("line"));
        }),
        ("comment without text", |txn| {
            txn.get_or_insert_map("board:comments")
                .insert(txn, "c", MapPrelim::from([("at", Any::from(1))]));
        }),
    ];
    for (what, bad) in edits {
        let copy = doc(ANNA);
        apply(&copy, &anna.transact().encode_diff_v1(&StateVector::default()));
        assert!(board.shape(&edit(&copy, bad)), "{what}");
    }
}

#[test]
fn what_fits_is_taken() {
    let (mut board, anna) = with_element();
    let update = edit(&anna, |txn| {
        let e = inner(txn, "e");
        e.insert(txn, "points", Any::Buffer(vec![1, 2, 3].into()));
        e.insert(txn, "groupIds", Any::from(vec![Any::from("g")]));
        e.insert(txn, "extra", Any::from_json(r#"{"a":[1,null]}"#).unwrap());
        e.insert(txn, "locked", true);
        txn.get_or_insert_map("board:likes").insert(txn, "e:anna", 123);
        txn.get_or_insert_map("board:pages")
            .insert(txn, "", MapPrelim::from([("title", Any::from("one"))]));
        let comment = MapPrelim::from([
            ("text", Any::from("hm")),
            ("at", Any::from(5)),
            ("author", Any::from("zoe")),
        ]);
        txn.get_or_insert_map("board:comments").insert(txn, "c", comment);
        txn.get_or_insert_array("theirs").push_back(txn, MapPrelim::default());
        txn.get_or_insert_text("notes").push(txn, "안녕 🖍");
    });
    let admission = board.take(&update, &user("anna"));
    assert_eq!(admission.touched.len(), 4);
    let set = changed(
        [Property::Points, Property::GroupIds, Property::Extra, Property::Locked],
        [],
    );
    assert!(deeds(&admission).contains(&("e", &set)));
    let author = Some("zoe".into());
    assert!(admission.touched.iter().any(|touch| touch.deed
        == Deed::Created {
            client: ANNA,
            author: author.clone()
        }));
    let unlike = edit(&anna, |txn| {
        txn.get_or_insert_map("board:likes").remove(txn, "e:anna");
    });
    assert_eq!(deeds(&board.take(&unlike, &user("anna"))), [("e:anna", &Deed::Removed)]);
}
