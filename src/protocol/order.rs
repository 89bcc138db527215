//! Fractional index: keys of the z-order (`pos`) that always leave room between two neighbours.
//!
//! A key is text over 62 digits that sort by their bytes (`0-9A-Za-z`). Its first four digits count places from the
//! middle `V000`, so that putting things on top or at the bottom never makes keys longer; what lies behind splits the
//! room between two places. The last five digits are drawn from the caller's seed, so that two people who insert at the
//! same spot do not make the same key. Equal keys are still in order: by element id.
//!
//! Neighbours come from documents that raw clients may write, so they can be anything: out of order, foreign characters,
//! far too long. The answer is then a key right above `lower`, which is where the element was asked to go, or, where the
//! longest key there may be has no room there either, one beside it: who asked for that very place must look.

use super::limits::POS_BYTES_MAX;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE: u8 = 62;
const BASE_WIDE: u64 = 62;
/// Digits that count places: 14.7 million, half of them above the first key.
const PLACE_DIGITS: u32 = 4;
const FIRST_PLACE: u64 = 31 * BASE_WIDE * BASE_WIDE * BASE_WIDE;
const SUFFIX_DIGITS: usize = 5;
/// Digits that may hold the room for many keys at once: 62^10 is far more than a board has elements.
const ROOM_DIGITS_MAX: u32 = 10;
/// Digits that are read of a neighbour: a key made next to it may not be longer than a key can be.
const NEIGHBOUR_DIGITS_MAX: usize = POS_BYTES_MAX - ROOM_DIGITS_MAX as usize - SUFFIX_DIGITS;

/// A key between two neighbours; `None` is the bottom or the top.
pub fn between(lower: Option<&str>, upper: Option<&str>, seed: u64) -> String {
    sequence(lower, upper, 1, seed).pop().unwrap_or_default()
}

/// `n` keys in ascending order between two neighbours; `None` is the bottom or the top.
pub fn sequence(lower: Option<&str>, upper: Option<&str>, n: usize, seed: u64) -> Vec<String> {
    let count = n as u64;
    let low = lower.map(|key| digits(key, Side::Lower));
    let high = upper.map(|key| digits(key, Side::Upper));
    let stem = match (&low, &high) {
        (None, None) => Stem::places(FIRST_PLACE, count),
        (Some(low), None) => Stem::places(place(low) + 1, count),
        (None, Some(high)) => place(high)
            .checked_sub(count)
            .and_then(|first| Stem::places(first, count)),
        (Some(_), Some(_)) => None,
    };
    let low = low.unwrap_or_default();
    let stem = stem.unwrap_or_else(|| Stem::split(&low, high.as_deref(), count));
    let mut random = Random(seed);
    (0..count).map(|index| stem.key(index, &mut random)).collect()
}

#[derive(Clone, Copy)]
enum Side {
    Lower,
    Upper,
}

/// Digits of a neighbour. A foreign character becomes the next higher digit, and ends the key: what is above that digit
/// is above a `lower`, and what is below it is below an `upper`, whatever follows. Above `z` stands the open end, 62.
fn digits(key: &str, side: Side) -> Vec<u8> {
    let mut found = Vec::with_capacity(key.len().min(NEIGHBOUR_DIGITS_MAX));
    for byte in key.bytes().take(NEIGHBOUR_DIGITS_MAX) {
        let higher = |digit: &u8| DIGITS[usize::from(*digit)] >= byte;
        let next = (0..BASE).find(higher).unwrap_or(BASE);
        let is_digit = DIGITS.get(usize::from(next)) == Some(&byte);
        found.push(match side {
            Side::Lower => next.min(BASE - 1),
            Side::Upper => next,
        });
        if !is_digit {
            break;
        }
    }
    found
}

fn place(digits: &[u8]) -> u64 {
    number(digits, PLACE_DIGITS)
}

/// The first `width` digits as a number; digits that are missing are zero.
fn number(digits: &[u8], width: u32) -> u64 {
    (0..width as usize).fold(0, |sum, index| {
        sum * BASE_WIDE + u64::from(digits.get(index).copied().unwrap_or(0))
    })
}

