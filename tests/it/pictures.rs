//! Boards as pictures: every element is in them, in its place, and nothing else is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use image::{ImageFormat, RgbImage};
use panseo::interchange::{Scope, shown};
use panseo::picture::{Canvas, Image, PictureError, Scene, png, svg};
use panseo::protocol::element::{EntryKind, Item, Properties, Property as P, Value};
use panseo::protocol::points::{Stroke, pack};
use tokio::time::Instant;

use crate::interchange::{all_files, items, read};

fn scene(items: &[Item]) -> Scene<'_> {
    let pages: Vec<_> = items.iter().filter(|item| item.kind == EntryKind::Page).collect();
    Scene::new(&shown(items, &Scope::default()), &pages, &|| true).unwrap()
}

/// Width and height of what Excalidraw's own `exportToSvg` (utils 0.1.3) makes of fixtures.
const EXCALIDRAW: [(&str, f64, f64); 4] = [
    ("MervinPraison__PraisonAI__architecture-dark", 629.1, 415.3),
    ("ardanlabs__ai-training__example13-board", 674.0, 536.3),
    ("gradion-ai__ipybox__architecture", 1033.4, 627.5),
    ("yubinCloud__auth-everything__architecture", 962.0, 610.4),
];
/// Its lines wobble a little beyond their points; ours do not.
const WOBBLE_PX: f64 = 3.0;

/// Pixels that are not of the first one's colour.
fn painted(png: &[u8]) -> usize {
    let image: RgbImage = image::load_from_memory_with_format(png, ImageFormat::Png)
        .unwrap()
        .into_rgb8();
    let ground = *image.get_pixel(0, 0);
    image.pixels().filter(|pixel| **pixel != ground).count()
}

/// Every address, reference and name of an element in the SVG.
fn attributes<'a>(svg: &'a str, name: &str) -> Vec<&'a str> {
    let head = format!(" {name}=\"");
    svg.split(&head)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect()
}

#[test]
fn every_board_is_painted_whole() {
    let folder = std::env::var_os("PANSEO_PICTURES").map(PathBuf::from);
    let files = all_files("excalidraw", "excalidraw");
    for (name, bytes) in &files {
        let import = read(bytes).unwrap();
        let images: HashMap<_, Image> = import
            .assets
            .iter()
            .map(|asset| {
                (
                    asset.sha256.as_str(),
                    (asset.mime_type.clone(), Bytes::from(asset.bytes.clone())),
                )
            })
            .collect();
        let items = items(&import);
        let live = shown(&items, &Scope::default());
        let scene = scene(&items);
        let image = |sha256: &str| images.get(sha256).cloned();

        let drawn = svg(&scene, None, &image, &|| true).unwrap();
        let ids = attributes(&drawn, "data-id");
        assert!(
            ids.iter()
                .eq(live.iter().map(|item| &*item.id).collect::<Vec<_>>().iter()),
            "{name}"
        );
        assert_eq!(
            attributes(&drawn, "href")
                .iter()
                .find(|href| !href.starts_with(['#']) && !href.starts_with("data:image/")),
            None
        );

        let known = EXCALIDRAW.iter().find(|(known, ..)| name.starts_with(known));
        if let Some((_, width, height)) = known {
            let [own_width, own_height] = scene.size();
            let off = (own_width - width).abs().max((own_height - height).abs());
            assert!(off <= WOBBLE_PX, "{name}: {own_width} x {own_height}");
        }

        let canvas = Canvas::of(&scene, None);
        let started = Instant::now();
        let picture = png(&scene, canvas, &image, &|| true).unwrap();
        let [width, height] = scene.size();
        eprintln!(
            "{name}: {} elements, {width:.0} x {height:.0}, {} x {} px, {} KB, {} ms",
            live.len(),
            canvas.width,
            canvas.height,
            picture.len() / 1024,
            started.elapsed().as_millis()
        );
        assert!(painted(&picture) > 20, "{name} is blank");
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.png")), &picture).unwrap();
            std::fs::write(folder.join(format!("{name}.svg")), &drawn).unwrap();
        }
    }
    eprintln!("{} boards were painted", files.len());
}

/// Elements with every property a client may set to nonsense.
fn hostile() -> Vec<Item> {
    let kinds = [
        "rectangle",
        "ellipse",
        "diamond",
        "line",
        "arrow",
        "freedraw",
        "text",
        "image",
        "frame",
        "embeddable",
        "\"/><script>",
    ];
    let numbers = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e308, 1e308, 1e-308, -0.0].map(Value::Float);
    let odd = [
        Value::Null,
        Value::Bool(true),
        Value::from("</svg><script>alert(1)</script>"),
        Value::from("\u{0}\u{ffff}&amp;"),
        Value::Bytes(vec![0xff; 40].into()),
        Value::Array(vec![Value::Null; 3].into()),
        Value::from("url(https://example.org/x)"),
    ];
    let mut items = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        for (turn, value) in numbers.iter().chain(&odd).enumerate() {
            let mut properties: Properties = P::ALL
                .iter()
                .filter(|property| property.fits(EntryKind::Element))
                .map(|property| (*property, value.clone()))
                .collect();
            properties.set(P::Type, (*kind).into());
            properties.remove(P::Deleted);
            properties.remove(P::Page);
            if turn == 0 {
                properties.set(P::Text, "long ".repeat(20_000).as_str().into());
            }
            items.push(Item {
                kind: EntryKind::Element,
                id: format!("\"><{index}.{turn}").into(),
                properties,
            });
        }
    }
    items
}

