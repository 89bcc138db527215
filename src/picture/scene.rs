//! Where everything lies in a picture: pages below each other, elements in their order, frames and labels found.

use std::collections::HashMap;

use super::PictureError;
use super::look::{Look, is_color};
use super::outline::{Bounds, number};
use super::paint::{Painter, Placed};
use super::shape::{Shape, is_frame};
use crate::protocol::element::{Item, Property as P, Value};

/// Room around what is drawn, in px: that of Excalidraw's own exports.
const MARGIN: f64 = 10.0;
/// Room between two pages, in px.
const GAP: f64 = 40.0;
const WHITE: &str = "#ffffff";

/// A board laid out for drawing.
pub struct Scene<'a> {
    size: [f64; 2],
    pages: Vec<Sheet<'a>>,
    elements: Vec<Placed<'a>>,
}

/// The ground of one page.
struct Sheet<'a> {
    top: f64,
    size: [f64; 2],
    background: &'a str,
}

impl<'a> Scene<'a> {
    /// Lays out the elements, which come in their order from bottom to top, each on its page; `pages` are the entries of
    /// pages of the board. `has_time` says whether to go on.
    pub fn new(elements: &[&'a Item], pages: &[&'a Item], has_time: &dyn Fn() -> bool) -> Result<Self, PictureError> {
        let mut scene = Self {
            size: [2.0 * MARGIN; 2],
            pages: Vec::new(),
            elements: Vec::with_capacity(elements.len()),
        };
        let mut by_page: HashMap<&str, Vec<&'a Item>> = HashMap::new();
        for item in elements {
            by_page.entry(page_of(item)).or_default().push(item);
        }
        let mut order: Vec<&str> = by_page.keys().copied().collect();
        let pages: HashMap<&str, &'a Item> = pages.iter().map(|entry| (&*entry.id, *entry)).collect();
        let text = |page: &str, property| pages.get(page)?.properties.get(property)?.as_str();
        order.sort_by_cached_key(|page| (text(page, P::Pos).unwrap_or_default(), *page));
        if order.is_empty() {
            order.push("");
        }
        let mut top = 0.0;
        for page in order {
            let background = text(page, P::Background).filter(|color| is_color(color));
            let items = by_page.get(page).map_or(&[][..], Vec::as_slice);
            top = scene.add_page(items, top, background.unwrap_or(WHITE), has_time)?;
        }
        Ok(scene)
    }

    /// Puts a page at `top` and gives the top of the next one.
    fn add_page(
        &mut self,
        items: &[&'a Item],
        top: f64,
        background: &'a str,
        has_time: &dyn Fn() -> bool,
    ) -> Result<f64, PictureError> {
        let check_time = || has_time().then_some(()).ok_or(PictureError::TooLong);
        let mut frames = HashMap::new();
        let mut lines = HashMap::new();
        for item in items {
            check_time()?;
            let look = Look::new(item);
            if is_frame(look.kind) {
                frames.insert(look.id, *item);
            } else if matches!(look.kind, "line" | "arrow") {
                lines.insert(look.id, Shape::of(&look).label(&look));
            }
        }
        let mut bounds = Bounds::NONE;
        let mut labels = HashMap::new();
        let first = self.elements.len();
        for item in items {
            check_time()?;
            let mut look = Look::new(item);
            let line = look.text(P::ContainerId).filter(|_| look.kind == "text");
            // A label lies in the middle of its line, whatever its own place says.
            let middle = line.and_then(|line| *lines.get(line)?);
            let place = middle.map(|[x, y]| [x - look.width / 2.0, y - look.height / 2.0]);
            if let Some([x, y]) = place {
                (look.x, look.y) = (x, y);
            }
            let own = Shape::of(&look).bounds(&look);
            bounds = bounds.join(own);
            if let Some(line) = line.filter(|_| place.is_some()) {
                labels.insert(line, own);
            }
            let frame = look.text(P::FrameId).filter(|_| !is_frame(look.kind));
            self.elements.push(Placed {
                item,
                offset: [0.0; 2],
                bounds: own,
                frame: frame.and_then(|frame| frames.get(frame).copied()),
                place,
                label: None,
            });
        }
        let offset = if bounds.is_none() {
            [MARGIN, top + MARGIN]
        } else {
            [MARGIN - bounds.min[0], top + MARGIN - bounds.min[1]]
        };
        for placed in &mut self.elements[first..] {
            placed.offset = offset;
            placed.bounds = placed.bounds.moved(offset);
            placed.label = labels.get(&*placed.item.id).copied();
        }
        let size = bounds.size().map(|side| side + 2.0 * MARGIN);
        self.pages.push(Sheet { top, size, background });
        self.size = [self.size[0].max(size[0]), top + size[1]];
        Ok(top + size[1] + GAP)
    }

    /// Width and height in px, the margin included.
    pub fn size(&self) -> [f64; 2] {
        self.size
    }

    /// SHA-256 of the images it shows; one that is shown several times comes as often.
    pub fn images(&self) -> impl Iterator<Item = &'a str> {
        self.placed_images().map(|(sha256, _)| sha256)
    }

    pub(super) fn placed_images(&self) -> impl Iterator<Item = (&'a str, &Placed<'a>)> {
        self.elements.iter().filter_map(|placed| {
            let properties = &placed.item.properties;
            let is_image = properties.get(P::Type).and_then(Value::as_str) == Some("image");
            Some((properties.get(P::FileId)?.as_str().filter(|_| is_image)?, placed))
        })
    }

    /// Number of elements, each of them one group of the picture.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    pub(super) fn elements(&self) -> &[Placed<'a>] {
        &self.elements
    }

    pub(super) fn painter<'p>(&'p self, image: &'p dyn Fn(&str) -> Option<String>) -> Painter<'p> {
        let background = self.pages.first().map_or(WHITE, |page| page.background);
        Painter::new(image, if background == "transparent" { WHITE } else { background })
    }

    /// Writes the head of a document, `width` px wide where one is told.
    pub(super) fn open(&self, out: &mut String, width: Option<u32>) {
        let scale = width.map_or(1.0, |width| f64::from(width) / self.size[0]);
        out.push_str("<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\"");
        for (name, side) in [("width", self.size[0]), ("height", self.size[1])] {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            number(out, side * scale);
            out.push('"');
        }
        out.push_str(" viewBox=\"0 0 ");
        number(out, self.size[0]);
        out.push(' ');
        number(out, self.size[1]);
        out.push_str("\">\n");
    }

    /// Writes the ground of each page.
    pub(super) fn backgrounds(&self, out: &mut String) {
        for page in self.pages.iter().filter(|page| page.background != "transparent") {
            out.push_str("<rect");
            for (name, value) in [("y", page.top), ("width", page.size[0]), ("height", page.size[1])] {
                out.push(' ');
                out.push_str(name);
                out.push_str("=\"");
                number(out, value);
                out.push('"');
            }
            out.push_str(" fill=\"");
            out.push_str(page.background);
            out.push_str("\"/>\n");
        }
    }
}

fn page_of(item: &Item) -> &str {
    item.properties.get(P::Page).and_then(Value::as_str).unwrap_or_default()
}
