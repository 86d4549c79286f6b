//! A picture as SVG or PNG, by the end of the file's name.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::path::Path;

/// Something to draw, on either kind of file.
pub trait Picture {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32) {
        (720, 440)
    }

    /// Draws it on `root`, which has this size.
    ///
    /// # Errors
    ///
    /// If there is nothing to draw; and those of the file.
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn Error>>
    where
        B::ErrorType: 'static;

    /// Draws it to `file`.
    ///
    /// # Errors
    ///
    /// If the file's name ends otherwise or it cannot be written; and those of [`draw`](Self::draw).
    fn save(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        // SVG leaves the letters to its reader, but their widths are needed; a PNG has to bring both.
        register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
            .map_err(|_| "the font cannot be read")?;
        let written = match file.extension().and_then(|end| end.to_str()) {
            Some("svg") => {
                let root = SVGBackend::new(file, self.size()).into_drawing_area();
                self.draw(&root).and_then(|()| Ok(root.present()?))
            }
            Some("png") => {
                let root = BitMapBackend::new(file, self.size()).into_drawing_area();
                self.draw(&root).and_then(|()| Ok(root.present()?))
            }
            _ => Err("its name ends otherwise; allowed: .svg, .png".into()),
        };
        written.map_err(|error| format!("cannot draw {}: {error}", file.display()).into())
    }
}
