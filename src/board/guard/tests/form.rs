//! Bytes that are no sound update, each with its reason.

use super::*;

/// An update of one client from clock 0 with the given blocks, and no deletes.
fn blocks(count: u8, bytes: &[u8]) -> Vec<u8> {
    [&[1, count, 7, 0], bytes, &[0]].concat()
}

/// A block in the root `r` under the key `k`; `content` begins behind the key.
fn block(info: u8, content: &[u8]) -> Vec<u8> {
    blocks(1, &[&[info | 0x20, 1, 1, b'r', 1, b'k'], content].concat())
}

fn any(value: &[u8]) -> Vec<u8> {
    block(8, &[&[1], value].concat())
}

#[test]
fn a_plain_value_is_sound() {
    let update = any(&[125, 5]);
    let walk = walk(&update).unwrap();
    let block = walk.blocks().next().unwrap();
    assert_eq!((block.client, block.clock, block.len), (7, 0, 1));
    assert_eq!((block.parent, block.key), (Parent::Root("r"), Some("k")));
    assert!(Update::decode_v1(&update).is_ok());
}

#[test]
fn each_fault_of_form_has_its_reason() {
    let deep = |mark: &[u8], times: usize| any(&[&mark.repeat(times)[..], &[126]].concat());
    let long = |len: usize| [&[3_u8][..], &[0x81, 0x80, 0x10], &vec![b'x'; len]].concat();
    let json = |text: &str| block(5, &[&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat());
    let cases: Vec<(Vec<u8>, WalkError)> = vec![
        (vec![], WalkError::Truncated),
        (vec![0], WalkError::Truncated),
        (vec![0, 0, 0], WalkError::Trailing),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0], WalkError::Truncated),
        (vec![0xff, 0xff, 0xff, 0xff, 0x7f, 0], WalkError::NumberTooLarge),
        (vec![1, 0, 7, 0, 0, 0], WalkError::Empty),
        (blocks(1, &[10, 3]), WalkError::Skip),
        (blocks(1, &[0, 0]), WalkError::Empty),
        (block(1, &[0]), WalkError::Empty),
        (block(8, &[0]), WalkError::Empty),
        (block(4, &[0]), WalkError::Empty),
        (blocks(1, &[0, 0xa1, 0x8d, 0x06]), WalkError::RunTooLong),
        (block(2, &[0, 1, b'1']), WalkError::OldJson),
        (block(9, &[1, b'g', 118, 0]), WalkError::Subdocument),
        (block(7, &[9]), WalkError::Subdocument),
        (block(7, &[7]), WalkError::UnknownContent),
        (block(7, &[15]), WalkError::UnknownContent),
        (block(11, &[1]), WalkError::UnknownContent),
        (block(0x18, &[1, 126]), WalkError::UnknownContent),
        (any(&[3]), WalkError::UnknownContent),
        (any(&[119, 1, 0xff]), WalkError::NotUtf8),
        (any(&[&[125][..], &[0xff; 9]].concat()), WalkError::NumberTooLarge),
        (any(&[117, 0xff, 0xff, 3]), WalkError::Truncated),
        (deep(&[117, 1], 32), WalkError::TooDeep),
        (deep(&[118, 1, 1, b'k'], 32), WalkError::TooDeep),
        (json(&"[".repeat(40)), WalkError::TooDeep),
        (json("{a"), WalkError::NotJson),
        (json("18446744073709551615"), WalkError::NotJson),
        (block(3, &long(262_145)[1..]), WalkError::ItemTooLarge),
        (
            vec![1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0, 1, 0],
            WalkError::ClientIdTooLarge,
        ),
        (
            vec![1, 1, 7, 0xff, 0xff, 0xff, 0xff, 7, 0, 1, 0],
            WalkError::ClockTooHigh,
        ),
        (vec![2, 1, 7, 0, 0, 1, 1, 7, 1, 0, 1, 0], WalkError::ClientTwice),
        (vec![0, 2, 7, 1, 0, 1, 7, 1, 2, 1], WalkError::ClientTwice),
        (vec![0, 1, 7, 2, 4, 1, 0, 1], WalkError::Unsorted),
        (vec![0, 1, 7, 2, 0, 3, 2, 3], WalkError::Unsorted),
        (vec![0, 1, 7, 1, 4, 0], WalkError::Empty),
        (vec![0, 1, 7, 1, 0xff, 0xff, 0xff, 0xff, 7, 1], WalkError::ClockTooHigh),
        (vec![0, 1, 7, 0xff, 0xff, 3, 1, 1], WalkError::Truncated),
    ];
    for (bytes, reason) in cases {
        assert_eq!(walk(&bytes).err(), Some(reason), "{:?}", &bytes[..bytes.len().min(40)]);
    }
}

