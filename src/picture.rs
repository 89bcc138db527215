//! Boards as pictures: SVG for people and programs, PNG for thumbnails and where no browser draws.
//!
//! Elements come from the read model as they are; [`Scene`] lays them out, each becomes one group of SVG with its id, and
//! a PNG is that SVG painted in parts. Lines are clean, not wobbly as on Excalidraw's canvas, but everything is where it
//! puts it: width, height and `viewBox` are its bounds and a margin.
//!
//! An SVG holds nothing that runs, no address but `data:` of images, no link. What a client wrote is escaped text, a
//! checked colour or a number within bounds. Fonts are part of the program (`fonts/README.md`), so that a picture is the
//! same everywhere; letters that none of them has stay away.
//!
//! Pure: no files, no clock. The caller hands in the images, and says whether there is time left.

mod arrow;
mod look;
mod outline;
mod paint;
mod pen;
mod raster;
mod scene;
mod shape;
mod text;
mod wobble;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use thiserror::Error;

pub use raster::{Canvas, png};
pub use scene::Scene;

/// Bytes of an SVG.
const SVG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Kinds of images that a picture shows. A drawing (SVG) is none of them: what is in it is another's code.
const RASTER_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/// Why there is no picture.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PictureError {
    /// The caller's time is over.
    #[error("the picture takes too long to draw")]
    TooLong,
    /// The SVG is too large.
    #[error("the picture is above {SVG_BYTES_MAX} bytes")]
    TooLarge,
    /// The library did not take our own SVG.
    #[error("the picture could not be painted: {0}")]
    Failed(&'static str),
}

/// Media type and content of an image.
pub type Image = (String, Bytes);

/// Draws a board as SVG, `width` px wide where one is told. `image` gives the content of an image by its SHA-256,
/// `has_time` says whether to go on.
pub fn svg(
    scene: &Scene<'_>,
    width: Option<u32>,
    image: &dyn Fn(&str) -> Option<Image>,
    has_time: &dyn Fn() -> bool,
) -> Result<String, PictureError> {
    let address = |sha256: &str| {
        let (mime_type, bytes) = image(sha256)?;
        let mime_type = RASTER_TYPES.iter().find(|known| **known == mime_type)?;
        Some(format!("data:{mime_type};base64,{}", BASE64.encode(bytes)))
    };
    let mut painter = scene.painter(&address);
    scene.open(&mut painter.out, width);
    scene.backgrounds(&mut painter.out);
    for placed in scene.elements() {
        if !has_time() {
            return Err(PictureError::TooLong);
        }
        painter.element(placed);
        if painter.out.len() > SVG_BYTES_MAX {
            return Err(PictureError::TooLarge);
        }
    }
    painter.out.push_str("</svg>\n");
    Ok(painter.out)
}

#[cfg(test)]
mod tests;
