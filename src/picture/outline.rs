//! Outlines: lists of points become the data of an SVG path, and boxes around them.

use std::fmt::Write as _;

/// A point in px.
pub(super) type Point = [f64; 2];

/// One stretch of a line: straight, or a cubic curve with two handles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stretch {
    Line(Point),
    Curve([Point; 3]),
}

/// A line from a first point over its stretches.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Path {
    pub(super) start: Point,
    pub(super) stretches: Vec<Stretch>,
}

/// Left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) min: Point,
    pub(super) max: Point,
}

impl Bounds {
    /// Around nothing; joined with anything it is that.
    pub(super) const NONE: Self = Self {
        min: [f64::INFINITY; 2],
        max: [f64::NEG_INFINITY; 2],
    };

    pub(super) fn around(points: impl IntoIterator<Item = Point>) -> Self {
        points.into_iter().fold(Self::NONE, Self::with)
    }

    pub(super) fn with(self, point: Point) -> Self {
        self.join(Self { min: point, max: point })
    }

    pub(super) fn join(self, other: Self) -> Self {
        let each = |pick: fn(f64, f64) -> f64, a: Point, b: Point| [pick(a[0], b[0]), pick(a[1], b[1])];
        Self {
            min: each(f64::min, self.min, other.min),
            max: each(f64::max, self.max, other.max),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.min[0] > self.max[0]
    }

    pub(super) fn moved(self, by: Point) -> Self {
        let add = |point: Point| [point[0] + by[0], point[1] + by[1]];
        Self {
            min: add(self.min),
            max: add(self.max),
        }
    }

    pub(super) fn size(&self) -> Point {
        if self.is_none() {
            return [0.0; 2];
        }
        [self.max[0] - self.min[0], self.max[1] - self.min[1]]
    }

    pub(super) fn middle(&self) -> Point {
        between(self.min, self.max, 0.5)
    }
}

impl Path {
    /// Straight from point to point.
    pub(super) fn straight(points: &[Point]) -> Self {
        let (start, rest) = points
            .split_first()
            .map_or(([0.0; 2], points), |(first, rest)| (*first, rest));
        Self {
            start,
            stretches: rest.iter().copied().map(Stretch::Line).collect(),
        }
    }

    /// A smooth curve through all points: at each it runs the way its neighbours lie to each other.
    pub(super) fn smooth(points: &[Point]) -> Self {
        let (Some(first), Some(last), true) = (points.first(), points.last(), points.len() > 2) else {
            return Self::straight(points);
        };
        let all: Vec<Point> = [first].into_iter().chain(points).chain([last]).copied().collect();
        Self::through(&all)
    }

    /// A smooth curve from the second point to the last but one; those at the ends say which way it comes and goes.
    pub(super) fn through(points: &[Point]) -> Self {
        const HANDLE: f64 = 1.0 / 6.0;
        let stretches = points.windows(4).map(|near| {
            let [before, from, to, after] = [near[0], near[1], near[2], near[3]];
            Stretch::Curve([
                [
                    from[0] + (to[0] - before[0]) * HANDLE,
                    from[1] + (to[1] - before[1]) * HANDLE,
                ],
                [
                    to[0] - (after[0] - from[0]) * HANDLE,
                    to[1] - (after[1] - from[1]) * HANDLE,
                ],
                to,
            ])
        });
        Self {
            start: points.get(1).copied().unwrap_or_default(),
            stretches: stretches.collect(),
        }
    }

    /// Straight lines whose inner corners are round, of `radius` where there is room.
    pub(super) fn rounded(points: &[Point], radius: f64) -> Self {
        let mut path = Self::straight(&points[..points.len().min(1)]);
        for corner in points.windows(3) {
            let [before, at, after] = [corner[0], corner[1], corner[2]];
            let cut = radius.min(distance(before, at) / 2.0).min(distance(at, after) / 2.0);
            path.turn(before, at, after, cut);
        }
        path.stretches
            .extend(points.iter().skip(1).next_back().copied().map(Stretch::Line));
        path
    }

    /// A closed shape with straight sides and round corners that begin `cut` before each of them.
    pub(super) fn closed(corners: &[Point], cut: f64) -> Self {
        let Some((&first, &last)) = corners.first().zip(corners.last()) else {
            return Self::default();
        };
        let step = |from, to| between(from, to, (cut / distance(from, to).max(f64::MIN_POSITIVE)).min(0.5));
        let mut path = Self {
            start: step(first, last),
            stretches: Vec::new(),
        };
        for (index, &at) in corners.iter().enumerate() {
            let before = if index == 0 { last } else { corners[index - 1] };
            let after = if index + 1 == corners.len() {
                first
            } else {
                corners[index + 1]
            };
            path.turn(before, at, after, cut);
        }
        path
    }

    /// A line up to the corner, and around it.
    fn turn(&mut self, before: Point, at: Point, after: Point, cut: f64) {
        let step = |to| between(at, to, (cut / distance(at, to).max(f64::MIN_POSITIVE)).min(0.5));
        self.stretches.push(Stretch::Line(step(before)));
        if cut > 0.0 {
            self.stretches.push(Stretch::Curve([at, at, step(after)]));
        }
    }