#[test]
fn nothing_a_client_wrote_gets_out_of_its_place() {
    let items = hostile();
    let scene = scene(&items);
    assert_eq!(scene.len(), items.len());
    let drawn = svg(&scene, None, &|_| None, &|| true).unwrap();
    assert_eq!(attributes(&drawn, "data-id").len(), items.len());
    let lower = drawn.to_lowercase();
    for danger in [
        "<script",
        "<foreignobject",
        "<style",
        " on",
        "xlink",
        "<a ",
        "<!",
        "https://",
        "javascript:",
    ] {
        let text = lower.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert!(
            !text
                .split('<')
                .any(|tag| format!("<{}", tag.split('>').next().unwrap()).contains(danger)),
            "{danger}"
        );
    }
    let canvas = Canvas::of(&scene, None);
    assert!(
        u64::from(canvas.width) * u64::from(canvas.height) <= 16_100_000,
        "{canvas:?}"
    );
    assert!(
        !png(&scene, Canvas::within(&scene, [480, 360]), &|_| None, &|| true)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_picture_ends_when_its_time_is_over() {
    let items = hostile();
    let scene = scene(&items);
    assert_eq!(svg(&scene, None, &|_| None, &|| false), Err(PictureError::TooLong));
    let canvas = Canvas::within(&scene, [480, 360]);
    assert_eq!(png(&scene, canvas, &|_| None, &|| false), Err(PictureError::TooLong));
}

#[test]
fn a_full_board_is_painted_in_parts() {
    let number = |number: u32| Value::Int(i64::from(number));
    let element = |index: u32| {
        let kind = ["rectangle", "ellipse", "text", "freedraw", "arrow"][index as usize % 5];
        let points: Vec<_> = (0..40)
            .map(f64::from)
            .map(|i| [i * 2.0, (i / 4.0).sin() * 20.0])
            .collect();
        let points = pack(&Stroke {
            points,
            ..Stroke::default()
        })
        .unwrap();
        let mut set = vec![
            (P::Type, kind.into()),
            (P::X, number(index % 250 * 90)),
            (P::Y, number(index / 250 * 60)),
            (P::Width, number(80)),
            (P::Height, number(40)),
            (P::Pos, format!("{index:06}").as_str().into()),
        ];
        match kind {
            "text" => set.push((P::Text, "가나다 lesson".into())),
            "freedraw" | "arrow" => set.push((P::Points, Value::Bytes(points.into()))),
            _ => set.push((P::BackgroundColor, "#a5d8ff".into())),
        }
        Item {
            kind: EntryKind::Element,
            id: format!("e{index}").into(),
            properties: set.into_iter().collect(),
        }
    };
    for count in [5_000, 50_000] {
        let items: Vec<_> = (0..count).map(element).collect();
        let started = Instant::now();
        let scene = scene(&items);
        let drawn = svg(&scene, None, &|_| None, &|| true).unwrap();
        let of_svg = started.elapsed().as_millis();
        let canvas = Canvas::of(&scene, Some(2_000));
        let started = Instant::now();
        let painted_png = png(&scene, canvas, &|_| None, &|| true).unwrap();
        let of_png = started.elapsed().as_millis();
        eprintln!(
            "{count} elements: SVG in {of_svg} ms, PNG of {} x {} px in {of_png} ms",
            canvas.width, canvas.height
        );
        assert_eq!(attributes(&drawn, "data-id").len(), count as usize);
        assert!(painted(&painted_png) > 5_000);
    }
}

#[test]
fn a_board_of_many_pages_is_laid_out_at_once() {
    let count = 20_000;
    let entry = |kind, id: String, set: &[(P, Value)]| Item {
        kind,
        id: id.into(),
        properties: set.iter().cloned().collect(),
    };
    let mut items = Vec::new();
    for number in 0..count {
        let page = format!("p{number}");
        // The last one comes first.
        let pos = format!("a{:05}", count - number);
        items.push(entry(EntryKind::Page, page.clone(), &[(P::Pos, pos.as_str().into())]));
        let place = [
            (P::Type, "rectangle".into()),
            (P::X, Value::Int(0)),
            (P::Y, Value::Int(0)),
        ];
        let on = [(P::Page, page.as_str().into()), (P::Pos, pos.as_str().into())];
        let set: Vec<_> = place.into_iter().chain(on).collect();
        items.push(entry(EntryKind::Element, format!("e{number}"), &set));
        let deleted = [(P::Deleted, Value::Int(1))];
        items.push(entry(EntryKind::Page, format!("gone{number}"), &deleted));
    }
    let begin = Instant::now();
    let scene = scene(&items);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    let drawn = svg(&scene, None, &|_| None, &|| true).unwrap();
    let ids = attributes(&drawn, "data-id");
    assert_eq!((ids.len(), ids[0]), (count, "e19999"));
}
