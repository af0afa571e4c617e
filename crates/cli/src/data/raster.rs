//! One decoded image: from PNG or JPEG bytes to the pixels a model takes.

use std::fmt;
use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{GrayImage, ImageReader, Limits};

use super::Shape;

/// An image of one (grey), three (red, green, blue) or, from arrays, any number of channels.
pub(super) struct Raster {
    shape: Shape,
    /// `[channels][height][width]`
    pixels: Vec<u8>,
}

impl Raster {
    /// `None` unless there are exactly as many pixels as the shape has.
    pub(super) fn new(shape: Shape, pixels: Vec<u8>) -> Option<Self> {
        let len = shape.channels.checked_mul(shape.height)?.checked_mul(shape.width)?;
        (len > 0 && len == pixels.len()).then_some(Self { shape, pixels })
    }

    /// Decodes a PNG or JPEG file. Transparency is dropped, 16-bit samples are rounded to 8 bits.
    ///
    /// # Errors
    /// The reason, if the bytes are no such file, are damaged, or claim more than [`MAX_SIDE`] pixels a side.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, impl fmt::Display + use<>> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODER_BYTES);
        let mut reader = ImageReader::new(Cursor::new(bytes));
        reader.limits(limits);
        let image = reader.with_guessed_format().map_err(image::ImageError::IoError)?.decode()?;
        let (height, width) = (image.height() as usize, image.width() as usize);
        if image.color().has_color() {
            let interleaved = image.into_rgb8().into_raw();
            let pixels = (0..3).flat_map(|c| interleaved.iter().skip(c).step_by(3).copied()).collect();
            Ok::<_, image::ImageError>(Self { shape: Shape { channels: 3, height, width }, pixels })
        } else {
            Ok(Self { shape: Shape { channels: 1, height, width }, pixels: image.into_luma8().into_raw() })
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The pixels in another shape: grey and colour are converted into each other, and with `resize` the image is
    /// scaled. `None` if the shape cannot be reached.
    pub(super) fn fit(self, shape: Shape, resize: bool) -> Option<Vec<u8>> {
        let converted = self.with_channels(shape.channels)?;
        let scaled = if resize { converted.scaled(shape.height, shape.width)? } else { converted };
        (scaled.shape == shape).then_some(scaled.pixels)
    }

    fn with_channels(self, channels: usize) -> Option<Self> {
        let pixels = match (self.shape.channels, channels) {
            (from, to) if from == to => self.pixels,
            (1, 3) => self.pixels.repeat(3),
            (3, 1) => luma(&self.pixels),
            _ => return None,
        };
        Some(Self { shape: Shape { channels, ..self.shape }, pixels })
    }

    fn scaled(self, height: usize, width: usize) -> Option<Self> {
        if (height, width) == (self.shape.height, self.shape.width) {
            return Some(self);
        }
        let side = |len: usize| u32::try_from(len).ok().filter(|&len| 0 < len && len <= MAX_SIDE);
        let (from_width, from_height) = (side(self.shape.width)?, side(self.shape.height)?);
        let (to_width, to_height) = (side(width)?, side(height)?);
        let mut pixels = Vec::new();
        for channel in self.pixels.chunks_exact(self.shape.height * self.shape.width) {
            let plane = GrayImage::from_raw(from_width, from_height, channel.to_vec())?;
            pixels.extend(imageops::resize(&plane, to_width, to_height, FilterType::Triangle).into_raw());
        }
        Some(Self { shape: Shape { channels: self.shape.channels, height, width }, pixels })
    }
}

/// Luma of ITU-R BT.601 in thousandths, rounded.
fn luma(rgb_planes: &[u8]) -> Vec<u8> {
    let plane = rgb_planes.len() / 3;
    let (red, rest) = rgb_planes.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    red.iter()
        .zip(green)
        .zip(blue)
        .map(|((&r, &g), &b)| {
            ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
        })
        .collect()
}

/// Widest and tallest image that is decoded.
const MAX_SIDE: u32 = 16_384;
/// Most memory a decoder may take, pixels included.
const MAX_DECODER_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage};

    use super::*;

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn colour_planes_are_separated() {
        let image = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, 10 + y as u8, 200]));
        let raster = Raster::decode(&encoded(&image, ImageFormat::Png)).map_err(|e| e.to_string()).unwrap();
        assert_eq!(raster.shape(), Shape { channels: 3, height: 2, width: 3 });
        let expected = [0, 1, 2, 0, 1, 2, 10, 10, 10, 11, 11, 11, 200, 200, 200, 200, 200, 200];
        assert_eq!(raster.fit(Shape { channels: 3, height: 2, width: 3 }, false).unwrap(), expected);
    }

    #[test]
    fn colour_and_grey_convert() {
        let pixel = Shape { channels: 1, height: 1, width: 1 };
        let colour = Shape { channels: 3, ..pixel };
        let grey_of = |rgb: [u8; 3]| Raster::new(colour, rgb.to_vec()).unwrap().fit(pixel, false).unwrap();
        assert_eq!(grey_of([255, 255, 255]), [255]);
        assert_eq!(grey_of([255, 0, 0]), [76]);
        assert_eq!(grey_of([0, 255, 0]), [150]);
        assert_eq!(grey_of([0, 0, 255]), [29]);
        assert_eq!(Raster::new(pixel, vec![9]).unwrap().fit(colour, false).unwrap(), [9, 9, 9]);
        assert!(Raster::new(Shape { channels: 2, ..pixel }, vec![1, 2]).unwrap().fit(pixel, true).is_none());
    }

    #[test]
    fn scaling_is_asked_for_and_keeps_flat_images_flat() {
        let raster = || {
            let pixels = [vec![7; 6], vec![8; 6], vec![9; 6]].concat();
            Raster::new(Shape { channels: 3, height: 2, width: 3 }, pixels).unwrap()
        };
        let wanted = Shape { channels: 3, height: 4, width: 2 };
        assert!(raster().fit(wanted, false).is_none());
        assert_eq!(raster().fit(wanted, true).unwrap(), [[7; 8], [8; 8], [9; 8]].concat());
        assert!(raster().fit(Shape { height: 1 << 40, ..wanted }, true).is_none());
        assert!(raster().fit(Shape { height: 0, ..wanted }, true).is_none());
    }

    #[test]
    fn wrong_pixel_counts_are_refused() {
        let shape = Shape { channels: 1, height: 2, width: 2 };
        assert!(Raster::new(shape, vec![0; 3]).is_none());
        assert!(Raster::new(Shape { height: usize::MAX, width: usize::MAX, ..shape }, vec![0; 1]).is_none());
        assert!(Raster::new(Shape { height: 0, ..shape }, vec![]).is_none());
    }

    #[test]
    fn every_truncation_is_an_error_or_an_image() {
        let image = RgbImage::from_fn(9, 7, |x, y| Rgb([(x * 28) as u8, (y * 36) as u8, 128]));
        let png = encoded(&image, ImageFormat::Png);
        let jpeg = encoded(&image, ImageFormat::Jpeg);
        assert!(Raster::decode(&jpeg).is_ok());
        for file in [&png, &jpeg] {
            for len in 0..file.len() {
                // A decoder may be content without the last bytes, but the shape is then still the true one.
                if let Ok(raster) = Raster::decode(&file[..len]) {
                    assert_eq!(raster.shape(), Shape { channels: 3, height: 7, width: 9 });
                }
            }
            assert!(Raster::decode(&file[..20]).is_err());
        }
    }

    #[test]
    fn huge_claimed_size_is_refused_before_decoding() {
        let mut png = encoded(&RgbImage::new(1, 1), ImageFormat::Png);
        // IHDR: width and height at 16..24, its checksum over 12..29 at 29..33.
        png[16..20].copy_from_slice(&100_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&100_000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&png[12..29]);
        png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        let reason = Raster::decode(&png).err().unwrap().to_string();
        assert!(reason.to_lowercase().contains("limit") || reason.contains("size"), "{reason}");
    }
}
