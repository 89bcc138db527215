//! PNG: the SVG of a scene, painted in parts.
//!
//! The library that paints cannot be stopped, so no part is large: elements are gathered until they would take a tenth of
//! a second or so, and the clock is asked between parts. Memory is that of one part and the canvas, however much is on
//! the board. It reads nothing but SVG and PNG that were written here: images are decoded before, within limits.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, ImageDecoder as _, ImageEncoder as _, ImageReader};
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, ImageKind, Options, Tree, fontdb};

use super::look::Look;
use super::paint::Placed;
use super::scene::Scene;
use super::{Image, PictureError, RASTER_TYPES, text};
use crate::protocol::element::{Property as P, Value};

/// Pixels of a picture: 64 MB of memory while it is painted.
const PIXELS_MAX: f64 = 16_000_000.0;
/// Width and height at most, in px.
const SIDE_MAX: f64 = 16_384.0;
/// Side of an image that lies in a picture, in px.
const IMAGE_SIDE_MAX: f64 = 4_096.0;
/// Memory for all images of a picture, in bytes of PNG; further ones are left out.
const IMAGES_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Memory for the decoding of one image, in bytes: the 50 million pixels that an upload may have.
const IMAGE_ALLOC_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of pixels up to which time for good compression is well spent.
const SMALL_BYTES: usize = 1024 * 1024;
/// Work in one part, in microseconds by [`cost`].
const PART_COST: f64 = 100_000.0;

const FONTS: [&[u8]; 5] = [
    include_bytes!("fonts/schoolbell.ttf"),
    include_bytes!("fonts/roboto.ttf"),
    include_bytes!("fonts/roboto-mono.ttf"),
    include_bytes!("fonts/droid-sans-fallback.ttf"),
    include_bytes!("fonts/symbols.ttf"),
];

/// The pixels that a scene is painted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canvas {
    /// In px.
    pub width: u32,
    /// In px.
    pub height: u32,
    scale: f64,
}

impl Canvas {
    /// For the scene at `width` px, or at its own size; smaller where that would be too many pixels.
    pub fn of(scene: &Scene<'_>, width: Option<u32>) -> Self {
        let scale = width.map_or(1.0, |width| f64::from(width) / scene.size()[0]);
        Self::at(scene, scale)
    }

    /// For the scene as large as it fits into these sides, never larger than it is.
    pub fn within(scene: &Scene<'_>, sides: [u32; 2]) -> Self {
        let [width, height] = scene.size();
        Self::at(
            scene,
            (f64::from(sides[0]) / width).min(f64::from(sides[1]) / height).min(1.0),
        )
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sides are at least 1 and at most `SIDE_MAX`"
    )]
    fn at(scene: &Scene<'_>, scale: f64) -> Self {
        let [width, height] = scene.size();
        let scale = scale
            .min((PIXELS_MAX / (width * height)).sqrt())
            .min(SIDE_MAX / width)
            .min(SIDE_MAX / height);
        let side = |length: f64| (length * scale).round().clamp(1.0, SIDE_MAX) as u32;
        Self {
            width: side(width),
            height: side(height),
            scale,
        }
    }
}

/// Paints a scene. `image` gives the content of an image by its SHA-256, `has_time` says whether to go on.
pub fn png(
    scene: &Scene<'_>,
    canvas: Canvas,
    image: &dyn Fn(&str) -> Option<Image>,
    has_time: &dyn Fn() -> bool,
) -> Result<Vec<u8>, PictureError> {
    let mut pixels =
        Pixmap::new(canvas.width, canvas.height).ok_or(PictureError::Failed("the canvas cannot be made"))?;
    pixels.fill(Color::WHITE);
    let images = images(scene, canvas, image, has_time)?;
    let address = |sha256: &str| images.contains_key(sha256).then(|| sha256.to_owned());
    let options = options(&images);
    let mut part = Part::begin(scene, &address);
    scene.backgrounds(&mut part.painter.out);
    for placed in scene.elements() {
        if part.cost > PART_COST {
            if !has_time() {
                return Err(PictureError::TooLong);
            }
            part.paint(&options, canvas, &mut pixels)?;
            part = Part::begin(scene, &address);
        }
        part.painter.element(placed);
        part.cost += cost(placed, canvas);
    }
    part.paint(&options, canvas, &mut pixels)?;
    if !has_time() {
        return Err(PictureError::TooLong);
    }
    encode(&pixels)
}

/// Elements that are painted in one go.
struct Part<'p> {
    painter: super::paint::Painter<'p>,
    cost: f64,
}

impl<'p> Part<'p> {
    fn begin(scene: &'p Scene<'_>, address: &'p dyn Fn(&str) -> Option<String>) -> Self {
        let mut painter = scene.painter(address);
        scene.open(&mut painter.out, None);
        Self { painter, cost: 0.0 }
    }

