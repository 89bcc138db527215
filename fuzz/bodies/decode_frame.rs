//! Bytes as a frame in both formats: what is taken is written and read again as the same frame.

use panseo::protocol::codec::{Format, decode_client, decode_record, encode_client};

pub(crate) fn run(bytes: &[u8]) {
    for format in [Format::MsgPack, Format::Json] {
        if let Ok(frame) = decode_client(format, bytes) {
            let again = decode_client(format, &encode_client(format, &frame));
            assert_eq!(again.as_ref(), Ok(&frame));
        }
    }
    drop(decode_record(bytes));
}
