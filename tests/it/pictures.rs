//! Boards as pictures: every element is in them, in its place, and nothing else is.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use image::{ImageFormat, RgbImage};
use panseo::interchange::{Scope, shown};
use panseo::picture::{Canvas, Image, Scene, png, svg};
use panseo::protocol::element::{EntryKind, Item};

use crate::interchange::{all_files, items, read};

fn scene(items: &[Item]) -> Scene<'_> {
    let pages: Vec<_> = items.iter().filter(|item| item.kind == EntryKind::Page).collect();
    Scene::new(&shown(items, &Scope::default()), &pages)
}

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