    fn paint(mut self, options: &Options<'_>, canvas: Canvas, pixels: &mut Pixmap) -> Result<(), PictureError> {
        self.painter.out.push_str("</svg>");
        let tree = Tree::from_str(&self.painter.out, options)
            .map_err(|_text_of_the_library| PictureError::Failed("its SVG is not well-formed"))?;
        #[expect(clippy::cast_possible_truncation, reason = "a factor needs no more digits")]
        let scale = canvas.scale as f32;
        resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        Ok(())
    }
}

/// Microseconds that an element may take to paint, by what it is made of and how many pixels it covers.
fn cost(placed: &Placed<'_>, canvas: Canvas) -> f64 {
    const BASE: f64 = 50.0;
    const LETTER: f64 = 10.0;
    const BYTE_OF_POINTS: f64 = 0.5;
    const PIXEL: f64 = 0.02;
    /// Widths of its line that an element may reach beyond its points.
    const REACH: f64 = 9.0;
    let count = |length: usize| f64::from(u32::try_from(length).unwrap_or(u32::MAX));
    let look = Look::new(placed.item);
    let letters = count(look.text(P::Text).map_or(0, str::len).min(text::LETTERS_MAX));
    let size = look.number(P::FontSize, 20.0, text::FONT_SIZE_MAX) * canvas.scale;
    let points = match placed.item.properties.get(P::Points) {
        Some(Value::Bytes(bytes)) => bytes.len(),
        _ => 0,
    };
    let reach = look.stroke_width * REACH;
    let [width, height] = placed.bounds.size().map(|side| (side + reach) * canvas.scale);
    let pixels = width.min(f64::from(canvas.width)) * height.min(f64::from(canvas.height));
    BASE + letters * (LETTER + size * size * PIXEL) + count(points) * BYTE_OF_POINTS + pixels * PIXEL
}

type Images = HashMap<String, Arc<Vec<u8>>>;

/// The images of the scene as PNG, none larger than it is shown.
fn images(
    scene: &Scene<'_>,
    canvas: Canvas,
    image: &dyn Fn(&str) -> Option<Image>,
    has_time: &dyn Fn() -> bool,
) -> Result<Images, PictureError> {
    let mut sides: HashMap<&str, f64> = HashMap::new();
    for (sha256, placed) in scene.placed_images() {
        let [width, height] = placed.bounds.size().map(|side| side * canvas.scale);
        // A part of the image may be all that is shown.
        let side = if placed.is_cropped() {
            IMAGE_SIDE_MAX
        } else {
            width.max(height)
        };
        let largest = sides.entry(sha256).or_default();
        *largest = largest.max(side).clamp(1.0, IMAGE_SIDE_MAX);
    }
    let (mut images, mut size_bytes) = (Images::new(), 0);
    for (sha256, side) in sides {
        if !has_time() {
            return Err(PictureError::TooLong);
        }
        let found = image(sha256).filter(|(mime_type, _)| RASTER_TYPES.contains(&mime_type.as_str()));
        if size_bytes < IMAGES_BYTES_MAX
            && let Some(png) = found.and_then(|(_, bytes)| decoded(&bytes, side))
        {
            size_bytes += png.len();
            images.insert(sha256.to_owned(), Arc::new(png));
        }
    }
    Ok(images)
}

/// The image as a PNG whose sides are at most `side` px; `None` where it is damaged or too large.
fn decoded(bytes: &[u8], side: f64) -> Option<Vec<u8>> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(IMAGE_ALLOC_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    let mut image = DynamicImage::from_decoder(decoder).ok()?;
    image.apply_orientation(orientation);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 1 and at most `IMAGE_SIDE_MAX`"
    )]
    let side = side.ceil() as u32;
    if image.width().max(image.height()) > side {
        image = image.thumbnail(side, side);
    }
    let image = image.into_rgba8();
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::NoFilter)
        .write_image(&image, image.width(), image.height(), ExtendedColorType::Rgba8)
        .ok()?;
    Some(png)
}

/// How our SVG is read: with our fonts, and no address but those of our images.
fn options(images: &Images) -> Options<'_> {
    static DATABASE: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let database = DATABASE.get_or_init(|| {
        let mut database = fontdb::Database::new();
        for font in FONTS {
            database.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        database.set_cursive_family("Schoolbell");
        database.set_sans_serif_family("Roboto");
        database.set_serif_family("Roboto");
        database.set_monospace_family("Roboto Mono");
        Arc::new(database)
    });
    Options {
        fontdb: Arc::clone(database),
        font_family: "Roboto".to_owned(),
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|address, _| images.get(address).cloned().map(ImageKind::PNG)),
        },
        ..Options::default()
    }
}

/// The canvas as PNG; it is opaque, so it has no alpha.
fn encode(pixels: &Pixmap) -> Result<Vec<u8>, PictureError> {
    let rgb: Vec<u8> = pixels
        .data()
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    // A small picture is sent often, a large one once.
    let compression = if rgb.len() < SMALL_BYTES {
        CompressionType::Default
    } else {
        CompressionType::Fast
    };
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, compression, FilterType::Adaptive)
        .write_image(&rgb, pixels.width(), pixels.height(), ExtendedColorType::Rgb8)
        .map_err(|_text_of_the_library| PictureError::Failed("it cannot be encoded"))?;
    Ok(png)
}
