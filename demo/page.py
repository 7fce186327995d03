"""The page: every input, intermediate and result side by side, with timings, in one self-contained file."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from PIL import Image

from demo.client import Answer, Shown

LONGEST_SIDE = 640
"""Pictures are reduced to this for the page, pixels; the full ones lie beside it."""


def write(answers: Sequence[Answer], folder: Path) -> Path:
    """Write index.html and the full-size files into `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, answer in enumerate(answers):
        for shown in answer.outputs:
            suffix = shown.media_type.rpartition("/")[2].replace("jpeg", "jpg")
            name = f"{number:02}_{answer.case.flow}_{shown.caption.replace(' ', '_')}.{suffix}"
            (folder / name).write_bytes(shown.content)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape())
    environment.filters["embedded"] = _embedded
    environment.filters["brief"] = _brief
    page = folder / "index.html"
    page.write_text(environment.get_template("page.html.j2").render(answers=answers))
    return page


def _embedded(shown: Shown) -> str:
    """A data URI; pictures reduced and as JPEG."""
    content, media_type = shown.content, shown.media_type
    if media_type.startswith("image/"):
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        picture.save(sink, "JPEG", quality=88)
        content, media_type = sink.getvalue(), "image/jpeg"
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return text if len(text) < 4000 else text[:4000] + " …"
