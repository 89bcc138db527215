//! What every kind looks like, and that nothing a client wrote breaks a picture.

use super::*;
use crate::protocol::element::{EntryKind, Item, Properties, Property as P, Value};
use crate::protocol::points::{Stroke, pack};

/// An element at (10, 20) of 40 x 30 px with these properties besides.
fn element(id: &str, kind: &str, set: &[(P, Value)]) -> Item {
    let place = [(P::X, 10), (P::Y, 20), (P::Width, 40), (P::Height, 30)];
    let mut properties: Properties = place.map(|(side, px)| (side, Value::Int(px))).into_iter().collect();
    properties.set(P::Type, kind.into());
    for (property, value) in set {
        properties.set(*property, value.clone());
    }
    Item {
        kind: EntryKind::Element,
        id: id.into(),
        properties,
    }
}

fn extra(json: serde_json::Value) -> (P, Value) {
    (P::Extra, json.into())
}

fn points(points: &[[f64; 2]]) -> (P, Value) {
    let stroke = Stroke {
        points: points.to_vec(),
        ..Stroke::default()
    };
    (P::Points, Value::Bytes(pack(&stroke).unwrap().into()))
}

fn drawn(items: &[Item]) -> String {
    let scene = Scene::new(&items.iter().collect::<Vec<_>>(), &[], &|| true).unwrap();
    svg(&scene, None, &|_| None, &|| true).unwrap()
}

/// What is in the group of the only element.
fn inside(item: Item) -> String {
    let drawn = drawn(&[item]);
    let (_, rest) = drawn.split_once("data-id=").unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    rest.split_once("</g>\n").unwrap().0.to_owned()
}

const LINE: &str = "stroke=\"#1e1e1e\" stroke-linecap=\"round\" stroke-linejoin=\"round\" stroke-width=\"2\"";

#[test]
fn a_document_is_as_large_as_its_content_and_a_margin() {
    let expected = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"60\" height=\"50\" viewBox=\"0 0 60 50\">\n\
         <rect y=\"0\" width=\"60\" height=\"50\" fill=\"#ffffff\"/>\n\
         <g data-id=\"a\" transform=\"translate(10 10)\"><rect width=\"40\" height=\"30\" fill=\"none\" {LINE}/></g>\n\
         </svg>\n"
    );
    assert_eq!(drawn(&[element("a", "rectangle", &[])]), expected);
    let scene = Scene::new(&[], &[], &|| true).unwrap();
    assert_eq!((scene.size(), scene.is_empty()), ([20.0, 20.0], true));
}

#[test]
fn closed_kinds_have_their_outlines() {
    let round = extra(serde_json::json!({ "roundness": { "type": 3 } }));
    let red = (P::BackgroundColor, "#ff0000".into());
    assert_eq!(
        inside(element("a", "rectangle", &[round.clone(), red])),
        format!("<rect width=\"40\" height=\"30\" rx=\"7.5\" fill=\"#ff0000\" {LINE}/>")
    );
    assert_eq!(
        inside(element("a", "ellipse", &[])),
        format!("<ellipse cx=\"20\" cy=\"15\" rx=\"20\" ry=\"15\" fill=\"none\" {LINE}/>")
    );
    assert_eq!(
        inside(element("a", "diamond", &[])),
        format!("<path d=\"M20 0L20 0L40 15L20 30L0 15Z\" fill=\"none\" {LINE}/>")
    );
    assert_eq!(inside(element("a", "diamond", &[round])).matches('C').count(), 4);
}

#[test]
fn dashes_and_hatching_follow_the_width_of_the_line() {
    let dashed = inside(element("a", "ellipse", &[(P::StrokeStyle, "dashed".into())]));
    assert!(
        dashed.ends_with("stroke-width=\"2\" stroke-dasharray=\"8 10\"/>"),
        "{dashed}"
    );
    let dotted = inside(element("a", "ellipse", &[(P::StrokeStyle, "dotted".into())]));
    assert!(dotted.ends_with("stroke-dasharray=\"1.5 8\"/>"), "{dotted}");
    let hatched = |style: &str| {
        let set = [(P::FillStyle, style.into()), (P::BackgroundColor, "red".into())];
        inside(element("a", "rectangle", &set))
    };
    assert_eq!(
        hatched("hachure"),
        format!(
            "<defs><pattern id=\"n0\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-41)\" width=\"8\" \
             height=\"8\"><path d=\"M0 4H8\" stroke=\"red\" stroke-width=\"1\"/></pattern></defs>\
             <rect width=\"40\" height=\"30\" fill=\"url(#n0)\" {LINE}/>"
        )
    );
    assert!(hatched("cross-hatch").contains("d=\"M0 4H8M4 0V8\""));
}

