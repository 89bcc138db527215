//! One shape of tldraw as one or two elements of Excalidraw: the shape, and the text it bears.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use serde_json::{Map, Value as Json, json};

use super::{Place, element_id, number, pair, text};

type Element = Map<String, Json>;

/// An end of an arrow.
pub(super) struct Bound {
    /// On the page in px.
    pub(super) point: [f64; 2],
    /// Element it is tied to.
    pub(super) target: Option<String>,
    /// Half of the sides of that element in px: the arrow ends at its edge.
    pub(super) half_size: [f64; 2],
}

/// A spot of a shape on the page (`anchor`: part of its sides), and half of its sides in px.
pub(super) fn page_point(shape: &Json, place: Place, anchor: [f64; 2]) -> ([f64; 2], [f64; 2]) {
    let size = size(shape);
    let point = place.point([anchor[0] * size[0], anchor[1] * size[1]]);
    (point, size.map(|side| side / 2.0))
}

/// Width and height of a shape that has them; a rough guess for text.
fn size(shape: &Json) -> [f64; 2] {
    const NOTE_PX: f64 = 200.0;
    let props = &shape["props"];
    let scale = props["scale"].as_f64().unwrap_or(1.0);
    match text(shape, "type") {
        "note" => [NOTE_PX * scale, (NOTE_PX + number(props, "growY")) * scale],
        "text" => {
            let [width, height] = text_size(&plain_text(props), font_size(props));
            let fixed = number(props, "w") * scale;
            [if fixed > 0.0 { fixed } else { width }, height]
        }
        _ => [number(props, "w"), number(props, "h") + number(props, "growY")],
    }
}

fn font_size(props: &Json) -> f64 {
    let px = match text(props, "size") {
        "s" => 16.0,
        "l" => 28.0,
        "xl" => 36.0,
        _ => 20.0,
    };
    px * props["scale"].as_f64().unwrap_or(1.0)
}

fn text_size(text: &str, font_size: f64) -> [f64; 2] {
    let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    [
        count(longest) * font_size * 0.6,
        count(text.lines().count().max(1)) * font_size * 1.25,
    ]
}

/// The words of a shape: plain, or a tree of paragraphs in newer files.
fn plain_text(props: &Json) -> String {
    fn collect(node: &Json, depth: usize, out: &mut String) {
        if let Some(words) = node["text"].as_str() {
            out.push_str(words);
        }
        if node["type"] == "hardBreak" {
            out.push('\n');
        }
        for child in node["content"]
            .as_array()
            .into_iter()
            .flatten()
            .take_while(|_| depth < 32)
        {
            if child["type"] == "paragraph" && !out.is_empty() {
                out.push('\n');
            }
            collect(child, depth + 1, out);
        }
    }
    if let Some(plain) = props["text"].as_str() {
        return plain.to_owned();
    }
    let mut out = String::new();
    collect(&props["richText"], 0, &mut out);
    out
}

/// Line and filling of tldraw's colours, in the nearest of Excalidraw's palette.
fn colours(name: &str) -> [&'static str; 2] {
    match name {
        "grey" => ["#868e96", "#e9ecef"],
        "light-violet" => ["#9775fa", "#e5dbff"],
        "violet" => ["#6741d9", "#d0bfff"],
        "blue" => ["#1971c2", "#a5d8ff"],
        "light-blue" => ["#4dabf7", "#d0ebff"],
        "yellow" => ["#f08c00", "#ffec99"],
        "orange" => ["#e8590c", "#ffd8a8"],
        "green" => ["#2f9e44", "#b2f2bb"],
        "light-green" => ["#69db7c", "#d3f9d8"],
        "light-red" => ["#ff8787", "#ffe3e3"],
        "red" => ["#e03131", "#ffc9c9"],
        "white" => ["#ffffff", "#ffffff"],
        _ => ["#1e1e1e", "#f1f3f5"],
    }
}