    /// The box around the line once each of its points was moved by `place`, which must keep lines straight.
    pub(super) fn bounds(&self, place: impl Fn(Point) -> Point) -> Bounds {
        let mut from = place(self.start);
        let mut bounds = Bounds::NONE.with(from);
        for stretch in &self.stretches {
            match *stretch {
                Stretch::Line(to) => from = place(to),
                Stretch::Curve(curve) => {
                    let curve = curve.map(&place);
                    for turn in turns(from, curve) {
                        bounds = bounds.with(turn);
                    }
                    from = curve[2];
                }
            }
            bounds = bounds.with(from);
        }
        bounds
    }

    /// As data of an SVG path.
    pub(super) fn write(&self, out: &mut String) {
        out.push('M');
        pair(out, self.start);
        for stretch in &self.stretches {
            match stretch {
                Stretch::Line(to) => {
                    out.push('L');
                    pair(out, *to);
                }
                Stretch::Curve([first, second, to]) => {
                    out.push('C');
                    pair(out, *first);
                    out.push(' ');
                    pair(out, *second);
                    out.push(' ');
                    pair(out, *to);
                }
            }
        }
    }
}

/// Points of a curve where it turns back along an axis.
fn turns(from: Point, [first, second, to]: [Point; 3]) -> impl Iterator<Item = Point> {
    let roots = [0, 1].into_iter().flat_map(move |axis| {
        // Where the derivative, `square`·t² + `slope`·t + `start` but for a factor, is 0.
        let [start, bend, end] = [
            first[axis] - from[axis],
            second[axis] - first[axis],
            to[axis] - second[axis],
        ];
        let (square, slope) = (end - 2.0 * bend + start, 2.0 * (bend - start));
        let root = (slope * slope - 4.0 * square * start).sqrt();
        if square.abs() < 1e-9 {
            [-start / slope, f64::NAN]
        } else {
            [(root - slope) / (2.0 * square), (-root - slope) / (2.0 * square)]
        }
    });
    roots
        .filter(|t| (0.0..=1.0).contains(t))
        .map(move |t| on_curve(from, [first, second, to], t))
}

pub(super) fn distance(a: Point, b: Point) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The point on the way from `a` to `b`, `part` of it away from `a`.
pub(super) fn between(a: Point, b: Point, part: f64) -> Point {
    [a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part]
}

/// The point of a curve at `t` from 0 to 1.
pub(super) fn on_curve(from: Point, [first, second, to]: [Point; 3], t: f64) -> Point {
    let (a, b, c) = (
        between(from, first, t),
        between(first, second, t),
        between(second, to, t),
    );
    between(between(a, b, t), between(b, c, t), t)
}

/// The point turned around `middle` by `angle` radians.
pub(super) fn turned(point: Point, middle: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    let [x, y] = [point[0] - middle[0], point[1] - middle[1]];
    [middle[0] + x * cos - y * sin, middle[1] + x * sin + y * cos]
}

/// Writes a number with at most two decimals.
pub(super) fn number(out: &mut String, number: f64) {
    let rounded = (number * 100.0).round() / 100.0;
    // Negative zero would be written with its sign.
    write!(out, "{}", rounded + 0.0).expect("writing to a string does not fail");
}

/// Writes two numbers with a space between them.
pub(super) fn pair(out: &mut String, [x, y]: Point) {
    number(out, x);
    out.push(' ');
    number(out, y);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(path: &Path) -> String {
        let mut out = String::new();
        path.write(&mut out);
        out
    }

    #[test]
    fn numbers_are_short() {
        let mut out = String::new();
        for value in [0.0, -0.001, 1.0 / 3.0, 1e7, -2.5] {
            number(&mut out, value);
            out.push(' ');
        }
        assert_eq!(out, "0 0 0.33 10000000 -2.5 ");
    }

    #[test]
    fn a_box_holds_the_belly_of_a_curve() {
        let path = Path {
            start: [0.0, 0.0],
            stretches: vec![Stretch::Curve([[0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])],
        };
        let bounds = path.bounds(|point| point);
        assert_eq!((bounds.min, bounds.max), ([0.0, 0.0], [10.0, 7.5]));
    }

    #[test]
    fn lines_bend_as_asked() {
        let points = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]];
        assert_eq!(data(&Path::straight(&points)), "M0 0L10 0L10 10");
        assert_eq!(data(&Path::rounded(&points, 4.0)), "M0 0L6 0C10 0 10 0 10 4L10 10");
        assert_eq!(
            data(&Path::smooth(&points)),
            "M0 0C1.67 0 8.33 -1.67 10 0C11.67 1.67 10 8.33 10 10"
        );
        assert_eq!(data(&Path::straight(&[])), "M0 0");
        assert_eq!(data(&Path::rounded(&points[..1], 4.0)), "M0 0");
    }
}