/// What the keys of one sequence have in common: a prefix, and evenly spaced numbers of `width` digits behind it.
struct Stem {
    prefix: Vec<u8>,
    low: u64,
    high: u64,
    width: u32,
    count: u64,
}

impl Stem {
    /// Successive places from `first` on, if there are that many.
    fn places(first: u64, count: u64) -> Option<Self> {
        let end = first.checked_add(count)?;
        (first > 0 && end < BASE_WIDE.pow(PLACE_DIGITS)).then(|| Self {
            prefix: Vec::new(),
            low: first - 1,
            high: end,
            width: PLACE_DIGITS,
            count,
        })
    }

    /// Splits the room between two keys.
    fn split(low: &[u8], high: Option<&[u8]>, count: u64) -> Self {
        let mut prefix = Vec::new();
        let mut high = high;
        loop {
            let rest = low.get(prefix.len()..).unwrap_or_default();
            let high_rest = high.map(|key| key.get(prefix.len()..).unwrap_or_default());
            if let Some(stem) = Self::room(&prefix, rest, high_rest, count) {
                return stem;
            }
            let first = rest.first().copied().unwrap_or(0);
            // Below the top digit of `low` everything that continues it lies under `high`, so `high` no longer counts.
            // The same is the answer where no room exists at all: right above `low`.
            match high_rest.map(|key| key.first().copied()) {
                Some(Some(limit)) if limit == first => {}
                Some(Some(limit)) if limit > first => high = None,
                Some(_) => {
                    high = None;
                    prefix = low.to_vec();
                    continue;
                }
                None => {}
            }
            prefix.push(first);
        }
    }

    /// The smallest number of digits that has room for all keys, if the next digits differ enough.
    fn room(prefix: &[u8], low: &[u8], high: Option<&[u8]>, count: u64) -> Option<Self> {
        (1..=ROOM_DIGITS_MAX).find_map(|width| {
            let from = number(low, width);
            let to = high.map_or(BASE_WIDE.pow(width), |key| number(key, width));
            (to > from && to - from > count).then(|| Self {
                prefix: prefix.to_vec(),
                low: from,
                high: to,
                width,
                count,
            })
        })
    }

    fn key(&self, index: u64, random: &mut Random) -> String {
        let gap = u128::from(self.high - self.low);
        let step = gap * u128::from(index + 1) / u128::from(self.count + 1);
        let number = self.low + u64::try_from(step).expect("a part of the gap is smaller than the gap");
        let mut key = Vec::with_capacity(self.prefix.len() + self.width as usize + SUFFIX_DIGITS);
        key.extend_from_slice(&self.prefix);
        key.extend(
            (0..self.width)
                .rev()
                .map(|power| (number / BASE_WIDE.pow(power) % BASE_WIDE) as u8),
        );
        key.extend((1..SUFFIX_DIGITS).map(|_| random.digit(BASE)));
        // A key that ends in zero would leave no room right below it.
        key.push(1 + random.digit(BASE - 1));
        key.into_iter()
            .map(|digit| char::from(DIGITS[usize::from(digit)]))
            .collect()
    }
}

/// `SplitMix64`: short, and good enough to tell two people apart.
struct Random(u64);

impl Random {
    fn digit(&mut self, base: u8) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u8::try_from((mixed ^ (mixed >> 31)) % u64::from(base)).expect("the remainder of a byte is one")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_thousand_on_top_or_below_stay_short() {
        let mut top = between(None, None, 0);
        let mut bottom = top.clone();
        for seed in 0..10_000 {
            let next = between(Some(&top), None, seed);
            assert!(next > top);
            top = next;
            let next = between(None, Some(&bottom), seed);
            assert!(next < bottom);
            bottom = next;
        }
        assert_eq!((top.len(), bottom.len()), (9, 9));
    }

    #[test]
    fn a_thousand_at_one_spot_stay_below_two_hundred_digits() {
        let low = between(None, None, 0);
        let mut high = between(Some(&low), None, 1);
        for seed in 0..1_000 {
            let next = between(Some(&low), Some(&high), seed);
            assert!(low < next && next < high);
            high = next;
        }
        assert!(high.len() < 200, "{} digits", high.len());
    }

