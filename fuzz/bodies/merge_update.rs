//! Bytes as an update, past the guard, into a document: nothing is parked, index and document stay level.

use panseo::board::guard::{BlockIndex, CheckContext, Checked, Relay, WalkLimits, walk, walk_within};
use panseo::protocol::ids::UserId;
use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::{Doc, OffsetKind, Options, ReadTxn, Transact, Update};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(walked) = walk(bytes) else { return };
    let user = UserId::new("anna").expect("a name");
    let mut index = BlockIndex::new();
    let context = CheckContext {
        user: &user,
        is_handover: false,
        may_bind: &|_| true,
        may_relay: &|_| Relay::No,
    };
    let Ok(Checked::New(_)) = index.check(&walked, &context) else {
        return;
    };
    let mut options = Options::with_client_id(ClientID::new(1 << 33));
    options.offset_kind = OffsetKind::Utf16;
    let doc = Doc::with_options(options);
    let update = Update::decode_v1(bytes).expect("what the walk takes can be decoded");
    let mut txn = doc.transact_mut();
    txn.apply_update(update).expect("what the guard takes can be applied");
    txn.commit();
    let emitted = txn.encode_update_v1();
    drop(txn);
    let emitted = walk_within(&emitted, &WalkLimits::TRUSTED).expect("the document emits sound updates");
    index
        .note(&emitted, Some(&user), &[])
        .expect("index and document are level");
    let txn = doc.transact();
    assert!(!txn.has_missing_updates());
    for (client, clock) in txn.state_vector().iter() {
        assert_eq!(index.next_clock(client.get()), *clock);
    }
}