#[test]
fn lines_and_arrows_go_through_their_points() {
    let bent = points(&[[0.0, 0.0], [40.0, 0.0], [40.0, 30.0]]);
    assert_eq!(
        inside(element("a", "line", std::slice::from_ref(&bent))),
        format!("<path d=\"M0 0L40 0L40 30\" fill=\"none\" {LINE}/>")
    );
    let loop_of_red = [
        points(&[[0.0, 0.0], [40.0, 0.0], [40.0, 30.0], [0.0, 0.0]]),
        (P::BackgroundColor, "red".into()),
    ];
    assert!(inside(element("a", "line", &loop_of_red)).contains("fill=\"red\""));
    let arrow = inside(element("a", "arrow", std::slice::from_ref(&bent)));
    assert_eq!(arrow.matches("<path").count(), 2, "a line and its head: {arrow}");
    let both =
        extra(serde_json::json!({ "startArrowhead": "circle", "endArrowhead": "triangle_outline", "elbowed": true }));
    let both = inside(element("a", "arrow", &[bent, both]));
    assert!(
        both.contains("<circle") && both.contains("Z\" fill=\"#ffffff\"") && both.contains('C'),
        "{both}"
    );
    let bare = extra(serde_json::json!({ "endArrowhead": null }));
    assert_eq!(inside(element("a", "arrow", &[bare])).matches("<path").count(), 1);
}

#[test]
fn an_arrow_leaves_room_for_its_label() {
    // The label says that it is elsewhere, but it goes with its arrow.
    let set = [
        (P::ContainerId, "a".into()),
        (P::Text, "yes".into()),
        (P::X, Value::Int(900)),
    ];
    let label = element("t", "text", &set);
    let drawn = drawn(&[element("a", "arrow", &[]), label]);
    let clip = "<defs><clipPath id=\"n0\"><path clip-rule=\"evenodd\" d=\"M-990 -990L1050 -990L1050 1040L-990 1040Z\
                M10 10L50 10L50 40L10 40Z\"/></clipPath></defs><g clip-path=\"url(#n0)\"><g data-id=\"a\"";
    assert!(drawn.contains(clip), "{drawn}");
}

#[test]
fn text_lies_as_it_was_wrapped() {
    let set = [(P::Text, "수학\n1 < 2".into()), (P::TextAlign, "center".into())];
    assert_eq!(
        inside(element("a", "text", &set)),
        "<text xml:space=\"preserve\" font-size=\"20\" font-family=\"Excalifont, Virgil, Schoolbell, cursive\" \
         fill=\"#1e1e1e\" text-anchor=\"middle\"><tspan x=\"20\" y=\"17.62\">수학</tspan>\
         <tspan x=\"20\" y=\"42.62\">1 &lt; 2</tspan></text>"
    );
}

#[test]
fn a_stroke_of_the_pen_is_a_group_of_lines() {
    let stroke = inside(element(
        "a",
        "freedraw",
        &[points(&[[0.0, 0.0], [20.0, 10.0], [40.0, 30.0]])],
    ));
    let group =
        "<g fill=\"none\" stroke-linecap=\"round\" stroke-linejoin=\"round\" stroke=\"#1e1e1e\"><path d=\"M0 0Q";
    assert!(
        stroke.starts_with(group) && stroke.ends_with("L40 30\" stroke-width=\"7.08\"/></g>"),
        "{stroke}"
    );
}

#[test]
fn an_image_is_its_content_or_a_placeholder() {
    let item = element("a", "image", &[(P::FileId, "f".repeat(64).as_str().into())]);
    let scene_of = |item| Scene::new(&[item], &[], &|| true).unwrap();
    let image = |mime_type: &'static str| move |_: &str| Some((mime_type.to_owned(), Bytes::from_static(b"x")));
    let shown = svg(&scene_of(&item), None, &image("image/png"), &|| true).unwrap();
    assert!(
        shown.contains("href=\"data:image/png;base64,eA==\"") && shown.contains("<use href=\"#n0\"/>"),
        "{shown}"
    );
    for image in [&image("image/svg+xml") as &dyn Fn(&str) -> Option<Image>, &|_| None] {
        let missing = svg(&scene_of(&item), None, image, &|| true).unwrap();
        assert!(
            missing.contains("fill=\"#e9ecef\"") && !missing.contains("href"),
            "{missing}"
        );
    }
    let cropped = element(
        "a",
        "image",
        &[
            (P::FileId, "f".into()),
            extra(serde_json::json!({
                "scale": [-1, 1],
                "crop": { "x": 10, "y": 0, "width": 50, "height": 80, "naturalWidth": 100, "naturalHeight": 80 },
            })),
        ],
    );
    let shown = svg(&scene_of(&cropped), None, &image("image/png"), &|| true).unwrap();
    assert!(
        shown.contains("translate(40 0)scale(-1 1)") && shown.contains("viewBox=\"100 0 500 1000\""),
        "{shown}"
    );
}

#[test]
fn a_frame_cuts_off_what_lies_in_it() {
    let named = extra(serde_json::json!({ "name": "1교시" }));
    let inner = element("b", "rectangle", &[(P::FrameId, "f".into()), (P::X, Value::Int(30))]);
    let drawn = drawn(&[inner, element("f", "frame", &[named])]);
    let clip = "<clipPath id=\"n0\"><rect x=\"10\" y=\"30.5\" width=\"40\" height=\"30\" rx=\"8\"/></clipPath></defs>\
                <g clip-path=\"url(#n0)\"><g data-id=\"b\"";
    assert!(drawn.contains(clip) && drawn.contains(">1교시</tspan>"), "{drawn}");
}

