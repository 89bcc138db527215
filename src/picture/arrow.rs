//! What stands at the ends of arrows and lines.

use super::look::Look;
use super::outline::{Path, Point, Stretch, between, distance, on_curve, turned};

/// A head: lines and closed shapes around the tip.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Head {
    /// Open lines.
    pub(super) lines: Vec<Vec<Point>>,
    /// A closed shape.
    pub(super) shape: Vec<Point>,
    /// A disc: middle and radius.
    pub(super) disc: Option<(Point, f64)>,
    /// Whether shape and disc are only an outline.
    pub(super) is_hollow: bool,
}

/// The heads of a line along `path` whose points are `points`.
pub(super) fn heads(look: &Look<'_>, path: &Path, points: &[Point]) -> Vec<Head> {
    let end = match look.extra("endArrowhead") {
        None if look.kind == "arrow" => Some("arrow"),
        _ => look.extra_text("endArrowhead"),
    };
    let start = look.extra_text("startArrowhead");
    let [.., before_last, last] = points else {
        return Vec::new();
    };
    let at_end = end
        .zip(tail(path))
        .map(|(name, from)| (name, from, *last, distance(*before_last, *last)));
    let at_start = start.zip(path.stretches.first()).map(|(name, first)| {
        (
            name,
            behind_start(path.start, first),
            points[0],
            distance(points[0], points[1]),
        )
    });
    at_start
        .into_iter()
        .chain(at_end)
        .filter_map(|(name, from, tip, room)| head(name, from, tip, room, look.stroke_width))
        .collect()
}

/// A point a little before the end of the line: the head looks from there.
fn tail(path: &Path) -> Option<Point> {
    let (last, rest) = path.stretches.split_last()?;
    let from = match rest.last() {
        Some(Stretch::Line(to) | Stretch::Curve([_, _, to])) => *to,
        None => path.start,
    };
    Some(match *last {
        Stretch::Line(_) => from,
        Stretch::Curve(curve) => on_curve(from, curve, 0.7),
    })
}

/// A point a little after the start of the line.
fn behind_start(start: Point, first: &Stretch) -> Point {
    match *first {
        Stretch::Line(to) => to,
        Stretch::Curve(curve) => on_curve(start, curve, 0.3),
    }
}

/// The head of this name at `tip`, seen from `from`, not larger than `room` px allow.
fn head(name: &str, from: Point, tip: Point, room: f64, stroke_width: f64) -> Option<Head> {
    let (longest, degrees, part): (f64, f64, f64) = match name {
        "arrow" => (25.0, 20.0, 0.5),
        "bar" => (15.0, 90.0, 0.5),
        "diamond" | "diamond_outline" => (12.0, 25.0, 0.25),
        _ if name.starts_with("crowfoot") || name.starts_with("cardinality") => (20.0, 25.0, 0.5),
        _ => (15.0, 25.0, 0.5),
    };
    let way = distance(from, tip);
    if way == 0.0 {
        return None;
    }
    let length = longest.min(room * part);
    let back = between(tip, from, length / way);
    let side = |around, point, sign: f64| turned(point, around, sign * degrees.to_radians());
    let wings = [side(tip, back, -1.0), side(tip, back, 1.0)];
    let claws = || {
        let claw = |sign| vec![back, side(back, tip, sign)];
        vec![claw(-1.0), claw(1.0)]
    };
    let mut head = Head {
        is_hollow: name.ends_with("_outline"),
        ..Head::default()
    };
    match name {
        "bar" | "crowfoot_one" | "cardinality_one" => head.lines = vec![wings.to_vec()],
        "crowfoot_many" | "cardinality_many" => head.lines = claws(),
        "crowfoot_one_or_many" | "cardinality_one_or_many" => {
            head.lines = claws();
            head.lines.push(wings.to_vec());
        }
        "dot" | "circle" | "circle_outline" => {
            head.disc = Some((tip, ((length + stroke_width - 2.0) / 2.0).max(1.0)));
        }
        "triangle" | "triangle_outline" => head.shape = vec![tip, wings[0], wings[1]],
        "diamond" | "diamond_outline" => {
            head.shape = vec![tip, wings[0], between(tip, from, 2.0 * length / way), wings[1]];
        }
        // `arrow`, or a head of a later version of the file: that there is one can be shown.
        _ => head.lines = vec![vec![wings[0], tip, wings[1]]],
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Head {
        head(name, [0.0, 0.0], [100.0, 0.0], 100.0, 2.0).unwrap()
    }

    #[test]
    fn each_head_has_its_form() {
        assert!(distance(known("arrow").lines[0][1], [100.0, 0.0]) < 1e-9);
        assert_eq!(known("triangle").shape.len(), 3);
        assert!(distance(known("diamond").shape[2], [76.0, 0.0]) < 1e-9);
        assert!(known("circle_outline").is_hollow && known("circle").disc == Some(([100.0, 0.0], 7.5)));
        assert_eq!(known("crowfoot_one_or_many").lines.len(), 3);
        let bar = &known("bar").lines[0];
        assert!((bar[0][0] - 100.0).abs() < 1e-9 && (bar[0][1] + bar[1][1]).abs() < 1e-9);
    }

    #[test]
    fn a_short_line_has_a_small_head() {
        let small = head("arrow", [0.0, 0.0], [4.0, 0.0], 4.0, 2.0).unwrap();
        assert!(distance(small.lines[0][0], [4.0, 0.0]) <= 2.0 + 1e-9);
        assert_eq!(head("arrow", [1.0, 1.0], [1.0, 1.0], 0.0, 2.0), None);
    }
}
