//! Elements become groups of SVG, one each, with nothing in them that runs, loads or leads anywhere.

use std::collections::HashMap;

use super::look::Look;
use super::outline::{Bounds, Path, Point, number, pair};
use super::shape::{self, Shape};
use super::{arrow, pen, text};
use crate::protocol::element::{Item, Property as P};

/// Dashes along one outline; with more of them a dashed line looks like a plain one.
const DASHES_MAX: f64 = 5_000.0;
/// Side of an image before it is stretched to its place.
const IMAGE_SIDE: f64 = 1_000.0;

/// An element in its place in the picture.
pub(super) struct Placed<'a> {
    pub(super) item: &'a Item,
    /// What is added to its coordinates on the board.
    pub(super) offset: Point,
    /// How far it reaches in the picture.
    pub(super) bounds: Bounds,
    /// Frame that cuts it off.
    pub(super) frame: Option<&'a Item>,
    /// Where it lies on the board, if not where it says: a label moves with its arrow.
    pub(super) place: Option<Point>,
    /// Box of the label on the arrow, which leaves room for it.
    pub(super) label: Option<Bounds>,
}

impl Placed<'_> {
    /// Whether only a part of its image is shown.
    pub(super) fn is_cropped(&self) -> bool {
        crop(&Look::new(self.item)).is_some()
    }
}

/// Writes elements into one document; what they share is written once.
pub(super) struct Painter<'p> {
    pub(super) out: String,
    /// Address of the content of an image, by SHA-256.
    image: &'p dyn Fn(&str) -> Option<String>,
    background: &'p str,
    known: HashMap<String, usize>,
}

impl<'p> Painter<'p> {
    pub(super) fn new(image: &'p dyn Fn(&str) -> Option<String>, background: &'p str) -> Self {
        Self {
            out: String::new(),
            image,
            background,
            known: HashMap::new(),
        }
    }

    /// Writes one element as one group.
    pub(super) fn element(&mut self, placed: &Placed<'_>) {
        let mut look = Look::new(placed.item);
        if let Some([x, y]) = placed.place {
            (look.x, look.y) = (x, y);
        }
        let shape = Shape::of(&look);
        let mut open = 0;
        if let Some(frame) = placed.frame {
            self.clip_to_frame(frame, placed.offset);
            open += 1;
        }
        if let Some(label) = placed.label {
            self.leave_out(&look, &shape, label, placed.offset);
            open += 1;
        }
        self.out.push_str("<g data-id=\"");
        text::escape(&mut self.out, look.id);
        self.out.push_str("\" transform=\"translate(");
        pair(&mut self.out, [look.x + placed.offset[0], look.y + placed.offset[1]]);
        if look.angle != 0.0 {
            self.out.push_str(")rotate(");
            number(&mut self.out, look.angle.to_degrees());
            self.out.push(' ');
            pair(&mut self.out, shape.middle(&look));
        }
        self.out.push(')');
        if look.opacity() < 1.0 {
            self.out.push_str("\" opacity=\"");
            number(&mut self.out, look.opacity());
        }
        self.out.push_str("\">");
        self.inside(&look, &shape);
        for _ in 0..=open {
            self.out.push_str("</g>");
        }
        self.out.push('\n');
    }

    fn inside(&mut self, look: &Look<'_>, shape: &Shape) {
        self.define_hatching(look);
        match (look.kind, shape) {
            (_, Shape::Diamond) => {
                let path = shape::diamond_path(look);
                self.path(&path, true, |painter| painter.colors(look, shape, true));
            }
            (_, Shape::Ellipse) => self.ellipse(look, shape),
            (_, Shape::Line { path, points, .. }) => self.line(look, shape, path, points),
            (_, Shape::Pen(stroke)) => self.stroke(look, stroke),
            ("text", Shape::Box) => text::write(&mut self.out, look),
            ("image", Shape::Box) => self.picture(look),
            (kind, Shape::Box) if shape::is_frame(kind) => self.frame(look),
            ("rectangle", Shape::Box) => self.rectangle(look, shape),
            ("embeddable" | "iframe", Shape::Box) => {
                self.rectangle(look, shape);
                let name = look.text(P::Link).unwrap_or("Embedded page");
                let at = [look.width / 2.0, look.height / 2.0 + 5.0];
                text::label(&mut self.out, name, at, look.width, true);
            }
            _ => self.unknown(look),
        }
    }

