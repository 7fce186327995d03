import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modiste.errors import AnimatedImage, BrokenFile, FileTooLarge, TooManyPixels, UnsupportedType
from modiste.image import RGBImage, decode, decode_rgba, encode


def png(picture: Image.Image, **options: object) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "PNG", **options)
    return sink.getvalue()


def gradient(height: int = 40, width: int = 60) -> RGBImage:
    rows, columns = np.mgrid[:height, :width]
    return RGBImage(np.stack([rows * 5, columns * 4, rows + columns], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("image_format", ["png", "webp", "jpeg"])
def test_a_picture_survives_its_encoding(image_format: str) -> None:
    picture = gradient()
    back = decode(encode(picture, image_format))  # type: ignore[arg-type]
    error = np.abs(back.astype(int) - picture).mean()
    assert back.shape == picture.shape
    assert error == 0 if image_format == "png" else error < 6


def test_exif_rotation_is_applied_and_nothing_of_it_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    exif[0x010F] = "a camera"
    sink = io.BytesIO()
    Image.fromarray(gradient(40, 60)).save(sink, "JPEG", exif=exif, quality=95)
    upright = decode(sink.getvalue())
    assert upright.shape == (60, 40, 3)
    assert b"a camera" not in encode(upright, "jpeg")
    assert not Image.open(io.BytesIO(encode(upright, "jpeg"))).getexif()


def test_alpha_is_laid_on_white_or_kept() -> None:
    layers = np.zeros((4, 4, 4), np.uint8)
    layers[:2, :, 3] = 255
    encoded = png(Image.fromarray(layers))
    flat = decode(encoded)
    assert (flat[:2] == 0).all() and (flat[2:] == 255).all()
    assert (decode_rgba(encoded)[..., 3] == layers[..., 3]).all()


def test_a_dpi_is_written() -> None:
    assert Image.open(io.BytesIO(encode(gradient(), "jpeg", dpi=300))).info["dpi"] == (300, 300)


def test_other_types_are_refused_by_content() -> None:
    for content in (b"", b"%PDF-1.7 not a picture", b"GIF89a" + bytes(40)):
        with pytest.raises(UnsupportedType, match="expected a JPEG, PNG or WebP"):
            decode(content)


def test_a_truncated_picture_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    encoded = encode(RGBImage(noise), "jpeg")
    with pytest.raises(BrokenFile):
        decode(encoded[: len(encoded) // 2])


def test_size_is_checked_before_anything_else() -> None:
    with pytest.raises(FileTooLarge, match="20000001"):
        decode(bytes(20_000_001))


def test_pixels_are_counted_before_decoding() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (8_000, 60_000):  # over our limit; over Pillow's own
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        with pytest.raises(TooManyPixels):
            decode(bomb)


def test_moving_pictures_are_refused() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for image_format in ("WEBP", "PNG"):
        sink = io.BytesIO()
        frames[0].save(sink, image_format, save_all=True, append_images=frames[1:])
        with pytest.raises(AnimatedImage, match="2 frames"):
            decode(sink.getvalue())
