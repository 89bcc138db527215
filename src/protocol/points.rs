//! Points of strokes, lines and arrows as one binary value: the property `points`, and batches of a stroke in the making.
//!
//! Layout: one byte of flags ([`PRESSURES`], [`TIMES`], others zero), the number of points, then all points, then the
//! pressures if flagged, then the times if flagged. Numbers are zigzag varints (7 bits a byte, low bits first).
//!
//! - Points: x and y of the first one, then differences, in 1/16 px. Each point is rounded before the differences are
//!   taken, so errors do not add up and no coordinate moves by more than 1/32 px.
//! - Pressures: one byte a point, 0 to 255 for 0 to 1.
//! - Times: of the first one, then differences, in ms.
//!
//! Bytes come from clients. Reading reserves no more than the input could fill, and ends with an error, never a panic.

use thiserror::Error;

/// Flag: pressures follow.
pub const PRESSURES: u8 = 1;
/// Flag: times follow.
pub const TIMES: u8 = 2;
/// Farthest coordinate in px, so that differences in 1/16 px stay whole numbers for JavaScript.
pub const COORDINATE_MAX: f64 = 2_147_483_648.0;

const STEPS_PER_PX: f64 = 16.0;
const STEPS_MAX: i64 = 1 << 35;
const PRESSURE_STEPS: f64 = 255.0;
/// A varint of a difference of steps or times fits into this many bytes.
const VARINT_BYTES_MAX: u32 = 6;

/// Points of one stroke, line or arrow, with what the pen told of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stroke {
    /// `[x, y]` in px.
    pub points: Vec<[f64; 2]>,
    /// Pressure of each point, 0 to 1.
    pub pressures: Option<Vec<f64>>,
    /// Time of each point in ms since the stroke began.
    pub times: Option<Vec<u32>>,
}

/// Why points cannot be packed or unpacked.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PointsError {
    /// A coordinate is not finite or farther away than [`COORDINATE_MAX`].
    #[error("a coordinate is not a number within {COORDINATE_MAX} px")]
    CoordinateOutOfRange,
    /// A pressure lies outside of 0 to 1.
    #[error("a pressure lies outside of 0 to 1")]
    PressureOutOfRange,
    /// A time is negative or does not fit 32 bits.
    #[error("a time is not a number of ms below 2^32")]
    TimeOutOfRange,
    /// There are not as many pressures or times as points.
    #[error("pressures or times are not as many as the points")]
    LengthMismatch,
    /// The bytes end too early.
    #[error("the packed points end too early")]
    Truncated,
    /// There are bytes behind the last value.
    #[error("there are bytes behind the packed points")]
    TrailingBytes,
    /// The flags name something unknown.
    #[error("the packed points have unknown flags {0:#04x}")]
    UnknownFlags(u8),
    /// A number is longer than any that is written.
    #[error("a packed number is too long")]
    NumberTooLong,
}

/// Rounds a length or coordinate in px to 1/16, as it is kept in the document.
pub fn round_px(px: f64) -> f64 {
    (px * STEPS_PER_PX).round() / STEPS_PER_PX
}

/// Packs a stroke; 2-3 bytes a point for recorded handwriting, one more each for pressure and time.
///
/// Fails where a value lies outside of its range or a list does not fit the points.
pub fn pack(stroke: &Stroke) -> Result<Vec<u8>, PointsError> {
    let count = stroke.points.len();
    let pressures = stroke.pressures.as_deref();
    let times = stroke.times.as_deref();
    if pressures.is_some_and(|list| list.len() != count) || times.is_some_and(|list| list.len() != count) {
        return Err(PointsError::LengthMismatch);
    }
    let mut bytes = Vec::with_capacity(4 + count * 4);
    bytes.push(if pressures.is_some() { PRESSURES } else { 0 } | if times.is_some() { TIMES } else { 0 });
    write(&mut bytes, i64::try_from(count).unwrap_or(i64::MAX));
    let mut before = [0_i64; 2];
    for point in &stroke.points {
        let now = [steps(point[0])?, steps(point[1])?];
        write(&mut bytes, now[0] - before[0]);
        write(&mut bytes, now[1] - before[1]);
        before = now;
    }
    for pressure in pressures.unwrap_or_default() {
        bytes.push(pressure_byte(*pressure)?);
    }
    let mut before = 0;
    for time in times.unwrap_or_default() {
        write(&mut bytes, i64::from(*time) - before);
        before = i64::from(*time);
    }
    Ok(bytes)
}

