"""Requests in, results out, for the small flow."""

import io
import json

import httpx
import numpy as np
from PIL import Image

from modiste.image import RGBImage, decode, encode

PICTURE = RGBImage(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + 1)
PNG = encode(PICTURE)


async def post(client: httpx.AsyncClient, accept: str = "*/*", options: object = None, **query: str) -> httpx.Response:
    files: dict[str, object] = {"picture": ("../../etc/passwd", PNG, "text/html")}
    if options is not None:
        files["options"] = (None, json.dumps(options))
    return await client.post("/v1/flows/tiny", files=files, headers={"accept": accept}, params=query)  # type: ignore[arg-type]


async def test_one_picture_is_answered_with_its_bytes(client: httpx.AsyncClient) -> None:
    answer = await post(client, format="png")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(decode(answer.content), 255 - PICTURE)


async def test_the_report_lies_behind_the_header(client: httpx.AsyncClient) -> None:
    answer = await post(client)
    report = (await client.get(f"/v1/files/{answer.headers['modiste-report']}")).json()
    assert report["report"]["flow"] == "tiny"
    assert report["report"]["models"] == [{"role": "Inversion", "model": "inverter", "weights": {}}]
    assert (await client.get(report["image"]["url"])).content == answer.content


async def test_json_where_json_is_preferred(client: httpx.AsyncClient) -> None:
    answer = (await post(client, "application/json", {"steps": 2})).json()
    assert answer["mean"] == float(np.mean(PICTURE))
    assert (answer["image"]["width"], answer["image"]["height"]) == (4, 4)
    assert answer["report"]["steps"][0]["calls"] == 2


async def test_format_is_as_asked_and_pixels_are_all_that_goes_out(client: httpx.AsyncClient) -> None:
    answer = await post(client, format="jpeg")
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "JPEG"
        assert not picture.getexif()


async def test_each_flow_is_an_operation_with_typed_options(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    body = schema["paths"]["/v1/flows/tiny"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["required"] == ["picture"]
    assert body["properties"]["extra"]["format"] == "binary"
    assert body["properties"]["options"] == {"$ref": "#/components/schemas/TinyOptions"}
    assert schema["components"]["schemas"]["TinyOptions"]["properties"]["steps"]["maximum"] == 1000
    answers = schema["paths"]["/v1/flows/tiny"]["post"]["responses"]
    assert set(answers["200"]["content"]) == {"application/json", "image/png", "image/jpeg", "image/webp"}
    assert "202" in schema["paths"]["/v1/flows/tiny_clip"]["post"]["responses"]


async def test_health(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
