//! How large an element is that does not say so.
//!
//! Ops may leave `width` and `height` away, Excalidraw expects them: an export writes these, a picture draws by them.

use super::element::{Properties, Property as P, Value};
use super::points;

/// Width and height in px that the content of an element asks for.
pub fn size(properties: &Properties) -> [f64; 2] {
    const SIDE: f64 = 100.0;
    const WIDTH_OF_LETTER: f64 = 0.6;
    const HEIGHT_OF_LINE: f64 = 1.25;
    if let Some(Value::Bytes(bytes)) = properties.get(P::Points) {
        let points = points::unpack(bytes).unwrap_or_default().points;
        return [0, 1].map(|axis| {
            let [low, high] = points
                .iter()
                .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], point| {
                    [low.min(point[axis]), high.max(point[axis])]
                });
            (high - low).max(0.0)
        });
    }
    if let Some(text) = properties.get(P::Text).and_then(Value::as_str) {
        let font = properties.get(P::FontSize).and_then(Value::as_f64).unwrap_or(20.0);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let lines = text.lines().count().max(1);
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        return [
            count(longest) * font * WIDTH_OF_LETTER,
            count(lines) * font * HEIGHT_OF_LINE,
        ];
    }
    [SIDE, SIDE]
}
