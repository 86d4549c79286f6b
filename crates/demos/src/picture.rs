//! A picture as SVG or PNG, by the end of the file's name.

use crate::output::{Files, Output};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::path::Path;

/// A file for a picture.
#[derive(Debug)]
pub struct PictureFile {
    format: Format,
    output: Output,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Svg,
    Png,
}

impl PictureFile {
    /// The file of `option`, which will be written.
    ///
    /// # Errors
    ///
    /// If its name ends otherwise than in `.svg` or `.png`; and those of [`Files::write`].
    pub fn check(files: &mut Files, option: &str, path: &Path) -> Result<Self, String> {
        let end = path.extension().unwrap_or_default().to_string_lossy();
        let format = match end.to_ascii_lowercase().as_str() {
            "svg" => Format::Svg,
            "png" => Format::Png,
            _ => {
                let path = path.display();
                let problem = if end.is_empty() {
                    "has no ending".to_owned()
                } else {
                    format!("ends in .{end}")
                };
                return Err(format!(
                    "cannot draw {path} ({option}): its name {problem}; allowed: .svg, .png"
                ));
            }
        };
        Ok(Self { format, output: files.write(option, path)? })
    }

    /// The file, as the command line names it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.output.path()
    }
}

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
    /// If the file cannot be written; and those of [`draw`](Self::draw).
    fn save(&self, file: &PictureFile) -> Result<(), String> {
        let content = match file.format {
            Format::Svg => self.svg().map(String::into_bytes),
            Format::Png => self.png(),
        };
        let failed = |error| format!("cannot draw {}: {error}", file.path().display());
        file.output.write(&content.map_err(failed)?)
    }

    /// The picture as SVG.
    ///
    /// # Errors
    ///
    /// Those of [`draw`](Self::draw).
    fn svg(&self) -> Result<String, Box<dyn Error>> {
        prepare_font()?;
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, self.size()).into_drawing_area();
            self.draw(&root)?;
            root.present()?;
        }
        Ok(text)
    }

    /// The picture as PNG.
    ///
    /// # Errors
    ///
    /// Those of [`draw`](Self::draw).
    fn png(&self) -> Result<Vec<u8>, Box<dyn Error>> {
        prepare_font()?;
        let (width, height) = self.size();
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        {
            let root = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
            self.draw(&root)?;
            root.present()?;
        }
        let mut content = Vec::new();
        let mut encoder = png::Encoder::new(&mut content, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(content)
    }
}

/// SVG leaves the letters to its reader, but their widths are needed; a PNG has to bring both.
fn prepare_font() -> Result<(), &'static str> {
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the font cannot be read")
}
