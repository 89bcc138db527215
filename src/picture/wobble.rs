//! How far Excalidraw says that a line reaches.
//!
//! It measures a line as its hand draws it: each point is moved a little, by numbers that follow from the seed of the
//! element. A picture here shows the clean line, but is as large as one that Excalidraw makes, so it measures alike.

use super::look::Look;
use super::outline::{Path, Point, Stretch, distance};
use crate::protocol::element::Property as P;

/// Farthest that the hand moves the end of a straight line, in px, at roughness 1.
const SWING: f64 = 2.0;
/// From this roughness on, not even corners stay in their place.
const LOOSE: f64 = 2.0;

/// The strokes of the hand that draws the line, in px from its `x` and `y`. None for a line that stays as it is.
pub(super) fn strokes(look: &Look<'_>, points: &[Point], is_filled: bool) -> Vec<Path> {
    let seed = look.extra("seed").and_then(crate::protocol::element::Value::as_f64);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "Seeds are whole numbers below 2^31; others are cut alike."
    )]
    let seed = seed.unwrap_or_default() as i32;
    let own = look.number(P::Roughness, 1.0, 10.0).max(0.0);
    if seed == 0 || own == 0.0 || points.len() < 2 {
        return Vec::new();
    }
    let mut hand = Hand {
        seed,
        roughness: roughness(look, own),
    };
    // Dashes of two strokes would fill each other's gaps.
    let is_double = matches!(look.text(P::StrokeStyle), None | Some("solid"));
    if look.is_round() {
        let first = hand.curve(points, 1.0 + hand.roughness * 0.2);
        let mut other = Hand {
            seed: seed.wrapping_add(1),
            ..hand
        };
        let second = is_double.then(|| other.curve(points, 1.5 * (1.0 + other.roughness * 0.22)));
        return std::iter::once(first).chain(second).collect();
    }
    let back = (is_filled && points.len() > 2).then(|| [points[points.len() - 1], points[0]]);
    let sides = points.windows(2).map(|pair| [pair[0], pair[1]]).chain(back);
    let strokes = sides.flat_map(|[from, to]| {
        let first = hand.line(from, to, SWING, own < LOOSE);
        let second = is_double.then(|| hand.line(from, to, SWING / 2.0, own < LOOSE));
        std::iter::once(first).chain(second)
    });
    strokes.collect()
}

/// Small elements are drawn more carefully.
fn roughness(look: &Look<'_>, own: f64) -> f64 {
    let (shorter, longer) = (look.width.min(look.height), look.width.max(look.height));
    if longer >= 50.0 || (shorter >= 15.0 && look.is_round() && look.kind == "line") {
        return own;
    }
    (own / if longer < 10.0 { 3.0 } else { 2.0 }).min(2.5)
}

#[derive(Clone, Copy)]
struct Hand {
    seed: i32,
    roughness: f64,
}

impl Hand {
    /// From 0 to 1: a generator of Lehmer's kind, on whole numbers of 32 bits.
    fn next(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(48_271);
        f64::from(self.seed & i32::MAX) / 2_147_483_648.0
    }

    /// Up to `reach` to either side, times the roughness.
    fn swing(&mut self, reach: f64) -> f64 {
        self.roughness * (self.next() * 2.0 * reach - reach)
    }

    fn near(&mut self, [x, y]: Point, reach: f64) -> Point {
        [x + self.swing(reach), y + self.swing(reach)]
    }

    /// A curve near all points; it sets in and ends a little off.
    fn curve(&mut self, points: &[Point], reach: f64) -> Path {
        let (first, last) = (points.first(), points.last());
        let all = first.into_iter().chain(points).chain(last);
        let moved: Vec<Point> = all.map(|point| self.near(*point, reach)).collect();
        Path::through(&moved)
    }

    /// A straight line as a hand draws it: bent, more so when it is long; `swing` is how far its points are off.
    fn line(&mut self, from: Point, to: Point, swing: f64, keeps_ends: bool) -> Path {
        let length = distance(from, to);
        let calm = if length < 200.0 {
            1.0
        } else if length > 500.0 {
            0.4
        } else {
            1.233_334 - 0.001_666_8 * length
        };
        // Short lines are off by a part of their length.
        let reach = calm
            * if SWING * 10.0 > length {
                swing / SWING * length / 10.0
            } else {
                swing
            };
        let part = 0.2 + self.next() * 0.2;
        let bend = [
            self.swing(calm * SWING * (to[1] - from[1]) / 200.0),
            self.swing(calm * SWING * (from[0] - to[0]) / 200.0),
        ];
        let end = |hand: &mut Self, point| if keeps_ends { point } else { hand.near(point, reach) };
        let start = end(self, from);
        let handle = |hand: &mut Self, part: f64| {
            let way = |axis: usize| bend[axis] + from[axis] + (to[axis] - from[axis]) * part;
            hand.near([way(0), way(1)], reach)
        };
        let (first, second) = (handle(self, part), handle(self, 2.0 * part));
        Path {
            start,
            stretches: vec![Stretch::Curve([first, second, end(self, to)])],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outline::Bounds;
    use super::*;
    use crate::protocol::element::{EntryKind, Item, Value};

    /// Left, top, right, bottom of the strokes, in hundredths of a px.
    fn reach(points: &[Point], roughness: i64, style: &str, extra: serde_json::Value, is_filled: bool) -> [i64; 4] {
        let properties = [
            (P::Type, "line".into()),
            (P::Width, Value::Int(300)),
            (P::Height, Value::Int(200)),
            (P::Roughness, Value::Int(roughness)),
            (P::StrokeStyle, style.into()),
            (P::Extra, extra.into()),
        ];
        let item = Item {
            kind: EntryKind::Element,
            id: "a".into(),
            properties: properties.into_iter().collect(),
        };
        let strokes = strokes(&Look::new(&item), points, is_filled);
        let boxes = strokes.iter().map(|stroke| stroke.bounds(|point| point));
        let Bounds { min, max } = boxes.fold(Bounds::NONE, Bounds::join);
        [min[0], min[1], max[0], max[1]].map(|side| {
            #[expect(clippy::cast_possible_truncation, reason = "Small numbers.")]
            let hundredths = (side * 100.0).round() as i64;
            hundredths
        })
    }

    #[test]
    fn a_line_reaches_as_far_as_the_library_of_excalidraw_draws_it() {
        // From roughjs 4.6.4 with the same points, seed and roughness.
        let (round, straight) = (
            serde_json::json!({"seed": 1_234_567, "roundness": {"type": 2}}),
            serde_json::json!({"seed": 1_234_567}),
        );
        let (bend, upright) = ([[0.0, 0.0], [300.0, 40.0], [0.0, 200.0]], [[0.0, 0.0], [0.0, 400.0]]);
        assert_eq!(reach(&bend, 1, "solid", round.clone(), false), [1, 2, 30_017, 20_107]);
        assert_eq!(reach(&bend, 2, "dashed", round, false), [119, 163, 30_041, 20_250]);
        assert_eq!(
            reach(&upright, 1, "solid", straight.clone(), false),
            [-99, 0, 0, 40_000]
        );
        assert_eq!(
            reach(&upright, 2, "solid", straight.clone(), false),
            [-201, 33, 132, 40_053]
        );
        assert_eq!(reach(&bend, 2, "solid", straight, true), [-337, -138, 30_046, 20_330]);
    }
}
