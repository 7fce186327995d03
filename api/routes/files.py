"""Stored results."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import FileResponse

from api.deps import Caller, Deps
from api.files import media_type

router = APIRouter(prefix="/v1/files", tags=["files"])


@router.get("/{file_id}", response_class=FileResponse, summary="A stored result")
async def get_file(file_id: str, services: Deps, _tenant: Caller) -> FileResponse:
    """The bytes of a picture, video or report that an earlier answer linked to."""
    path = await asyncio.to_thread(services.files.path, file_id)
    headers = {"Cache-Control": "private, immutable", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=media_type(file_id), headers=headers)