#[test]
fn other_kinds_are_boxes_with_a_name() {
    let link = (P::Link, "javascript:alert(1)".into());
    let page = inside(element("a", "embeddable", &[link, (P::Width, Value::Int(400))]));
    assert!(
        page.contains(">javascript:alert(1)</tspan>") && !page.contains("href"),
        "{page}"
    );
    let unknown = inside(element("a", "hologram", &[]));
    assert!(
        unknown.contains("stroke-dasharray=\"6 6\"") && unknown.contains("tspan"),
        "{unknown}"
    );
}

#[test]
fn turned_and_pale_elements_keep_their_middle() {
    let set = [
        (P::Angle, Value::Float(std::f64::consts::FRAC_PI_2)),
        (P::Opacity, Value::Int(50)),
    ];
    let drawn = drawn(&[element("a", "rectangle", &set)]);
    assert!(
        drawn.contains("translate(5 15)rotate(90 20 15)\" opacity=\"0.5\""),
        "{drawn}"
    );
    assert!(drawn.contains("viewBox=\"0 0 50 60\""), "{drawn}");
}

#[test]
fn pages_lie_below_each_other_on_their_grounds() {
    let page = Item {
        kind: EntryKind::Page,
        id: "two".into(),
        properties: [(P::Pos, "b".into()), (P::Background, "#000000".into())]
            .into_iter()
            .collect(),
    };
    let items = [
        element("b", "rectangle", &[(P::Page, "two".into())]),
        element("a", "rectangle", &[]),
    ];
    let scene = Scene::new(&items.iter().collect::<Vec<_>>(), &[&page], &|| true).unwrap();
    let drawn = svg(&scene, Some(120), &|_| None, &|| true).unwrap();
    assert!(
        drawn.contains("width=\"120\" height=\"280\" viewBox=\"0 0 60 140\""),
        "{drawn}"
    );
    assert!(
        drawn.contains("<rect y=\"90\" width=\"60\" height=\"50\" fill=\"#000000\"/>"),
        "{drawn}"
    );
    assert!(
        drawn.find("data-id=\"a\" transform=\"translate(10 10)\"")
            < drawn.find("data-id=\"b\" transform=\"translate(10 100)\"")
    );
}

#[test]
fn letters_of_many_scripts_are_painted() {
    let ink = |text: &str| {
        let item = element("a", "text", &[(P::Text, text.into()), (P::FontSize, Value::Int(32))]);
        let scene = Scene::new(&[&item], &[], &|| true).unwrap();
        let png = png(&scene, Canvas::of(&scene, None), &|_| None, &|| true).unwrap();
        image::load_from_memory(&png).unwrap().into_luma8()
    };
    // A letter that no font has.
    let boxed = ink("\u{10fffd}");
    for text in ["A", "é", "Ω", "Ж", "한", "뷁", "ㄱ", "あ", "漢", "→", "✓", "△"] {
        let image = ink(text);
        assert!(image.pixels().any(|pixel| pixel.0[0] < 100), "{text} is not there");
        assert!(image != boxed, "{text} is a box");
    }
}

#[test]
fn the_clock_is_asked_as_often_as_the_work_is_heavy() {
    let asked = |side: i64, text: &str| {
        let set = [
            (P::Width, Value::Int(side)),
            (P::Height, Value::Int(side)),
            (P::BackgroundColor, "red".into()),
            (P::Text, text.into()),
        ];
        let kind = if text.is_empty() { "rectangle" } else { "text" };
        let items: Vec<_> = (0..100)
            .map(|index| element(&format!("{index:03}"), kind, &set))
            .collect();
        let scene = Scene::new(&items.iter().collect::<Vec<_>>(), &[], &|| true).unwrap();
        let times = std::cell::Cell::new(0);
        let has_time = || {
            times.set(times.get() + 1);
            true
        };
        png(&scene, Canvas::of(&scene, None), &|_| None, &has_time).unwrap();
        times.get()
    };
    let (small, large, wordy) = (asked(10, ""), asked(1_000, ""), asked(10, &"word ".repeat(200)));
    assert_eq!(small, 1);
    assert!(large > 10 && wordy > 5, "{large} {wordy}");
}

#[test]
fn a_layout_ends_with_the_time() {
    let items: Vec<_> = (0..100)
        .map(|page| {
            element(
                &format!("e{page}"),
                "rectangle",
                &[(P::Page, format!("p{page}").as_str().into())],
            )
        })
        .collect();
    let elements: Vec<_> = items.iter().collect();
    let left = std::cell::Cell::new(50);
    let has_time = || left.replace(left.get().max(1) - 1) > 0;
    let laid_out = Scene::new(&elements, &[], &has_time);
    assert_eq!(laid_out.err(), Some(PictureError::TooLong));
}