/// Corners of the shapes that Excalidraw does not have, as parts of the sides.
#[rustfmt::skip]
fn corners(geo: &str) -> Option<&'static [[f64; 2]]> {
    Some(match geo {
        "triangle" => &[[0.5, 0.0], [1.0, 1.0], [0.0, 1.0]],
        "rhombus" => &[[0.25, 0.0], [1.0, 0.0], [0.75, 1.0], [0.0, 1.0]],
        "rhombus-2" => &[[0.0, 0.0], [0.75, 0.0], [1.0, 1.0], [0.25, 1.0]],
        "trapezoid" => &[[0.2, 0.0], [0.8, 0.0], [1.0, 1.0], [0.0, 1.0]],
        "pentagon" => &[[0.5, 0.0], [1.0, 0.38], [0.81, 1.0], [0.19, 1.0], [0.0, 0.38]],
        "hexagon" => &[[0.25, 0.0], [0.75, 0.0], [1.0, 0.5], [0.75, 1.0], [0.25, 1.0], [0.0, 0.5]],
        "octagon" => &[
            [0.3, 0.0], [0.7, 0.0], [1.0, 0.3], [1.0, 0.7], [0.7, 1.0], [0.3, 1.0], [0.0, 0.7], [0.0, 0.3],
        ],
        "star" => &[
            [0.5, 0.0], [0.62, 0.38], [1.0, 0.38], [0.69, 0.62], [0.81, 1.0],
            [0.5, 0.76], [0.19, 1.0], [0.31, 0.62], [0.0, 0.38], [0.38, 0.38],
        ],
        "arrow-right" => &[[0.0, 0.25], [0.6, 0.25], [0.6, 0.0], [1.0, 0.5], [0.6, 1.0], [0.6, 0.75], [0.0, 0.75]],
        "arrow-left" => &[[1.0, 0.25], [0.4, 0.25], [0.4, 0.0], [0.0, 0.5], [0.4, 1.0], [0.4, 0.75], [1.0, 0.75]],
        "arrow-down" => &[[0.25, 0.0], [0.25, 0.6], [0.0, 0.6], [0.5, 1.0], [1.0, 0.6], [0.75, 0.6], [0.75, 0.0]],
        "arrow-up" => &[[0.25, 1.0], [0.25, 0.4], [0.0, 0.4], [0.5, 0.0], [1.0, 0.4], [0.75, 0.4], [0.75, 1.0]],
        _ => return None,
    })
}

/// A shape on its way to become elements.
pub(super) struct Shape<'a> {
    record: &'a Json,
    props: &'a Json,
    place: Place,
    assets: &'a BTreeMap<&'a str, &'a Json>,
    id: String,
}

