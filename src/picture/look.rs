//! One element as a picture sees it: properties with their defaults, and every number within bounds.
//!
//! What is on a board comes from clients. Whatever a property holds, a look gives numbers that are finite and small enough
//! to calculate with, and colours that are nothing but colours.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::element::{Item, Properties, Property as P, Value};
use crate::protocol::extent::size;
use crate::protocol::points::{self, Stroke};

/// Farthest coordinate and longest side in px; what lies beyond is drawn at this distance.
const LENGTH_MAX: f64 = 10_000_000.0;
/// Widest line in px.
const STROKE_WIDTH_MAX: f64 = 1_000.0;
/// Letters of a colour; `rgba(255, 255, 255, 0.1234)` is among the longest.
const COLOR_BYTES_MAX: usize = 64;

/// An element with its place, drawn at `x`, `y` in its own coordinates and turned around the middle of its box.
pub(super) struct Look<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// In radians.
    pub(super) angle: f64,
    pub(super) stroke_width: f64,
    properties: &'a Properties,
    extra: Option<&'a BTreeMap<Arc<str>, Value>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(item: &'a Item) -> Self {
        let properties = &item.properties;
        let extra = match properties.get(P::Extra) {
            Some(Value::Map(extra)) => Some(&**extra),
            _ => None,
        };
        let number = |property| properties.get(property).and_then(Value::as_f64);
        let natural = match (number(P::Width), number(P::Height)) {
            (Some(_), Some(_)) => [0.0; 2],
            _ => size(properties),
        };
        let (x, width) = side(number(P::X), number(P::Width).unwrap_or(natural[0]));
        let (y, height) = side(number(P::Y), number(P::Height).unwrap_or(natural[1]));
        Self {
            id: &item.id,
            kind: properties.get(P::Type).and_then(Value::as_str).unwrap_or_default(),
            x,
            y,
            width,
            height,
            angle: within(number(P::Angle).unwrap_or(0.0), 1_000.0, 0.0),
            stroke_width: within(number(P::StrokeWidth).unwrap_or(2.0), STROKE_WIDTH_MAX, 2.0).max(0.0),
            properties,
            extra,
        }
    }

    /// The number of a property, at most `max` away from 0.
    pub(super) fn number(&self, property: P, default: f64, max: f64) -> f64 {
        let number = self.properties.get(property).and_then(Value::as_f64);
        number.map_or(default, |number| within(number, max, default))
    }

    pub(super) fn text(&self, property: P) -> Option<&'a str> {
        self.properties.get(property).and_then(Value::as_str)
    }

    /// A key of the file that has no property of its own.
    pub(super) fn extra(&self, key: &str) -> Option<&'a Value> {
        self.extra.and_then(|extra| extra.get(key))
    }

    pub(super) fn extra_text(&self, key: &str) -> Option<&'a str> {
        self.extra(key).and_then(Value::as_str)
    }

    /// A list of numbers, or an object of them by these keys.
    pub(super) fn extra_numbers<const N: usize>(&self, key: &str, names: [&str; N]) -> Option<[f64; N]> {
        let mut found = [0.0; N];
        for (index, name) in names.iter().enumerate() {
            let value = match self.extra(key)? {
                Value::Array(items) => items.get(index),
                Value::Map(map) => map.get(*name),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bytes(_) => {
                    None
                }
            };
            found[index] = within(value?.as_f64()?, LENGTH_MAX, 0.0);
        }
        Some(found)
    }

    /// 0 to 1.
    pub(super) fn opacity(&self) -> f64 {
        self.number(P::Opacity, 100.0, 100.0).max(0.0) / 100.0
    }

    /// Colour of lines and letters; `None` is invisible.
    pub(super) fn stroke_color(&self) -> Option<&'a str> {
        visible(self.text(P::StrokeColor), "#1e1e1e")
    }

    /// Colour of the inside; `None` is invisible.
    pub(super) fn fill_color(&self) -> Option<&'a str> {
        visible(self.text(P::BackgroundColor), "transparent")
    }

    pub(super) fn middle(&self) -> [f64; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Points of a stroke, line or arrow in px from `x`, `y`.
    pub(super) fn stroke(&self) -> Stroke {
        let stroke = match self.properties.get(P::Points) {
            Some(Value::Bytes(bytes)) => points::unpack(bytes).unwrap_or_default(),
            _ => Stroke::default(),
        };
        if stroke.points.is_empty() && self.kind != "freedraw" {
            return Stroke {
                points: vec![[0.0; 2], [self.width, self.height]],
                ..stroke
            };
        }
        let inside = |[x, y]: [f64; 2]| [within(x, LENGTH_MAX, 0.0), within(y, LENGTH_MAX, 0.0)];
        Stroke {
            points: stroke.points.into_iter().map(inside).collect(),
            ..stroke
        }
    }

    /// Whether corners, or the bends of a line, are round.
    pub(super) fn is_round(&self) -> bool {
        matches!(self.extra("roundness"), Some(Value::Map(_))) || self.extra_text("strokeSharpness") == Some("round")
    }

    /// Radius of a corner between sides of this length.
    pub(super) fn corner(&self, side: f64) -> f64 {
        const PART: f64 = 0.25;
        const FIXED: f64 = 32.0;
        /// Excalidraw's kind of roundness with a radius of its own.
        const ADAPTIVE: f64 = 3.0;
        let Some(Value::Map(roundness)) = self.extra("roundness") else {
            return if self.is_round() { side * PART } else { 0.0 };
        };
        let number = |key| roundness.get(key).and_then(Value::as_f64);
        if number("type") == Some(ADAPTIVE) {
            let radius = within(number("value").unwrap_or(FIXED), LENGTH_MAX, FIXED).max(0.0);
            radius.min(side * PART)
        } else {
            side * PART
        }
    }
}

