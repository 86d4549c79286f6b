//! The embedded data: see DATA.md for their source and licence.

use std::error::Error;

/// Grey values of an image.
pub const PIXELS: usize = 64;

/// The digits.
pub const CLASSES: usize = 10;

/// The images, and the digit of each.
#[derive(Debug)]
pub struct Data {
    /// Grey values from 0 to 1.
    pub images: Vec<[f32; PIXELS]>,
    pub digits: Vec<usize>,
}

/// All 1,797 rows.
pub fn digits() -> Result<Data, Box<dyn Error>> {
    let mut data = Data { images: Vec::new(), digits: Vec::new() };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(include_str!("digits.csv").as_bytes());
    for record in reader.deserialize() {
        let values: Vec<u8> = record?;
        let (&digit, pixels) = values.split_last().ok_or("an empty row")?;
        let pixels: [u8; PIXELS] = pixels.try_into()?;
        data.images.push(pixels.map(|grey| f32::from(grey) / 16.0));
        data.digits.push(digit.into());
    }
    Ok(data)
}
