//! Letters: lines as they were wrapped on the board, and text that is safe inside of XML.

use super::look::Look;
use super::outline::number;
use crate::protocol::element::{Property as P, Value};

/// Largest letter in px.
pub(super) const FONT_SIZE_MAX: f64 = 2_000.0;
/// Letters of one element that are drawn; nobody reads more in a picture.
pub(super) const LETTERS_MAX: usize = 20_000;
/// Px that the letters of one element cover at most, by the squares around them: the larger, the fewer.
const COVER_MAX: f64 = 100_000_000.0;

/// A font of Excalidraw by its number: names to look for, and how far it reaches above and below the line, in em.
fn font(family: f64) -> (&'static str, f64, f64) {
    const FONTS: [(f64, &str, f64, f64); 8] = [
        (1.0, "Virgil, Excalifont, Schoolbell, cursive", 0.886, 0.374),
        (2.0, "Helvetica, Arial, Roboto, sans-serif", 0.77, 0.23),
        (3.0, "Cascadia, 'Cascadia Code', 'Roboto Mono', monospace", 0.928, 0.234),
        (5.0, "Excalifont, Virgil, Schoolbell, cursive", 0.886, 0.374),
        (6.0, "Nunito, Roboto, sans-serif", 1.011, 0.353),
        (7.0, "'Lilita One', Roboto, sans-serif", 0.923, 0.22),
        (8.0, "'Comic Shanns', 'Roboto Mono', monospace", 0.75, 0.25),
        (9.0, "'Liberation Sans', Arial, Roboto, sans-serif", 0.905, 0.212),
    ];
    let known = FONTS.iter().find(|(known, ..)| (*known - family).abs() < 0.5);
    let (_, names, above, below) = known.unwrap_or(&FONTS[3]);
    (names, *above, *below)
}

/// Writes the text of an element, in its own coordinates.
pub(super) fn write(out: &mut String, look: &Look<'_>) {
    let (Some(text), Some(color)) = (look.text(P::Text), look.stroke_color()) else {
        return;
    };
    let size = look.number(P::FontSize, 20.0, FONT_SIZE_MAX).max(0.0);
    let (names, above, below) = font(look.number(P::FontFamily, 5.0, 1_000.0));
    let (anchor, x) = match look.text(P::TextAlign) {
        Some("center") => ("middle", look.width / 2.0),
        Some("right") => ("end", look.width),
        _ => ("start", 0.0),
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let line_height = line_height(look, lines.len(), size);
    let style = Style {
        size,
        color,
        names,
        anchor,
    };
    style.begin(out);
    let mut y = f64::midpoint(line_height, size * (above - below));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of letters from 1 to `LETTERS_MAX`"
    )]
    let mut left = LETTERS_MAX.min((COVER_MAX / (size * size).max(1.0)) as usize);
    for line in lines {
        let line: String = line.chars().take(left).collect();
        left -= line.chars().count();
        if !line.trim().is_empty() {
            write_line(out, [x, y], &line);
        }
        y += line_height;
        if left == 0 {
            break;
        }
    }
    out.push_str("</text>");
}

/// Height of a line in px; old files do not tell it, but their height does.
fn line_height(look: &Look<'_>, lines: usize, size: f64) -> f64 {
    const USUAL: f64 = 1.25;
    let told = look.extra("lineHeight").and_then(Value::as_f64);
    let lines = f64::from(u32::try_from(lines).unwrap_or(u32::MAX));
    let measured = look.height / lines / size.max(1.0);
    let factor = told.unwrap_or(if (1.0..2.0).contains(&measured) {
        measured
    } else {
        USUAL
    });
    let factor = if factor.is_finite() {
        factor.clamp(0.5, 5.0)
    } else {
        USUAL
    };
    size * factor
}

/// Writes one plain line that the picture adds of itself: the name of a frame, an address.
pub(super) fn label(out: &mut String, text: &str, at: [f64; 2], width: f64, is_centred: bool) {
    const SIZE: f64 = 14.0;
    /// Letters are about this wide, in em.
    const LETTER: f64 = 0.5;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of letters; what does not fit is cut off"
    )]
    let room = (width / (SIZE * LETTER)).clamp(1.0, 200.0) as usize;
    let mut line: String = text.chars().take(room).collect();
    if line.len() < text.len() {
        line.pop();
        line.push('…');
    }
    let style = Style {
        size: SIZE,
        color: "#767676",
        names: "Helvetica, Arial, Roboto, sans-serif",
        anchor: if is_centred { "middle" } else { "start" },
    };
    style.begin(out);
    write_line(out, at, &line);
    out.push_str("</text>");
}

struct Style<'a> {
    size: f64,
    color: &'a str,
    names: &'a str,
    anchor: &'a str,
}

impl Style<'_> {
    fn begin(&self, out: &mut String) {
        out.push_str("<text xml:space=\"preserve\" font-size=\"");
        number(out, self.size);
        for (name, value) in [
            ("font-family", self.names),
            ("fill", self.color),
            ("text-anchor", self.anchor),
        ] {
            out.push_str("\" ");
            out.push_str(name);
            out.push_str("=\"");
            out.push_str(value);
        }
        out.push_str("\">");
    }
}

fn write_line(out: &mut String, [x, y]: [f64; 2], line: &str) {
    out.push_str("<tspan x=\"");
    number(out, x);
    out.push_str("\" y=\"");
    number(out, y);
    out.push_str("\">");
    escape(out, line);
    out.push_str("</tspan>");
}

/// Writes text so that it is nothing but text, in an attribute too; what XML cannot hold is left out.
pub(super) fn escape(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' => out.push_str("        "),
            '\u{fffe}' | '\u{ffff}' => {}
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let mut out = String::new();
        escape(&mut out, "a<b>&\"'\u{0}\u{8}\u{ffff}\t한");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;&#39;        한");
    }

    #[test]
    fn a_label_fits_its_width() {
        let mut out = String::new();
        label(&mut out, "abcdefghij", [0.0, 0.0], 35.0, false);
        assert!(out.contains(">abcd…<"), "{out}");
    }
}