type Made = (Vec<Element>, Option<&'static str>);

impl<'a> Shape<'a> {
    pub(super) fn new(record: &'a Json, place: Place, assets: &'a BTreeMap<&'a str, &'a Json>) -> Self {
        Self {
            record,
            props: &record["props"],
            place,
            assets,
            id: element_id(text(record, "id")).to_owned(),
        }
    }

    /// The elements, and a note where they are not the same thing. `ends` is for arrows.
    pub(super) fn elements(&self, ends: [Option<Bound>; 2]) -> Made {
        match text(self.record, "type") {
            "geo" => self.geo(),
            "text" => (vec![self.words(size(self.record))], None),
            "note" => {
                let mut element = self.boxed("rectangle");
                let [_, filling] = colours(text(self.props, "color"));
                element.insert("backgroundColor".to_owned(), json!(filling));
                element.insert("fillStyle".to_owned(), json!("solid"));
                (self.labelled(element), None)
            }
            "frame" => {
                let mut element = self.boxed("frame");
                element.insert("name".to_owned(), self.props["name"].clone());
                (vec![element], None)
            }
            "image" => self.image(),
            "draw" | "highlight" => self.freedraw(),
            "line" => self.line(),
            "arrow" => self.arrow(ends),
            "embed" | "bookmark" => (vec![self.boxed("embeddable")], None),
            _ => self.placeholder("there is no such element; a dashed box stands for it"),
        }
    }

    /// What all elements of a shape have, with the record they come from.
    fn styled(&self, kind: &str) -> Element {
        let [line, filling] = colours(text(self.props, "color"));
        let fill = text(self.props, "fill");
        let dash = text(self.props, "dash");
        let width = match text(self.props, "size") {
            "s" => 1,
            "l" => 4,
            "xl" => 6,
            _ => 2,
        };
        let mut record = self.record.clone();
        // Drawn in full by the element: a second copy would double the board.
        if let Some(props) = record["props"].as_object_mut() {
            for key in ["text", "richText"] {
                props.shift_remove(key);
            }
            if self.strokes().is_some() {
                props.shift_remove("segments");
            }
        }
        let element = json!({
            "id": self.id,
            "type": kind,
            "strokeColor": line,
            "backgroundColor": if matches!(fill, "" | "none") { "transparent" } else { filling },
            "fillStyle": if fill == "pattern" { "hachure" } else { "solid" },
            "strokeWidth": width,
            "strokeStyle": if matches!(dash, "dashed" | "dotted") { dash } else { "solid" },
            "roughness": i32::from(dash == "draw"),
            "link": self.props["url"].as_str().filter(|url| !url.is_empty()),
            "customData": { "tldraw": record },
        });
        element.as_object().cloned().unwrap_or_default()
    }

    /// An element with sides and an angle, which Excalidraw turns around its middle.
    fn boxed(&self, kind: &str) -> Element {
        let [width, height] = size(self.record);
        let middle = self.place.point([width / 2.0, height / 2.0]);
        let mut element = self.styled(kind);
        for (key, px) in [
            ("x", middle[0] - width / 2.0),
            ("y", middle[1] - height / 2.0),
            ("width", width),
            ("height", height),
            ("angle", self.place.angle.rem_euclid(TAU)),
        ] {
            element.insert(key.to_owned(), json!(px));
        }
        element
    }

    /// An element of points on the page.
    fn pointed(&self, kind: &str, points: &[[f64; 2]]) -> Element {
        let first = points.first().copied().unwrap_or(self.place.corner);
        let side = |axis: usize| {
            let (low, high) = points
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
                    (low.min(point[axis]), high.max(point[axis]))
                });
            (high - low).max(0.0)
        };
        let relative: Vec<_> = points
            .iter()
            .map(|[x, y]| json!([x - first[0], y - first[1]]))
            .collect();
        let mut element = self.styled(kind);
        for (key, value) in [
            ("x", json!(first[0])),
            ("y", json!(first[1])),
            ("width", json!(side(0))),
            ("height", json!(side(1))),
            ("points", Json::Array(relative)),
        ] {
            element.insert(key.to_owned(), value);
        }
        element
    }

    fn geo(&self) -> Made {
        let geo = text(self.props, "geo");
        let kind = match geo {
            "rectangle" | "x-box" | "check-box" => "rectangle",
            "ellipse" | "oval" | "cloud" | "heart" => "ellipse",
            "diamond" => "diamond",
            _ => {
                if let Some(corners) = corners(geo) {
                    return (self.polygon(corners), None);
                }
                return self.placeholder("there is no such element; a dashed box stands for it");
            }
        };
        let note = matches!(geo, "x-box" | "check-box" | "cloud" | "heart" | "oval")
            .then_some("there is no such element; the nearest one stands for it");
        (self.labelled(self.boxed(kind)), note)
    }

    /// A closed line; it cannot hold a text, so the words lie above it.
    fn polygon(&self, corners: &[[f64; 2]]) -> Vec<Element> {
        let size = size(self.record);
        let points = corners.iter().chain(corners.first());
        let points: Vec<_> = points
            .map(|[x, y]| self.place.point([x * size[0], y * size[1]]))
            .collect();
        let mut elements = vec![self.pointed("line", &points)];
        elements.extend(self.label(size, "middle"));
        elements
    }

    /// The element with its words in it.
    fn labelled(&self, mut element: Element) -> Vec<Element> {
        let vertical = match text(self.props, "verticalAlign") {
            "start" => "top",
            "end" => "bottom",
            _ => "middle",
        };
        let Some(mut label) = self.label(size(self.record), vertical) else {
            return vec![element];
        };
        element.insert(
            "boundElements".to_owned(),
            json!([{ "id": label["id"], "type": "text" }]),
        );
        label.insert("containerId".to_owned(), element["id"].clone());
        vec![element, label]
    }

    /// The words of a shape in the middle of it.
    fn label(&self, [width, height]: [f64; 2], vertical: &str) -> Option<Element> {
        let words = plain_text(self.props);
        if words.is_empty() {
            return None;
        }
        let own = text_size(&words, font_size(self.props));
        let middle = self.place.point([width / 2.0, height / 2.0]);
        let mut label = self.words(own);
        label.shift_remove("customData");
        let align = match text(self.props, "align") {
            "start" | "start-legacy" => "left",
            "end" | "end-legacy" => "right",
            _ => "center",
        };
        for (key, value) in [
            ("id", json!(format!("{}-label", self.id))),
            ("x", json!(middle[0] - own[0] / 2.0)),
            ("y", json!(middle[1] - own[1] / 2.0)),
            ("textAlign", json!(align)),
            ("verticalAlign", json!(vertical)),
        ] {
            label.insert(key.to_owned(), value);
        }
        let colour = self.props["labelColor"].as_str().map_or(["#1e1e1e"; 2], colours);
        label.insert("strokeColor".to_owned(), json!(colour[0]));
        Some(label)
    }

    fn words(&self, [width, height]: [f64; 2]) -> Element {
        let mut element = self.boxed("text");
        let align = match text(self.props, "textAlign") {
            "middle" => "center",
            "end" => "right",
            _ => "left",
        };
        let family = match text(self.props, "font") {
            "sans" | "serif" => 2,
            "mono" => 3,
            _ => 5,
        };
        for (key, value) in [
            ("text", json!(plain_text(self.props))),
            ("width", json!(width)),
            ("height", json!(height)),
            ("fontSize", json!(font_size(self.props))),
            ("fontFamily", json!(family)),
            ("textAlign", json!(align)),
            ("backgroundColor", json!("transparent")),
            ("autoResize", json!(self.props["autoSize"] != false)),
        ] {
            element.insert(key.to_owned(), value);
        }
        element
    }

    fn image(&self) -> Made {
        let mut element = self.boxed("image");
        let asset = text(self.props, "assetId");
        let src = self.assets.get(asset).map_or("", |asset| text(&asset["props"], "src"));
        if src.starts_with("data:") {
            element.insert("fileId".to_owned(), json!(asset));
            return (vec![element], None);
        }
        if src.starts_with("https://") || src.starts_with("http://") {
            element.insert("link".to_owned(), json!(src));
        }
        (
            vec![element],
            Some("its content is not in the file; the image stays empty"),
        )
    }

    /// All points of a stroke with their pressures, unless the file has them packed.
    fn strokes(&self) -> Option<Vec<([f64; 2], f64)>> {
        let mut samples = Vec::new();
        for segment in self.props["segments"].as_array()? {
            for point in segment["points"].as_array()? {
                samples.push((pair(point), point["z"].as_f64().unwrap_or(0.5)));
            }
        }
        Some(samples)
    }

    fn freedraw(&self) -> Made {
        let Some(samples) = self.strokes().filter(|samples| !samples.is_empty()) else {
            return self.placeholder("its points cannot be read; a dashed box stands for it");
        };
        let scale = self.props["scale"].as_f64().unwrap_or(1.0);
        let points: Vec<_> = samples
            .iter()
            .map(|([x, y], _)| self.place.point([x * scale, y * scale]))
            .collect();
        let mut element = self.pointed("freedraw", &points);
        if self.props["isPen"] == true {
            let pressures: Vec<_> = samples.iter().map(|(_, pressure)| pressure.clamp(0.0, 1.0)).collect();
            element.insert("pressures".to_owned(), json!(pressures));
        }
        if text(self.record, "type") == "highlight" {
            element.insert("opacity".to_owned(), json!(40));
            element.insert("strokeWidth".to_owned(), json!(12));
        }
        (vec![element], None)
    }

    fn line(&self) -> Made {
        let listed = self.props.get("points").or_else(|| self.props.get("handles"));
        let mut handles: Vec<_> = match listed {
            Some(Json::Object(handles)) => handles.values().collect(),
            Some(Json::Array(handles)) => handles.iter().collect(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) | None => Vec::new(),
        };
        if handles.len() < 2 {
            return self.placeholder("its points cannot be read; a dashed box stands for it");
        }
        handles.sort_by_key(|handle| text(handle, "index"));
        let points: Vec<_> = handles
            .into_iter()
            .map(|handle| self.place.point(pair(handle)))
            .collect();
        let mut element = self.pointed("line", &points);
        if self.props["spline"] == "cubic" {
            element.insert("roundness".to_owned(), json!({ "type": 2 }));
        }
        (vec![element], None)
    }

    fn arrow(&self, ends: [Option<Bound>; 2]) -> Made {
        let [Some(start), Some(end)] = ends else {
            return self.placeholder("it has no ends; a dashed box stands for it");
        };
        let from = edge(&start, end.point);
        let to = edge(&end, start.point);
        let mut points = vec![from, to];
        let bend = number(self.props, "bend");
        let length = (to[0] - from[0]).hypot(to[1] - from[1]);
        if bend != 0.0 && length > 0.0 {
            let across = [(to[1] - from[1]) / length, (from[0] - to[0]) / length];
            let middle = [0, 1].map(|axis| f64::midpoint(from[axis], to[axis]) + across[axis] * bend);
            points.insert(1, middle);
        }
        let mut element = self.pointed("arrow", &points);
        element.insert("backgroundColor".to_owned(), json!("transparent"));
        if points.len() > 2 {
            element.insert("roundness".to_owned(), json!({ "type": 2 }));
        }
        for (key, name) in [("startArrowhead", "arrowheadStart"), ("endArrowhead", "arrowheadEnd")] {
            element.insert(key.to_owned(), arrowhead(text(self.props, name)));
        }
        for (key, bound) in [("startBinding", &start), ("endBinding", &end)] {
            if let Some(target) = &bound.target {
                element.insert(key.to_owned(), json!({ "elementId": target, "focus": 0, "gap": 1 }));
            }
        }
        let Some(mut label) = self.label([0.0, 0.0], "middle") else {
            return (vec![element], None);
        };
        let middle = points[points.len() / 2];
        let middle = if points.len() > 2 {
            middle
        } else {
            [0, 1].map(|axis| f64::midpoint(from[axis], to[axis]))
        };
        for (key, axis, side) in [("x", 0, "width"), ("y", 1, "height")] {
            let place = middle[axis] - number_of(&label, side) / 2.0;
            label.insert(key.to_owned(), json!(place));
        }
        label.insert("angle".to_owned(), json!(0));
        label.insert("containerId".to_owned(), element["id"].clone());
        element.insert(
            "boundElements".to_owned(),
            json!([{ "id": label["id"], "type": "text" }]),
        );
        (vec![element, label], None)
    }

    fn placeholder(&self, note: &'static str) -> Made {
        let mut element = self.boxed("rectangle");
        element.insert("strokeStyle".to_owned(), json!("dashed"));
        if let Some(custom) = element["customData"].as_object_mut() {
            custom.insert("tldraw".to_owned(), self.record.clone());
        }
        (vec![element], Some(note))
    }
}

fn number_of(element: &Element, key: &str) -> f64 {
    element.get(key).and_then(Json::as_f64).unwrap_or(0.0)
}

fn arrowhead(name: &str) -> Json {
    match name {
        "" | "none" => Json::Null,
        "triangle" | "inverted" => json!("triangle"),
        "dot" => json!("dot"),
        "diamond" => json!("diamond"),
        "bar" | "pipe" => json!("bar"),
        _ => json!("arrow"),
    }
}

/// Where an arrow that aims into a box meets its edge, coming from `other`.
fn edge(bound: &Bound, other: [f64; 2]) -> [f64; 2] {
    if bound.target.is_none() {
        return bound.point;
    }
    let way = [0, 1].map(|axis| other[axis] - bound.point[axis]);
    let part = [0, 1]
        .into_iter()
        .filter(|axis| way[*axis] != 0.0)
        .map(|axis| bound.half_size[axis] / way[axis].abs())
        .fold(f64::INFINITY, f64::min);
    // Boxes that overlap: the arrow stays between the spots it was given.
    if part < 0.5 {
        [0, 1].map(|axis| bound.point[axis] + way[axis] * part)
    } else {
        bound.point
    }
}