/// Reads packed points. Fails on any bytes that [`pack`] does not write.
pub fn unpack(bytes: &[u8]) -> Result<Stroke, PointsError> {
    let mut reader = Reader(bytes);
    let flags = reader.byte()?;
    if flags & !(PRESSURES | TIMES) != 0 {
        return Err(PointsError::UnknownFlags(flags));
    }
    let count = usize::try_from(reader.number()?).map_err(|_negative| PointsError::Truncated)?;
    let bytes_per_point = 2 + usize::from(flags & PRESSURES != 0) + usize::from(flags & TIMES != 0);
    // Before anything is reserved: a count that the bytes left cannot hold is a lie.
    if count > reader.0.len() / bytes_per_point {
        return Err(PointsError::Truncated);
    }
    let mut points = Vec::with_capacity(count);
    let mut now = [0_i64; 2];
    for _ in 0..count {
        for axis in &mut now {
            *axis += reader.number()?;
            if axis.abs() > STEPS_MAX {
                return Err(PointsError::CoordinateOutOfRange);
            }
        }
        points.push([px(now[0]), px(now[1])]);
    }
    let pressures = if flags & PRESSURES == 0 {
        None
    } else {
        let bytes = reader.take(count)?;
        Some(bytes.iter().map(|byte| f64::from(*byte) / PRESSURE_STEPS).collect())
    };
    let times = if flags & TIMES == 0 {
        None
    } else {
        Some(reader.times(count)?)
    };
    if reader.0.is_empty() {
        Ok(Stroke {
            points,
            pressures,
            times,
        })
    } else {
        Err(PointsError::TrailingBytes)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked right before")]
fn steps(px: f64) -> Result<i64, PointsError> {
    if px.abs() <= COORDINATE_MAX {
        Ok((px * STEPS_PER_PX).round() as i64)
    } else {
        Err(PointsError::CoordinateOutOfRange)
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps stay below 2^36")]
fn px(steps: i64) -> f64 {
    steps as f64 / STEPS_PER_PX
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked right before"
)]
fn pressure_byte(pressure: f64) -> Result<u8, PointsError> {
    if (0.0..=1.0).contains(&pressure) {
        Ok((pressure * PRESSURE_STEPS).round() as u8)
    } else {
        Err(PointsError::PressureOutOfRange)
    }
}

fn write(bytes: &mut Vec<u8>, number: i64) {
    let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        bytes.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push((zigzag & 0x7f) as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, PointsError> {
        let (first, rest) = self.0.split_first().ok_or(PointsError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PointsError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PointsError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i64, PointsError> {
        let mut zigzag = 0_u64;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            zigzag |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        Err(PointsError::NumberTooLong)
    }

    fn times(&mut self, count: usize) -> Result<Vec<u32>, PointsError> {
        let mut times = Vec::with_capacity(count.min(self.0.len()));
        let mut now = 0_i64;
        for _ in 0..count {
            now += self.number()?;
            times.push(u32::try_from(now).map_err(|_out_of_range| PointsError::TimeOutOfRange)?);
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_adds_up_along_a_long_stroke() {
        let points: Vec<_> = (0..10_000)
            .map(|i| [f64::from(i) * 0.03, f64::from(i) * -0.07])
            .collect();
        let stroke = Stroke {
            points: points.clone(),
            ..Stroke::default()
        };
        for (before, after) in points.iter().zip(unpack(&pack(&stroke).unwrap()).unwrap().points) {
            assert!((before[0] - after[0]).abs() <= 1.0 / 32.0 && (before[1] - after[1]).abs() <= 1.0 / 32.0);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let stroke = |x: f64| Stroke {
            points: vec![[x, 0.0]],
            ..Stroke::default()
        };
        for x in [f64::NAN, f64::INFINITY, 2e10] {
            assert_eq!(pack(&stroke(x)), Err(PointsError::CoordinateOutOfRange));
        }
        let pressed = |pressures| Stroke {
            pressures: Some(pressures),
            ..stroke(1.0)
        };
        assert_eq!(pack(&pressed(vec![])), Err(PointsError::LengthMismatch));
        assert_eq!(pack(&pressed(vec![1.5])), Err(PointsError::PressureOutOfRange));
    }

    #[test]
    fn lies_about_the_count_reserve_nothing() {
        assert_eq!(unpack(&[]), Err(PointsError::Truncated));
        assert_eq!(unpack(&[0, 0xfe, 0xff, 0xff, 0xff, 0x7f]), Err(PointsError::Truncated));
        assert_eq!(unpack(&[4, 0]), Err(PointsError::UnknownFlags(4)));
        assert_eq!(unpack(&[0, 0, 0]), Err(PointsError::TrailingBytes));
        assert_eq!(unpack(&[0xff; 9]), Err(PointsError::UnknownFlags(0xff)));
    }

    fn strokes() -> impl Strategy<Value = Stroke> {
        let sample = (-1e6..1e6_f64, -1e6..1e6_f64, 0.0..=1.0_f64, any::<u32>());
        (prop::collection::vec(sample, 0..50), any::<bool>(), any::<bool>()).prop_map(|(samples, pressed, timed)| {
            Stroke {
                points: samples.iter().map(|sample| [sample.0, sample.1]).collect(),
                pressures: pressed.then(|| samples.iter().map(|sample| sample.2).collect()),
                times: timed.then(|| samples.iter().map(|sample| sample.3).collect()),
            }
        })
    }

    proptest! {
        #[test]
        fn a_stroke_comes_back_within_its_rounding(stroke in strokes()) {
            let packed = pack(&stroke).unwrap();
            let back = unpack(&packed).unwrap();
            for (before, after) in stroke.points.iter().zip(&back.points) {
                prop_assert!((before[0] - after[0]).abs() <= 1.0 / 32.0);
                prop_assert!((before[1] - after[1]).abs() <= 1.0 / 32.0);
            }
            for (before, after) in stroke.pressures.iter().flatten().zip(back.pressures.iter().flatten()) {
                prop_assert!((before - after).abs() <= 1.0 / 509.0);
            }
            prop_assert_eq!(&stroke.times, &back.times);
            prop_assert_eq!(stroke.points.len(), back.points.len());
            prop_assert_eq!(pack(&back).unwrap(), packed);
        }

        #[test]
        fn any_bytes_give_a_stroke_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), flags in 0..4_u8) {
            if let Ok(stroke) = unpack(&bytes) {
                prop_assert!(stroke.points.len() <= bytes.len());
            }
            let flagged: Vec<u8> = std::iter::once(flags).chain(bytes).collect();
            if let Ok(stroke) = unpack(&flagged) {
                prop_assert!(unpack(&pack(&stroke).unwrap()).unwrap() == stroke);
            }
        }
    }
}
