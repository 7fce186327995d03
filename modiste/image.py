"""Pictures as arrays, and the only way in and out of bytes.

Uploaded bytes are hostile until decoded here: type is read from the content, size and pixel count are
checked before decoding, and nothing but pixels comes out (no EXIF, no profiles, no names).
"""

import io
from typing import Literal, NewType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from modiste.errors import AnimatedImage, BrokenFile, FileTooLarge, TooManyPixels, UnsupportedType
from modiste.settings import settings

RGBImage = NewType("RGBImage", NDArray[np.uint8])
"""uint8 [H, W, 3], RGB, sRGB, upright."""
RGBAImage = NewType("RGBAImage", NDArray[np.uint8])
"""uint8 [H, W, 4], RGB + straight alpha."""
Mask = NewType("Mask", NDArray[np.uint8])
"""uint8 [H, W]; 255 = inside / edit here, 0 = outside, between = soft."""
LabelMap = NewType("LabelMap", NDArray[np.uint8])
"""uint8 [H, W] of class indices; which classes, the role says (`modiste.labels`)."""
Landmarks = NewType("Landmarks", NDArray[np.float32])
"""float32 [468, 3]: face mesh points, x and y in pixels, z in pixels (smaller = nearer)."""
Keypoints = NewType("Keypoints", NDArray[np.float32])
"""float32 [25, 3]: OpenPose BODY_25, x and y in pixels, score 0-1 (0 = not seen)."""
Embedding = NewType("Embedding", NDArray[np.float32])
"""float32 [D], length 1."""

Format = Literal["png", "jpeg", "webp"]
MEDIA_TYPES: dict[Format, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def decode(encoded: bytes) -> RGBImage:
    """Decode an uploaded JPEG, PNG or WebP.

    returns: uint8 [H, W, 3] RGB, sRGB, EXIF rotation applied, alpha laid on white
    raises:  FileTooLarge, UnsupportedType, AnimatedImage, TooManyPixels, BrokenFile
    """
    picture = _open(encoded)
    try:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        picture = _to_srgb(picture)
        if picture.has_transparency_data:
            layers = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
        return RGBImage(np.array(picture.convert("RGB")))
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenFile(f"expected a whole picture, but decoding stopped: {error}") from error


def decode_rgba(encoded: bytes) -> RGBAImage:
    """Decode as `decode` does, but keep the alpha channel (255 where the picture has none)."""
    picture = _open(encoded)
    try:
        picture.load()
        picture = _to_srgb(ImageOps.exif_transpose(picture))
        return RGBAImage(np.array(picture.convert("RGBA")))
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenFile(f"expected a whole picture, but decoding stopped: {error}") from error


def _open(encoded: bytes) -> Image.Image:
    limits = settings()
    if len(encoded) > limits.max_upload_bytes:
        raise FileTooLarge(f"expected at most {limits.max_upload_bytes} bytes, got {len(encoded)}")
    try:
        picture = Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP"))
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"expected at most {limits.max_pixels} pixels: {error}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnsupportedType(
            f"expected a JPEG, PNG or WebP picture, got {len(encoded)} bytes that are none of these"
        ) from error
    width, height = picture.size
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"expected at most {limits.max_pixels} pixels, got {width} x {height}")
    if getattr(picture, "n_frames", 1) > 1:
        raise AnimatedImage(f"expected a still picture, got one with {getattr(picture, 'n_frames', 1)} frames")
    return picture


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    except ImageCms.PyCMSError:
        # A damaged or exotic profile says nothing usable about the pixels; sRGB is what an untagged picture means.
        return picture
    return picture if converted is None else converted


def encode(image: RGBImage, image_format: Format = "png", *, quality: int = 92, dpi: float | None = None) -> bytes:
    """Encode pixels without any metadata but, where given, the resolution in dots per inch."""
    sink = io.BytesIO()
    resolution = {} if dpi is None else {"dpi": (dpi, dpi)}
    if image_format == "png":
        Image.fromarray(image).save(sink, "PNG", compress_level=4, **resolution)
    elif image_format == "jpeg":
        Image.fromarray(image).save(sink, "JPEG", quality=quality, subsampling=0, **resolution)
    else:
        Image.fromarray(image).save(sink, "WEBP", quality=quality)
    return sink.getvalue()