#[test]
fn nesting_up_to_the_limit_is_sound() {
    let update = any(&[&[117, 1].repeat(31)[..], &[126]].concat());
    assert!(walk(&update).is_ok());
}

#[test]
fn blocks_that_wait_for_each_other_are_a_gap() {
    // Client 7 builds on 8 and 8 on 7: yrs would park both.
    let waiting = [
        &[2, 1, 8, 0, 0x84, 7, 0, 1, b'a'][..],
        &[1, 7, 0, 0x84, 8, 0, 1, b'b', 0],
    ]
    .concat();
    let itself = [1, 1, 7, 0, 0x84, 7, 0, 1, b'a', 0];
    for bytes in [&waiting[..], &itself] {
        assert_eq!(Board::new().check(bytes, &user("anna")), Err(Refusal::Gap));
    }
}

#[test]
fn neighbours_of_different_places_are_refused() {
    let (board, anna) = with_element();
    // Behind `x` and before `y` of the same element.
    let place = |property: &str| {
        let state = anna.transact().encode_diff_v1(&StateVector::default());
        let walk = walk(&state).unwrap();
        walk.blocks()
            .find(|block| block.key == Some(property))
            .map(|block| block.clock.to_le_bytes()[0])
            .unwrap()
    };
    let bytes = [1, 1, 22, 0, 0xc8, 11, place("x"), 11, place("y"), 1, 125, 1, 0];
    assert!(board.shape(&bytes));
}

#[test]
fn state_vectors_and_awareness_are_walked_too() {
    assert_eq!(walk_state_vector(&[1, 7, 9]), Ok(vec![(7, 9)]));
    assert_eq!(walk_state_vector(&[2, 7, 9, 7, 8]), Err(WalkError::ClientTwice));
    assert_eq!(walk_state_vector(&[0xff, 0xff, 3, 1, 1]), Err(WalkError::Truncated));
    assert_eq!(walk_state_vector(&[0, 1]), Err(WalkError::Trailing));
    let entry = AwarenessEntry {
        client: 7,
        clock: 1,
        json: "null",
    };
    assert_eq!(walk_awareness(&[&[1, 7, 1, 4][..], b"null"].concat()), Ok(vec![entry]));
    assert_eq!(walk_awareness(&[1, 7, 1, 2, b'{', b'x']), Err(WalkError::NotJson));
    assert_eq!(walk_awareness(&[9, 7, 1, 0]), Err(WalkError::Truncated));
}

#[test]
fn more_than_there_may_be_is_refused_by_the_count_alone() {
    let declared = |head: &[u8], count: &[u8], behind: usize| [head, count, &vec![0; behind]].concat();
    let (many_clients, many) = ([0x81, 2], [0x81, 0x80, 4]);
    let update = declared(&[], &many_clients, 257 * 4);
    assert_eq!(walk(&update).err(), Some(WalkError::TooManyClients), "257 clients");
    let update = declared(&[1], &many, 2 * 65_537 + 8);
    assert_eq!(walk(&update).err(), Some(WalkError::TooManyBlocks), "65,537 blocks");
    let vector = declared(&[], &many, 2 * 65_537);
    assert_eq!(
        walk_state_vector(&vector),
        Err(WalkError::TooManyClients),
        "65,537 clocks"
    );
    let awareness = declared(&[], &many, 3 * 65_537);
    assert_eq!(
        walk_awareness(&awareness),
        Err(WalkError::TooManyClients),
        "65,537 states"
    );
}

#[test]
fn shared_types_have_a_depth() {
    let nested = |depth: usize| {
        edit(&doc(33), |txn| {
            let mut map = txn.get_or_insert_map("theirs");
            for _ in 0..depth {
                map = map.insert(txn, "k", MapPrelim::default());
            }
        })
    };
    assert!(Board::new().check(&nested(16), &user("anna")).is_ok());
    let too_deep = Board::new().check(&nested(18), &user("anna"));
    assert_eq!(too_deep, Err(Refusal::Shape("shared types are nested too deeply")));
}

#[test]
fn updates_in_the_second_encoding_are_refused() {
    let doc = doc(33);
    let mut txn = doc.transact_mut();
    elements(&mut txn).insert(&mut txn, "e", element("line"));
    txn.commit();
    assert!(walk(&txn.encode_update_v1()).is_ok());
    assert!(walk(&txn.encode_update_v2()).is_err());
}
