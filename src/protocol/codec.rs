//! placeholder
/// p
pub fn pack<T: serde::Serialize>(value: &T) -> Vec<u8> { rmp_serde::to_vec_named(value).expect("x") }
/// u
pub fn unpack<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> { rmp_serde::from_slice(bytes) }
