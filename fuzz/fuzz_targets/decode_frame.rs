//! Bytes as a frame in both formats: what is taken is written and read again as the same frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panseo::protocol::codec::{Format, decode_client, decode_record, encode_client};

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::MsgPack, Format::Json] {
        if let Ok(frame) = decode_client(format, bytes) {
            let again = decode_client(format, &encode_client(format, &frame));
            assert_eq!(again.as_ref(), Ok(&frame));
        }
    }
    drop(decode_record(bytes));
});
