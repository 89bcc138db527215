//! Strokes of a pen: thick where it pressed or went slowly, thin where it flew.
//!
//! A stroke becomes smooth curves through the middles between its points. Its width changes in steps, and each run of one
//! width is a line of its own with round ends, so nothing is ever left open at a sharp turn.

use std::f64::consts::FRAC_PI_2;

use super::outline::{Point, between, distance, number, pair};
use crate::protocol::points::Stroke;

/// Width of a stroke at most, in widths of its element.
const WIDEST: f64 = 8.5;
/// Share of the width that pressure decides about.
const THINNING: f64 = 0.6;
/// How much of the way to the next point the line goes; the rest is trembling.
const FOLLOWING: f64 = 0.575;
/// Steps between no width and the widest.
const STEPS: f64 = 24.0;
/// Points nearer than this many px say nothing.
const NEAR: f64 = 0.25;
/// How fast the pressure follows the pace where the device does not tell it.
const PACE: f64 = 0.275;
/// Points from whose pace the first pressure is told where the device does not tell it.
const FIRST_POINTS: usize = 10;

/// Writes the stroke as paths with a width each; colour and round ends are those of the group around them.
pub(super) fn write(out: &mut String, stroke: &Stroke, stroke_width: f64) {
    let knots = knots(stroke, stroke_width);
    let Some(&(first, level)) = knots.first() else {
        return;
    };
    if knots.len() == 1 {
        out.push_str("<path d=\"M");
        pair(out, first);
        out.push_str("h.01");
        end_path(out, level, stroke_width);
        return;
    }
    let mut run = None;
    for (index, &(at, level)) in knots.iter().enumerate() {
        let next = knots.get(index + 1).map(|(next, _)| *next);
        if run != Some(level) {
            if let Some(before) = run {
                end_path(out, before, stroke_width);
            }
            out.push_str("<path d=\"M");
            let before = index.checked_sub(1).map(|before| knots[before].0);
            pair(out, before.map_or(at, |before| between(before, at, 0.5)));
            run = Some(level);
        }
        if let Some(next) = next {
            out.push('Q');
            pair(out, at);
            out.push(' ');
            pair(out, between(at, next, 0.5));
        } else {
            out.push('L');
            pair(out, at);
        }
    }
    end_path(out, run.unwrap_or(level), stroke_width);
}

fn end_path(out: &mut String, level: f64, stroke_width: f64) {
    out.push_str("\" stroke-width=\"");
    number(out, level / STEPS * WIDEST * stroke_width);
    out.push_str("\"/>");
}

/// Points of the calmed line, each with its width in steps.
fn knots(stroke: &Stroke, stroke_width: f64) -> Vec<(Point, f64)> {
    let size = WIDEST / 2.0 * stroke_width;
    let told = stroke
        .pressures
        .as_ref()
        .filter(|told| told.len() == stroke.points.len());
    let mut knots: Vec<(Point, f64)> = Vec::with_capacity(stroke.points.len());
    let follow = |pressure: f64, way: f64| {
        let pace = (way / size.max(NEAR)).min(1.0);
        pressure + (1.0 - pace - pressure) * pace * PACE
    };
    let first = stroke.points.windows(2).take(FIRST_POINTS);
    let mut pressure = first.fold(0.5, |pressure, pair| follow(pressure, distance(pair[0], pair[1])));
    for (index, &point) in stroke.points.iter().enumerate() {
        let is_last = index + 1 == stroke.points.len();
        let last = knots.last().map(|(last, _)| *last);
        let at = match last {
            Some(last) if !is_last => between(last, point, FOLLOWING),
            _ => point,
        };
        let way = last.map_or(f64::INFINITY, |last| distance(last, at));
        if way < NEAR {
            continue;
        }
        if let Some(told) = told {
            pressure = told[index];
        } else if way.is_finite() {
            pressure = follow(pressure, way);
        }
        let width = ((0.5 - THINNING * (0.5 - pressure)) * FRAC_PI_2).sin();
        knots.push((at, (width * STEPS).round().max(1.0)));
    }
    knots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(stroke: &Stroke) -> String {
        let mut out = String::new();
        write(&mut out, stroke, 1.0);
        out
    }

    #[test]
    fn pressure_is_width() {
        let points: Vec<_> = (0..4).map(|i| [f64::from(i) * 10.0, 0.0]).collect();
        let pressed = |pressure| Stroke {
            points: points.clone(),
            pressures: Some(vec![pressure; 4]),
            ..Stroke::default()
        };
        assert_eq!(data(&pressed(0.0)).matches("stroke-width=\"2.48\"").count(), 1);
        assert_eq!(data(&pressed(1.0)).matches("stroke-width=\"8.15\"").count(), 1);
    }

    #[test]
    fn runs_of_one_width_join() {
        let stroke = Stroke {
            points: vec![[0.0, 0.0], [10.0, 0.0], [30.0, 0.0]],
            pressures: Some(vec![0.0, 0.0, 1.0]),
            ..Stroke::default()
        };
        let expected = "<path d=\"M0 0Q0 0 2.88 0Q5.75 0 17.88 0\" stroke-width=\"2.48\"/>\
            <path d=\"M17.88 0L30 0\" stroke-width=\"8.15\"/>";
        assert_eq!(data(&stroke), expected);
    }

    #[test]
    fn a_tap_is_a_dot_and_nothing_is_nothing() {
        let tap = Stroke {
            points: vec![[1.0, 2.0]; 3],
            ..Stroke::default()
        };
        assert!(data(&tap).starts_with("<path d=\"M1 2h.01\""));
        assert_eq!(data(&Stroke::default()), "");
    }
}
