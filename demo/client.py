"""A client of the http api: sends one case, waits for jobs, brings the pictures."""

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from demo.cases import Case

JOB_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture or clip as it goes on the page."""

    caption: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """facts: what the result says besides its files; report: models, weights, milliseconds. seconds: of the client."""

    case: Case
    inputs: tuple[Shown, ...]
    outputs: tuple[Shown, ...]
    facts: Mapping[str, Any]
    report: Mapping[str, Any]
    seconds: float


def ask(client: httpx.Client, case: Case, samples: Path, tokens: dict[str, str]) -> Answer:
    """Send the case; raises httpx.HTTPStatusError with the server's problem document where it refuses."""
    options = {
        name: tokens[v[1:]] if isinstance(v, str) and v.startswith("@") else v for name, v in case.options.items()
    }
    inputs = tuple(_shown(name, samples / path) for name, path in case.uploads.items())
    parts: dict[str, tuple[str | None, bytes, str]] = {
        shown.caption: (Path(case.uploads[shown.caption]).name, shown.content, shown.media_type) for shown in inputs
    }
    parts["options"] = (None, json.dumps(options).encode(), "application/json")
    started = perf_counter()
    response = client.post(f"/v1/flows/{case.flow}", files=parts, headers={"accept": "application/json"})
    answer = _checked(response).json()
    if response.status_code == httpx.codes.ACCEPTED:
        answer = _finished(client, answer["id"])["result"]
    seconds = perf_counter() - started
    report = answer.pop("report")
    outputs = []
    facts = {}
    for name, value in answer.items():
        links = value if isinstance(value, list) else [value]
        if links and all(isinstance(link, dict) and "url" in link and "media_type" in link for link in links):
            for number, link in enumerate(links):
                caption = name if len(links) == 1 else f"{name} {number + 1}"
                content = _checked(client.get(link["url"])).content
                outputs.append(Shown(caption=caption, media_type=link["media_type"], content=content))
        else:
            facts[name] = value
    if case.save_token:
        tokens[case.save_token] = facts["tokens"][0]
    return Answer(
        case=case,
        inputs=inputs,
        outputs=tuple(outputs),
        facts=facts,
        report=report,
        seconds=round(seconds, 2),
    )


@retry(
    retry=retry_if_result(lambda job: job["state"] in ("queued", "running")),
    wait=wait_fixed(0.5),
    stop=stop_after_delay(JOB_TIMEOUT_S),
)
def _finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = _checked(client.get(f"/v1/jobs/{job_id}")).json()
    if job["state"] in ("failed", "cancelled"):
        raise RuntimeError(f"the job ended as {job['state']}: {job.get('error')}")
    return job


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise httpx.HTTPStatusError(response.text, request=response.request, response=response)
    return response


def _shown(name: str, path: Path) -> Shown:
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return Shown(caption=name, media_type=media_type, content=path.read_bytes())
