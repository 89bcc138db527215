//! The form of each kind of element: how far it reaches on the board, and its outline.

use super::look::Look;
use super::outline::{Bounds, Path, Point, Stretch, between, distance, on_curve, turned};
use super::wobble;
use crate::protocol::element::{Property as P, Value};
use crate::protocol::points::Stroke;

/// Room above a frame for its name, in px: a line of 14 px letters and the gap below it.
pub(super) const NAME_HEIGHT: f64 = 20.5;
/// Ends nearer than this many px close a line.
const CLOSING: f64 = 8.0;
/// Radius of the bends of an arrow with right angles, in px.
const ELBOW: f64 = 16.0;

/// Form of an element, in px from its `x` and `y`.
pub(super) enum Shape {
    Box,
    Diamond,
    Ellipse,
    Line {
        path: Path,
        points: Vec<Point>,
        /// The same as Excalidraw measures it.
        measured: Vec<Path>,
    },
    Pen(Stroke),
}

impl Shape {
    pub(super) fn of(look: &Look<'_>) -> Self {
        match look.kind {
            "diamond" => Self::Diamond,
            "ellipse" => Self::Ellipse,
            "line" | "arrow" => {
                let points = look.stroke().points;
                let is_elbow = matches!(look.extra("elbowed"), Some(Value::Bool(true)));
                let path = if is_elbow {
                    Path::rounded(&points, ELBOW)
                } else if look.is_round() {
                    Path::smooth(&points)
                } else {
                    Path::straight(&points)
                };
                let measured = if is_elbow {
                    Vec::new()
                } else {
                    let is_filled = look.kind == "line" && look.fill_color().is_some() && is_closed(&points);
                    wobble::strokes(look, &points, is_filled)
                };
                Self::Line { path, points, measured }
            }
            "freedraw" => Self::Pen(look.stroke()),
            _ => Self::Box,
        }
    }

    /// The point an element is turned around, in its own coordinates.
    pub(super) fn middle(&self, look: &Look<'_>) -> Point {
        match self {
            Self::Box | Self::Diamond | Self::Ellipse => [look.width / 2.0, look.height / 2.0],
            Self::Line { path, measured, .. } => {
                let measured: &[Path] = if look.is_round() { measured } else { &[] };
                around_all(path, measured, |point| point).middle()
            }
            Self::Pen(stroke) if stroke.points.is_empty() => [0.0; 2],
            Self::Pen(stroke) => Bounds::around(stroke.points.iter().copied()).middle(),
        }
    }

    /// How far the element reaches on the board, the width of its lines not counted.
    pub(super) fn bounds(&self, look: &Look<'_>) -> Bounds {
        let middle = self.middle(look);
        let place = |point: Point| {
            let [x, y] = turned(point, middle, look.angle);
            [x + look.x, y + look.y]
        };
        let (w, h) = (look.width, look.height);
        let around = |points: &[Point]| Bounds::around(points.iter().copied().map(place));
        match self {
            Self::Box if is_frame(look.kind) => around(&[[0.0, -NAME_HEIGHT], [w, h]]),
            Self::Box => around(&[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]),
            Self::Diamond => around(&diamond(w, h)),
            Self::Ellipse => {
                let (sin, cos) = look.angle.sin_cos();
                let reach = [
                    (w / 2.0 * cos).hypot(h / 2.0 * sin),
                    (h / 2.0 * cos).hypot(w / 2.0 * sin),
                ];
                let [x, y] = look.middle();
                Bounds::around([[x - reach[0], y - reach[1]], [x + reach[0], y + reach[1]]])
            }
            Self::Line { path, measured, .. } => around_all(path, measured, place),
            Self::Pen(stroke) if stroke.points.is_empty() => around(&[[0.0; 2]]),
            Self::Pen(stroke) => around(&stroke.points),
        }
    }

    /// Where on the board the middle of a label of this line is.
    pub(super) fn label(&self, look: &Look<'_>) -> Option<Point> {
        let Self::Line { path, points, .. } = self else {
            return None;
        };
        let half = points.len() / 2;
        let at = if points.len() % 2 == 1 {
            points[half]
        } else {
            match path.stretches.get(half - 1) {
                Some(Stretch::Curve(curve)) if path.stretches.len() + 1 == points.len() => {
                    on_curve(points[half - 1], *curve, 0.5)
                }
                _ => between(points[half - 1], points[half], 0.5),
            }
        };
        let [x, y] = turned(at, self.middle(look), look.angle);
        Some([x + look.x, y + look.y])
    }

    /// Length of the outline in px, about.
    pub(super) fn length(&self, look: &Look<'_>) -> f64 {
        match self {
            Self::Box | Self::Diamond | Self::Ellipse => 2.0 * (look.width + look.height),
            Self::Line { points, .. } | Self::Pen(Stroke { points, .. }) => {
                points.windows(2).map(|pair| distance(pair[0], pair[1])).sum()
            }
        }
    }
}

/// The box around a line as it is measured.
fn around_all(path: &Path, measured: &[Path], place: impl Fn(Point) -> Point) -> Bounds {
    if measured.is_empty() {
        return path.bounds(place);
    }
    let boxes = measured.iter().map(|stroke| stroke.bounds(&place));
    boxes.fold(Bounds::NONE, Bounds::join)
}

/// Whether the kind is a frame, which other elements lie in.
pub(super) fn is_frame(kind: &str) -> bool {
    matches!(kind, "frame" | "magicframe")
}

/// Corners of a diamond.
fn diamond(width: f64, height: f64) -> [Point; 4] {
    let (x, y) = (width / 2.0, height / 2.0);
    [[x, 0.0], [width, y], [x, height], [0.0, y]]
}

/// Outline of a diamond.
pub(super) fn diamond_path(look: &Look<'_>) -> Path {
    let side = (look.width / 2.0).min(look.height / 2.0);
    let slope = distance([0.0; 2], [look.width / 2.0, look.height / 2.0]);
    // The radius is told along the shorter axis, the cut along the slope.
    let cut = if side > 0.0 {
        look.corner(side) * slope / side
    } else {
        0.0
    };
    Path::closed(&diamond(look.width, look.height), cut)
}

/// Whether the line ends where it began, so that it has an inside.
pub(super) fn is_closed(points: &[Point]) -> bool {
    matches!(points, [first, _, .., last] if distance(*first, *last) <= CLOSING)
}

/// Name that a frame shows.
pub(super) fn frame_name<'a>(look: &Look<'a>) -> &'a str {
    let unnamed = if look.kind == "magicframe" { "AI Frame" } else { "Frame" };
    look.extra_text("name")
        .or_else(|| look.text(P::Title))
        .unwrap_or(unnamed)
}