    #[test]
    fn no_key_is_longer_than_a_key_may_be() {
        let longest = ["0", "V", "z"].map(|digit| digit.repeat(POS_BYTES_MAX));
        let neighbours = || longest.iter().map(|key| Some(key.as_str())).chain([None]);
        for (lower, upper) in neighbours().flat_map(|lower| neighbours().map(move |upper| (lower, upper))) {
            let keys = sequence(lower, upper, 1_000, 3);
            assert!(keys.iter().all(|key| key.len() <= POS_BYTES_MAX), "{lower:?} {upper:?}");
        }
    }

    #[test]
    fn the_ends_of_the_places_still_have_room() {
        let top = between(Some("zzzzz"), None, 7);
        assert!(top.as_str() > "zzzzz");
        assert!(between(Some(&top), None, 7) > top);
        let bottom = between(None, Some("00001"), 7);
        assert!(bottom.as_str() < "00001");
        assert!(between(None, Some(&bottom), 7) < bottom);
    }

    #[test]
    fn two_people_make_different_keys() {
        assert_ne!(
            between(Some("V000"), Some("V001"), 1),
            between(Some("V000"), Some("V001"), 2)
        );
    }

    #[test]
    fn neighbours_out_of_order_give_a_key_above_the_lower() {
        for (lower, upper) in [
            ("V001x", "V000x"),
            ("V000x", "V000x"),
            ("A", "A0"),
            ("", ""),
            ("", "0"),
            ("~~", "!"),
        ] {
            let key = between(Some(lower), Some(upper), 3);
            assert!(key.as_str() > lower || lower == "~~", "{key} for {lower} and {upper}");
        }
    }

    fn key() -> impl Strategy<Value = String> {
        "[0-9A-Za-z]{0,8}[1-9A-Za-z]"
    }

    proptest! {
        #[test]
        fn keys_lie_in_order_between_their_neighbours(a in key(), b in key(), n in 1..300_usize, seed in any::<u64>()) {
            prop_assume!(a != b);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            for (lower, upper) in [(Some(&low), Some(&high)), (Some(&low), None), (None, Some(&high)), (None, None)] {
                let keys = sequence(lower.map(String::as_str), upper.map(String::as_str), n, seed);
                prop_assert_eq!(keys.len(), n);
                prop_assert!(keys.is_sorted_by(|left, right| left < right));
                prop_assert!(lower.is_none_or(|lower| *lower < keys[0]), "{:?} {:?} {:?}", lower, upper, keys[0]);
                prop_assert!(upper.is_none_or(|upper| keys[n - 1] < *upper), "{:?} {:?} {:?}", lower, upper, keys);
                prop_assert!(keys.iter().all(|key| !key.ends_with('0')));
            }
        }

        #[test]
        fn inserting_anywhere_keeps_the_order(spots in prop::collection::vec(any::<prop::sample::Index>(), 1..200), seed in any::<u64>()) {
            let mut keys: Vec<String> = Vec::new();
            for (count, spot) in spots.into_iter().enumerate() {
                let spot = spot.index(count + 1);
                let lower = spot.checked_sub(1).map(|index| keys[index].as_str());
                let key = between(lower, keys.get(spot).map(String::as_str), seed.wrapping_add(count as u64));
                keys.insert(spot, key);
            }
            prop_assert!(keys.is_sorted_by(|left, right| left < right));
        }

        #[test]
        fn garbage_never_panics(lower in prop::option::of(any::<String>()), upper in prop::option::of(any::<String>()), n in 0..20_usize, seed in any::<u64>()) {
            let keys = sequence(lower.as_deref(), upper.as_deref(), n, seed);
            prop_assert_eq!(keys.len(), n);
            prop_assert!(keys.is_sorted());
            prop_assert!(keys.iter().all(|key| key.len() <= POS_BYTES_MAX));
        }

        #[test]
        fn foreign_characters_keep_the_order_where_there_is_one(low in "[!-y]{1,6}", high in "[1-~]{1,6}", seed in any::<u64>()) {
            // Nothing sorts below `0` or above `z`, so a neighbour out there leaves no room on its far side.
            prop_assume!(low < high);
            let key = between(Some(&low), Some(&high), seed);
            prop_assert!(low < key);
        }
    }
}
