"""One operation for each flow, derived from the flow's types."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.datastructures import UploadFile

from api.accept import prefers_picture
from api.deps import Caller, Deps, Services
from api.files import media_type
from api.flows import build_request, parse_options, request_schema, response_model, store_result
from api.jobs import new_folder
from api.routes.jobs import JobView, view
from api.tenants import Tenant
from api.uploads import HEAD, Form, read_form
from graphs import GRAPHS
from graphs.signature import Signature, signature
from modiste.errors import DeadlineExceeded, NotFound
from modiste.image import MEDIA_TYPES, Format
from modiste.settings import settings
from modiste.telemetry import Context, context, log, within
from modiste.video import probe, sniff_container

TWINS = {"anonymize": "anonymize_video"}
"""Flows that take a picture or a video: which flow runs where it is a video."""

FormatQuery = Annotated[Format, Query(alias="format", description="encoding of the pictures in the result")]


def add(app: FastAPI) -> None:
    """Add `POST /v1/flows/{name}` for each flow there is."""
    for name in GRAPHS:
        of = signature(name)
        answers: dict[int | str, dict[str, Any]] = {200: {"model": response_model(of), "description": "the result"}}
        if of.takes_video or name in TWINS:
            answers[202] = {"model": JobView, "description": "accepted: follow the job"}
        if of.single_picture is not None:
            pictures = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()}
            answers[200]["content"] = pictures
        if of.takes_video:
            answers.pop(200)
        app.add_api_route(
            f"/v1/flows/{name}",
            _endpoint(of),
            methods=["POST"],
            operation_id=name,
            tags=["flows"],
            summary=name.replace("_", " ").capitalize(),
            description=of.description,
            status_code=202 if of.takes_video else 200,
            response_model=None,
            responses=answers,
            openapi_extra={"requestBody": request_schema(of)},
        )

    @app.api_route("/v1/flows/{name}", methods=["POST"], include_in_schema=False)
    async def unknown(name: str) -> None:
        raise NotFound(f"expected one of the flows {', '.join(GRAPHS)}; got {name[:60]!r}")


def describe_options(app: FastAPI) -> None:
    """Put the options of all flows among the schema's components, where the operations refer to them."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        models = [(signature(name).options, "validation") for name in GRAPHS]
        _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        schema["components"]["schemas"] |= found["$defs"]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _endpoint(of: Signature) -> Callable[..., Awaitable[Response]]:
    twin = TWINS.get(of.flow)

    async def endpoint(
        request: Request, services: Deps, tenant: Caller, image_format: FormatQuery = "jpeg"
    ) -> Response:
        other = None if twin is None else signature(twin)
        names = dict.fromkeys(slot.name for f in (of, other) if f for slot in f.uploads)
        form = await read_form(request, files=tuple(names), videos=of.takes_video or other is not None)
        try:
            if of.takes_video:
                return await _accept(of, form, services, tenant, image_format)
            if other is not None and await _holds_video(form):
                return await _accept(other, form, services, tenant, image_format)
            with within(_context(of, tenant)):
                return await _run(of, form, services, image_format, request.headers.get("accept", "*/*"))
        finally:
            await form.close()

    return endpoint


def _context(of: Signature, tenant: Tenant) -> Context:
    return replace(context(), tenant=tenant.name, flow=of.flow, deadline=time.time() + settings().deadline_s)


async def _run(of: Signature, form: Form, services: Services, image_format: Format, accept: str) -> Response:
    """Run the flow while the caller waits."""
    options = parse_options(of, form.options)
    contents = {name: await upload.read() for name, upload in form.files.items()}
    typed = await build_request(of, contents, options)
    try:
        async with asyncio.timeout(settings().deadline_s) as waited:
            outcome = await services.flows.run(of.flow, typed)
    except TimeoutError as error:
        if not waited.expired():
            raise
        raise DeadlineExceeded(f"expected {of.flow} to be done within {settings().deadline_s:.0f} s") from error
    result = await store_result(of, typed, outcome, services.files, image_format)
    report_id = await asyncio.to_thread(services.files.put, json.dumps(result).encode(), "json")
    headers = {"Modiste-Report": report_id}
    single = of.single_picture
    if single is not None and result[single.name] is not None and prefers_picture(accept):
        link = result[single.name]
        content = await asyncio.to_thread(services.files.path(link["id"]).read_bytes)
        return Response(content, media_type=media_type(link["id"]), headers=headers)
    return JSONResponse(result, headers=headers)


async def _accept(of: Signature, form: Form, services: Services, tenant: Tenant, image_format: Format) -> Response:
    """Keep the uploads and queue a job."""
    options = parse_options(of, form.options)
    folder = await asyncio.to_thread(new_folder, settings().state)
    try:
        contents: dict[str, Path] = {}
        for name, upload in _by_slot(of, form):
            contents[name] = await asyncio.to_thread(_save, upload, folder / name)
        await build_request(of, contents, options)  # refuses here what would fail later
        for slot in of.uploads:
            if slot.kind == "video":
                await asyncio.to_thread(probe, contents[slot.name])
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, folder)
        raise
    log.info("job_queued", job=folder.name, flow=of.flow, tenant=tenant.name)
    job = await services.jobs.add(folder.name, of.flow, options.model_dump_json(), image_format, tenant.name)
    shown = view(job)
    return JSONResponse(shown.model_dump(), 202, headers={"Location": shown.url})


def _by_slot(of: Signature, form: Form) -> list[tuple[str, UploadFile]]:
    """Uploads by the flow's own field names; a single upload under a twin's name is the video."""
    own = {slot.name for slot in of.uploads}
    video = next(slot.name for slot in of.uploads if slot.kind == "video")
    return [(name if name in own else video, upload) for name, upload in form.files.items()]


async def _holds_video(form: Form) -> bool:
    for upload in form.files.values():
        head = await upload.read(HEAD)
        await upload.seek(0)
        if sniff_container(head) is not None:
            return True
    return False


def _save(upload: UploadFile, target: Path) -> Path:
    """Named for what it is, so that a result beside it can be too."""
    container = sniff_container(upload.file.read(HEAD))
    upload.file.seek(0)
    target = target.with_suffix(f".{container}" if container else "")
    with target.open("wb") as sink:
        shutil.copyfileobj(upload.file, sink, 1 << 20)
    return target