/// A coordinate and a length; one that goes backwards is turned around.
fn side(start: Option<f64>, length: f64) -> (f64, f64) {
    let start = within(start.unwrap_or(0.0), LENGTH_MAX, 0.0);
    let length = within(length, LENGTH_MAX, 0.0);
    (start + length.min(0.0), length.abs())
}

fn within(number: f64, max: f64, default: f64) -> f64 {
    if number.is_nan() {
        default
    } else {
        number.clamp(-max, max)
    }
}

fn visible<'a>(color: Option<&'a str>, default: &'static str) -> Option<&'a str> {
    let color = color.filter(|color| is_color(color)).unwrap_or(default);
    (color != "transparent").then_some(color)
}

/// Whether the text is a colour and nothing else: a name, `#` and digits, or one of the functions of numbers.
pub(super) fn is_color(text: &str) -> bool {
    let is_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b',' | b'%' | b'/' | b' ' | b'-');
    if text.is_empty() || text.len() > COLOR_BYTES_MAX {
        return false;
    }
    if let Some(digits) = text.strip_prefix('#') {
        return matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    match text.split_once('(') {
        None => text.bytes().all(|byte| byte.is_ascii_alphabetic()),
        Some((name, rest)) => {
            matches!(name, "rgb" | "rgba" | "hsl" | "hsla")
                && rest.strip_suffix(')').is_some_and(|rest| rest.bytes().all(is_number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_nothing_else() {
        for color in [
            "#fff",
            "#1e1e1e80",
            "red",
            "rgba(1, 2, 3, 0.5)",
            "hsl(120 50% 50% / 20%)",
            "transparent",
        ] {
            assert!(is_color(color), "{color}");
        }
        for other in [
            "",
            "url(#p)",
            "#12",
            "#ggg",
            "red;x",
            "rgb(1",
            "rgb(url(a))",
            "\"",
            "a b",
        ] {
            assert!(!is_color(other), "{other}");
        }
    }

    #[test]
    fn numbers_stay_within_bounds() {
        let properties = [
            (P::X, Value::Float(f64::NAN)),
            (P::Y, Value::Float(f64::INFINITY)),
            (P::Width, Value::Int(-50)),
            (P::Height, Value::Float(1e300)),
            (P::Angle, Value::Float(f64::NEG_INFINITY)),
            (P::StrokeWidth, Value::Int(-1)),
            (P::Opacity, Value::Int(-7)),
        ];
        let item = Item {
            kind: crate::protocol::element::EntryKind::Element,
            id: "a".into(),
            properties: properties.into_iter().collect(),
        };
        let look = Look::new(&item);
        assert_eq!((look.x, look.width), (-50.0, 50.0));
        assert_eq!((look.y, look.height), (LENGTH_MAX, LENGTH_MAX));
        assert_eq!((look.angle, look.stroke_width, look.opacity()), (-1_000.0, 0.0, 0.0));
    }
}
