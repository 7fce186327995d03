"""Multipart bodies, read as a stream: refused at the first byte over a limit, never held in memory whole."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.errors import BrokenRequest, UnexpectedField
from modiste.errors import FileTooLarge, UnsupportedType
from modiste.settings import settings
from modiste.video import sniff_container

HEAD = 64
"""Bytes that tell a video from anything else."""
OPTIONS_LIMIT = 1 << 16
_FRAMING = 1 << 16


@dataclass(frozen=True, slots=True)
class Form:
    """What was sent. files: by field name, each rewound, on disk where larger than 1 MB."""

    files: dict[str, UploadFile]
    options: str | None

    async def close(self) -> None:
        for upload in self.files.values():
            await upload.close()


class _Limited(MultiPartParser):
    """Counts each file as it arrives; what starts like a video may be as large as videos may."""

    head = b""
    size = 0

    def __init__(self, *args: object, videos: bool, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._videos = videos

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self.head, self.size = b"", 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self.size += end - start
            self.head += data[start : min(end, start + HEAD - len(self.head))]
            limit = _file_limit(self._videos and sniff_container(self.head) is not None)
            if self.size > limit:
                raise FileTooLarge(f"{self._current_part.field_name}: expected at most {limit} bytes, got more")
        super().on_part_data(data, start, end)


def _file_limit(video: bool) -> int:
    return settings().max_video_bytes if video else settings().max_upload_bytes


async def read_form(request: Request, *, files: tuple[str, ...], videos: bool) -> Form:
    """Read a flow's multipart body.

    files:  names of the fields that may hold files; videos: whether a video may be among them
    raises: FileTooLarge, UnsupportedType, UnexpectedField, BrokenRequest
    """
    allowed = _FRAMING + OPTIONS_LIMIT + max(1, len(files)) * _file_limit(videos)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > allowed:
        raise FileTooLarge(f"expected a request of at most {allowed} bytes, got {declared}")
    content_type = request.headers.get("content-type", "")
    if not content_type and declared == "0":
        return Form({}, None)
    if not content_type.startswith("multipart/form-data"):
        raise UnsupportedType(f"expected multipart/form-data, got {content_type[:80] or 'no content type'!r}")
    parser = _Limited(
        request.headers, _counted(request, allowed), videos=videos,
        max_files=len(files) + 1, max_fields=8, max_part_size=OPTIONS_LIMIT,
    )  # fmt: skip
    try:
        items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        raise BrokenRequest(f"expected a well-formed multipart body: {error.message}") from error
    try:
        return await _form(items, files)
    except UnexpectedField:
        for _, value in items:
            if isinstance(value, UploadFile):
                await value.close()
        raise


async def _form(items: list[tuple[str, UploadFile | str]], files: tuple[str, ...]) -> Form:
    expected = f"expected the fields {', '.join((*files, 'options'))}"
    uploads: dict[str, UploadFile] = {}
    options: str | None = None
    for name, value in items:
        if name in uploads or (name == "options" and options is not None):
            raise UnexpectedField(f"{expected}, each once; got {name!r} twice")
        if name == "options":
            # Scripts in browsers send JSON as a nameless file.
            sent = await value.read(OPTIONS_LIMIT) if isinstance(value, UploadFile) else value
            options = sent if isinstance(sent, str) else sent.decode(errors="replace")
        elif name not in files or isinstance(value, str):
            what = "text" if isinstance(value, str) else "a file"
            raise UnexpectedField(f"{expected}; got {what} in {name[:60]!r}")
        elif value.filename or value.size:  # a form's empty file field has neither
            uploads[name] = value
    return Form(uploads, options)


async def _counted(request: Request, allowed: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > allowed:
            raise FileTooLarge(f"expected a request of at most {allowed} bytes, got more")
        yield chunk