    fn rectangle(&mut self, look: &Look<'_>, shape: &Shape) {
        self.rect(
            [0.0; 2],
            [look.width, look.height],
            look.corner(look.width.min(look.height)),
        );
        self.colors(look, shape, true);
        self.out.push_str("/>");
    }

    /// A `rect` without its end.
    fn rect(&mut self, [x, y]: Point, [width, height]: Point, radius: f64) {
        self.out.push_str("<rect");
        for (name, value) in [("x", x), ("y", y), ("width", width), ("height", height), ("rx", radius)] {
            if value != 0.0 || matches!(name, "width" | "height") {
                self.attribute(name, value);
            }
        }
    }

    fn attribute(&mut self, name: &str, value: f64) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        number(&mut self.out, value);
        self.out.push('"');
    }

    fn ellipse(&mut self, look: &Look<'_>, shape: &Shape) {
        let (rx, ry) = (look.width / 2.0, look.height / 2.0);
        self.out.push_str("<ellipse");
        for (name, value) in [("cx", rx), ("cy", ry), ("rx", rx), ("ry", ry)] {
            self.attribute(name, value);
        }
        self.colors(look, shape, true);
        self.out.push_str("/>");
    }

    fn path(&mut self, path: &Path, is_closed: bool, colors: impl FnOnce(&mut Self)) {
        self.out.push_str("<path d=\"");
        path.write(&mut self.out);
        self.out.push_str(if is_closed { "Z\"" } else { "\"" });
        colors(self);
        self.out.push_str("/>");
    }

    fn line(&mut self, look: &Look<'_>, shape: &Shape, path: &Path, points: &[Point]) {
        let has_inside = look.kind == "line" && shape::is_closed(points);
        self.path(path, false, |painter| painter.colors(look, shape, has_inside));
        for head in arrow::heads(look, path, points) {
            for line in &head.lines {
                self.path(&Path::straight(line), false, |painter| painter.head_colors(look, None));
            }
            let Some(color) = look.stroke_color() else { continue };
            let fill = if head.is_hollow {
                self.background.to_owned()
            } else {
                color.to_owned()
            };
            if !head.shape.is_empty() {
                self.path(&Path::straight(&head.shape), true, |painter| {
                    painter.head_colors(look, Some(&fill));
                });
            }
            if let Some((middle, radius)) = head.disc {
                self.out.push_str("<circle");
                for (name, value) in [("cx", middle[0]), ("cy", middle[1]), ("r", radius)] {
                    self.attribute(name, value);
                }
                self.head_colors(look, Some(&fill));
                self.out.push_str("/>");
            }
        }
    }

    fn head_colors(&mut self, look: &Look<'_>, fill: Option<&str>) {
        self.out.push_str(" fill=\"");
        self.out.push_str(fill.unwrap_or("none"));
        self.out.push('"');
        self.line_colors(look, None);
    }

    fn stroke(&mut self, look: &Look<'_>, stroke: &crate::protocol::points::Stroke) {
        if look.fill_color().is_some() && shape::is_closed(&stroke.points) {
            let fill = self.fill(look, true);
            self.path(&Path::smooth(&stroke.points), true, |painter| {
                painter.out.push_str(" fill=\"");
                painter.out.push_str(&fill);
                painter.out.push('"');
            });
        }
        if let Some(color) = look.stroke_color() {
            self.out
                .push_str("<g fill=\"none\" stroke-linecap=\"round\" stroke-linejoin=\"round\" stroke=\"");
            self.out.push_str(color);
            self.out.push_str("\">");
            pen::write(&mut self.out, stroke, look.stroke_width);
            self.out.push_str("</g>");
        }
    }

    fn picture(&mut self, look: &Look<'_>) {
        let name = look.text(P::FileId).and_then(|file| self.image(file));
        let Some(name) = name else {
            return self.missing(look);
        };
        if let Some([x, y]) = look.extra_numbers("scale", ["x", "y"])
            && (x < 0.0 || y < 0.0)
        {
            let flip = |scale: f64, side: f64| if scale < 0.0 { (side, -1.0) } else { (0.0, 1.0) };
            let ((x, across), (y, down)) = (flip(x, look.width), flip(y, look.height));
            self.out.push_str("<g transform=\"translate(");
            pair(&mut self.out, [x, y]);
            self.out.push_str(")scale(");
            pair(&mut self.out, [across, down]);
            self.out.push_str(")\">");
        } else {
            self.out.push_str("<g>");
        }
        self.out.push_str("<svg preserveAspectRatio=\"none\"");
        self.attribute("width", look.width);
        self.attribute("height", look.height);
        self.out.push_str(" viewBox=\"");
        let whole = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        let [x, y, width, height, of_width, of_height] = crop(look).unwrap_or(whole);
        pair(&mut self.out, [x / of_width * IMAGE_SIDE, y / of_height * IMAGE_SIDE]);
        self.out.push(' ');
        pair(
            &mut self.out,
            [width / of_width * IMAGE_SIDE, height / of_height * IMAGE_SIDE],
        );
        self.out.push_str("\"><use href=\"#n");
        self.out.push_str(&name.to_string());
        self.out.push_str("\"/></svg></g>");
    }

    /// The number under which the content of an image was written in this document.
    fn image(&mut self, file: &str) -> Option<usize> {
        let key = format!("image {file}");
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        let address = (self.image)(file)?;
        let name = self.define(key);
        self.out.push_str("<defs><image id=\"n");
        self.out.push_str(&name.to_string());
        self.out.push_str("\" preserveAspectRatio=\"none\"");
        self.attribute("width", IMAGE_SIDE);
        self.attribute("height", IMAGE_SIDE);
        self.out.push_str(" href=\"");
        self.out.push_str(&address);
        self.out.push_str("\"/></defs>");
        Some(name)
    }

    /// An image whose content is not there.
    fn missing(&mut self, look: &Look<'_>) {
        let (width, height) = (look.width, look.height);
        self.rect([0.0; 2], [width, height], 0.0);
        self.out.push_str(" fill=\"#e9ecef\" stroke=\"#868e96\"/>");
        for ends in [[[0.0, 0.0], [width, height]], [[0.0, height], [width, 0.0]]] {
            self.path(&Path::straight(&ends), false, |painter| {
                painter.out.push_str(" stroke=\"#ced4da\"");
            });
        }
    }

    fn frame(&mut self, look: &Look<'_>) {
        const RADIUS: f64 = 8.0;
        self.rect([0.0; 2], [look.width, look.height], RADIUS);
        self.out
            .push_str(" fill=\"none\" stroke=\"#bbbbbb\" stroke-width=\"2\"/>");
        text::label(&mut self.out, shape::frame_name(look), [0.0, -7.5], look.width, false);
    }

    /// A kind that this server does not know: that something is there.
    fn unknown(&mut self, look: &Look<'_>) {
        self.rect([0.0; 2], [look.width, look.height], 0.0);
        self.out.push_str(" fill=\"none\" stroke=\"#868e96\"");
        if 2.0 * (look.width + look.height) < 12.0 * DASHES_MAX {
            self.out.push_str(" stroke-dasharray=\"6 6\"");
        }
        self.out.push_str("/>");
        let at = [look.width / 2.0, look.height / 2.0 + 5.0];
        text::label(&mut self.out, look.kind, at, look.width, true);
    }

    fn colors(&mut self, look: &Look<'_>, shape: &Shape, has_inside: bool) {
        let fill = self.fill(look, has_inside);
        self.out.push_str(" fill=\"");
        self.out.push_str(&fill);
        self.out.push('"');
        self.line_colors(look, Some(shape.length(look)));
    }

    /// Attributes of a line; dashed as its element says where its `length` is told.
    fn line_colors(&mut self, look: &Look<'_>, length: Option<f64>) {
        let width = look.stroke_width;
        let Some(color) = look.stroke_color().filter(|_| width > 0.0) else {
            return;
        };
        self.out.push_str(" stroke=\"");
        self.out.push_str(color);
        self.out
            .push_str("\" stroke-linecap=\"round\" stroke-linejoin=\"round\"");
        self.attribute("stroke-width", width);
        let dash = match look.text(P::StrokeStyle) {
            Some("dashed") => [8.0, 8.0 + width],
            Some("dotted") => [1.5, 6.0 + width],
            _ => return,
        };
        if length.is_some_and(|length| length / (dash[0] + dash[1]) < DASHES_MAX) {
            self.out.push_str(" stroke-dasharray=\"");
            pair(&mut self.out, dash);
            self.out.push('"');
        }
    }

    /// Value of `fill`; what it refers to is in its place in the document, inside of attributes nothing can be.
    fn fill(&mut self, look: &Look<'_>, has_inside: bool) -> String {
        let Some(color) = look.fill_color().filter(|_| has_inside) else {
            return "none".to_owned();
        };
        match look.text(P::FillStyle) {
            Some(style) if is_hatched(style) => {
                let name = self.known.get(&hatching_key(style, color, look));
                name.map_or_else(|| color.to_owned(), |name| format!("url(#n{name})"))
            }
            _ => color.to_owned(),
        }
    }

    /// Writes the pattern that the inside of the element is filled with, if it is the first with this one.
    fn define_hatching(&mut self, look: &Look<'_>) {
        const ANGLE: f64 = -41.0;
        let (Some(style), Some(color)) = (look.text(P::FillStyle), look.fill_color()) else {
            return;
        };
        let key = hatching_key(style, color, look);
        if !is_hatched(style) || look.kind == "text" || self.known.contains_key(&key) {
            return;
        }
        let name = self.define(key);
        let width = look.stroke_width.max(0.5);
        let (gap, middle) = (width * 4.0, width * 2.0);
        self.out.push_str("<defs><pattern id=\"n");
        self.out.push_str(&name.to_string());
        self.out
            .push_str("\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(");
        number(&mut self.out, ANGLE);
        self.out.push_str(")\"");
        self.attribute("width", gap);
        self.attribute("height", gap);
        self.out.push_str("><path d=\"M0 ");
        number(&mut self.out, middle);
        self.out.push('H');
        number(&mut self.out, gap);
        if style == "cross-hatch" {
            self.out.push('M');
            number(&mut self.out, middle);
            self.out.push_str(" 0V");
            number(&mut self.out, gap);
        }
        self.out.push_str("\" stroke=\"");
        self.out.push_str(color);
        self.out.push('"');
        self.attribute("stroke-width", width / 2.0);
        self.out.push_str("/></pattern></defs>");
    }

    /// Opens a group that is cut off where the frame ends.
    fn clip_to_frame(&mut self, frame: &Item, offset: Point) {
        let key = format!("frame {}", frame.id);
        let name = if let Some(known) = self.known.get(&key) {
            *known
        } else {
            let name = self.define(key);
            let look = Look::new(frame);
            self.begin_clip(name);
            self.rect([look.x + offset[0], look.y + offset[1]], [look.width, look.height], 8.0);
            self.out.push_str("/></clipPath></defs>");
            name
        };
        self.begin_clipped(name);
    }

    /// Opens a group that spares the box of the label.
    fn leave_out(&mut self, look: &Look<'_>, shape: &Shape, label: Bounds, offset: Point) {
        /// Room around the line for its heads.
        const ROOM: f64 = 1_000.0;
        let Bounds { min, max } = shape.bounds(look);
        let outer = [[min[0] - ROOM, min[1] - ROOM], [max[0] + ROOM, max[1] + ROOM]];
        let inner = [label.min, label.max];
        // Bodies of clips are named by a number alone: no other element shares this one.
        let name = self.define(format!("label {}", self.known.len()));
        self.begin_clip(name);
        self.out.push_str("<path clip-rule=\"evenodd\" d=\"");
        for [from, to] in [outer, inner] {
            let corners = [from, [to[0], from[1]], to, [from[0], to[1]]];
            Path::straight(&corners.map(|[x, y]| [x + offset[0], y + offset[1]])).write(&mut self.out);
            self.out.push('Z');
        }
        self.out.push_str("\"/></clipPath></defs>");
        self.begin_clipped(name);
    }

    fn begin_clip(&mut self, name: usize) {
        self.out.push_str("<defs><clipPath id=\"n");
        self.out.push_str(&name.to_string());
        self.out.push_str("\">");
    }

    fn begin_clipped(&mut self, name: usize) {
        self.out.push_str("<g clip-path=\"url(#n");
        self.out.push_str(&name.to_string());
        self.out.push_str(")\">");
    }

    /// Takes a name for something that later elements refer to.
    fn define(&mut self, key: String) -> usize {
        let name = self.known.len();
        self.known.insert(key, name);
        name
    }
}

/// The part of an image that is shown: left, top, width and height of it, and width and height of the whole.
fn crop(look: &Look<'_>) -> Option<[f64; 6]> {
    let keys = ["x", "y", "width", "height", "naturalWidth", "naturalHeight"];
    let crop = look.extra_numbers("crop", keys)?;
    crop[2..].iter().all(|side| *side > 0.0).then_some(crop)
}

fn is_hatched(style: &str) -> bool {
    matches!(style, "hachure" | "cross-hatch" | "zigzag")
}

fn hatching_key(style: &str, color: &str, look: &Look<'_>) -> String {
    format!("hatching {style} {color} {}", look.stroke_width)
}
