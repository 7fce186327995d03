"""A real server under a real Prometheus: what it logs, exports and traces is what tables, dashboards and alerts say."""

import io
import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import httpx
import numpy as np
import psutil
import pytest

from k8s.monitoring.alerts import ALERTS, RECORDINGS
from k8s.monitoring.boards import BOARDS
from k8s.monitoring.ray import RAY
from loadtests.cases import SAMPLES
from modiste.image import RGBImage, encode
from modiste.metrics import METRICS

pytestmark = [pytest.mark.weights, pytest.mark.cluster]

PERSON = SAMPLES / "persons" / "ana.jpg"
ID, TRACE, SPAN = "asked-by-a-test-0001", "5" * 32, "6" * 16
SECRETS = ("anna-of-the-party", "a-key-that-nobody-has", "not-a-token-at-all")
"""What a user sends and no log may repeat: the name of a file, a key, a text among the options."""
EXPORTED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was answered; killed: the model whose replica was killed, shed: answers of the crowded flow"""

    first: httpx.Response
    shed: list[int]
    killed: str
    job: dict[str, Any]


@pytest.fixture(scope="package")
def asked(watched: Any) -> Asked:
    """One request whose traces are looked for; then refusals, a crowd, a dead replica and a job."""
    first = _anonymize(
        watched.client,
        PERSON.read_bytes(),
        {"X-Request-ID": ID, "traceparent": f"00-{TRACE}-{SPAN}-01", "Authorization": f"Bearer {SECRETS[1]}"},
    )
    assert first.status_code == 200, first.text
    blank = encode(RGBImage(np.full((300, 300, 3), 127, np.uint8)), "png")
    assert _anonymize(watched.client, blank).json()["code"] == "no_face"
    assert _anonymize(watched.client, PERSON.read_bytes(), options={"tokens": [SECRETS[2]]}).status_code == 422
    assert watched.client.post("/v1/flows/no_such_flow").status_code == 404
    sketch = (SAMPLES / "sketches" / "tshirt_red.png").read_bytes()
    with ThreadPoolExecutor(6) as crowd:
        answers = crowd.map(
            lambda _: watched.client.post("/v1/flows/sketch_search", files={"sketch": sketch}).status_code, range(6)
        )
        shed = list(answers)
    killed = "mobile_stylegan"
    with ThreadPoolExecutor(1) as caller:
        options = (None, json.dumps({"n": 3, "seed": 4711}))
        generated = caller.submit(watched.client.post, "/v1/flows/virtual_faces", files={"options": options})
        time.sleep(0.5)  # a face takes longer than that
        watched.replica(killed).kill()
        assert generated.result().status_code == 200, generated.result().text
    queued = watched.client.post("/v1/flows/anonymize", files={"image": ("clip.mp4", _clip(), "video/mp4")})
    assert queued.status_code == 202, queued.text
    job = _until(
        lambda: watched.client.get(queued.json()["url"]).json(), lambda job: job["state"] in ("succeeded", "failed")
    )
    return Asked(first=first, shed=shed, killed=killed, job=job)


def _anonymize(
    client: httpx.Client, image: bytes, headers: dict[str, str] | None = None, options: object = None
) -> httpx.Response:
    files = {"image": (f"{SECRETS[0]}.jpg", image), "options": (None, json.dumps(options or {}))}
    accepting = {"accept": "application/json", **(headers or {})}
    return client.post("/v1/flows/anonymize", files=files, headers=accepting)


def _clip() -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container, av.open(str(SAMPLES / "video" / "head_turn_one.mp4")) as source:
        stream: Any = container.add_stream("libx264", rate=25)
        for number, frame in enumerate(source.decode(video=0)):
            if number == 0:
                stream.width, stream.height = frame.width, frame.height
            if number == 8:
                break
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return sink.getvalue()


def _until(look: Callable[[], Any], good: Callable[[Any], bool], within_s: float = EXPORTED_WITHIN_S) -> Any:
    end = time.monotonic() + within_s
    while not good(seen := look()) and time.monotonic() < end:
        time.sleep(0.5)
    return seen


def test_the_answer_names_its_request_and_others_get_one_of_their_own(watched: Any, asked: Asked) -> None:
    assert asked.first.headers["Modiste-Request"] == ID
    ids = {watched.client.get("/healthz").headers["Modiste-Request"] for _ in range(3)}
    assert len(ids) == 3
    assert watched.client.get("/healthz", headers={"X-Request-ID": "x y<script>"}).headers["Modiste-Request"] not in (
        "x y<script>",
        "",
    )


def test_ingress_flow_and_models_log_under_the_same_request(watched: Any, asked: Asked) -> None:
    told = [line for line in watched.lines() if line.get("request") == ID]
    models = {used["model"] for used in asked.first.json()["report"]["models"]}
    assert {"http", "anonymize"} < {line["deployment"] for line in told} <= {"http", "anonymize", *models}
    assert [line["event"] for line in told if line["deployment"] == "http"] == ["request"]
    assert {line["event"] for line in told} == {"request", "flow_ran", "model_call"}
    for line in told:
        assert {"timestamp", "level", "event", "deployment", "replica", "flow", "tenant"} <= set(line)
        assert (line["flow"], line["tenant"], line["trace"]) == ("anonymize", "public", TRACE)


def test_a_job_logs_under_its_id_but_not_all_of_it(watched: Any, asked: Asked) -> None:
    assert asked.job["state"] == "succeeded", asked.job
    told = [line for line in watched.lines() if asked.job["id"].startswith(line.get("job", "-"))]
    assert {"http", "jobs", "anonymize_video"} <= {line["deployment"] for line in told}
    assert asked.job["id"] not in watched.log.read_text()


def test_every_line_of_ours_is_json_and_no_line_repeats_what_users_send(watched: Any, asked: Asked) -> None:
    text = watched.log.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    assert {"server", "http"} <= {line["deployment"] for line in watched.lines()}
    others = [line for line in text.splitlines() if not line.startswith("{")]
    assert not [line for line in others if "Traceback" in line]


def test_one_request_is_one_trace_whole_across_processes(watched: Any, asked: Asked) -> None:
    report = asked.first.json()["report"]
    calls = {step["step"]: step["calls"] for step in report["steps"]}

    def spans() -> list[Any]:
        return [span for span in watched.receiver.spans if span.trace == TRACE]

    whole = _until(spans, lambda found: {"http", "flow anonymize"} <= {span.name for span in found}, 20)
    time.sleep(2)  # what models send, each in its own time
    whole = spans()
    by_id = {span.id: span for span in whole}
    assert len(by_id) == len(whole)
    (root,) = [span for span in whole if span.parent not in by_id]
    assert (root.name, root.service, root.parent) == ("http", "http", SPAN)
    assert Counter(span.name for span in whole if span.name.startswith("step ")) == {
        f"step {name}": count for name, count in calls.items()
    }
    inside = {"flow": "http", "step": "flow", "model": "step", "engine": "model"}
    services = set()
    for span in whole:
        kind = span.name.partition(" ")[0]
        services.add(span.service)
        if kind in inside:
            parent = by_id[span.parent]
            assert parent.name.partition(" ")[0] in (inside[kind], kind)  # steps may be inside of steps
            assert parent.start <= span.start
        if kind == "model":
            assert span.service == span.name.partition(" ")[2]
    assert {"http", "anonymize", *(used["model"] for used in report["models"])} >= services
    assert len(services) >= 5
    assert any(span.name.startswith("engine ") for span in whole)


def test_every_trace_has_one_root_and_no_loose_ends(watched: Any, asked: Asked) -> None:
    time.sleep(1)
    traces: dict[str, list[Any]] = {}
    for span in list(watched.receiver.spans):
        traces.setdefault(span.trace, []).append(span)
    loose = []
    for trace, spans in traces.items():
        ids = {span.id for span in spans}
        roots = [span for span in spans if span.parent not in ids and span.parent != SPAN]
        if trace != TRACE:
            loose += [roots] if len(roots) != 1 or roots[0].name not in ("http", "job") else []
    # A replica that was killed took its last spans with it; whatever was inside of them hangs loose.
    assert len(loose) <= 1, loose


def test_the_crowd_was_turned_away(asked: Asked) -> None:
    assert set(asked.shed) == {200, 503}


@pytest.fixture(scope="package")
def names(watched: Any, asked: Asked) -> set[str]:
    """Of all metrics that Prometheus has, once those of every table are there."""
    found: set[str] = _until(watched.names, lambda seen: not _missing(seen))
    return found


def _missing(names: set[str]) -> set[str]:
    wanted = {metric for metric in (*METRICS.values(), *RAY.values()) if not metric.gpu}
    return {metric.name for metric in wanted if not {metric.name, f"{metric.name}_bucket"} & names}


def test_a_live_run_exports_every_metric_but_those_of_gpus(names: set[str]) -> None:
    """Not to be seen here: modiste_gpu_memory_bytes, modiste_gpu_memory_declared_bytes, ray_node_gpus_utilization,
    ray_node_gram_used, ray_node_gram_available; they are in the tables as of GPUs."""
    assert _missing(names) == set()
    assert sum(metric.gpu for metric in (*METRICS.values(), *RAY.values())) == 5


def test_a_live_run_exports_the_labels_of_the_table_and_few_values(watched: Any, names: set[str]) -> None:
    added = {"__name__", "Component", "NodeAddress", "WorkerId", "instance", "job", "le"}
    for metric in METRICS.values():
        if metric.gpu:
            continue
        series = watched.query(f'{{__name__=~"{metric.name}(_count)?"}}')
        assert series, metric.name
        for one in series:
            assert set(one["metric"]) - added == set(metric.labels), metric.name
    flows = {one["metric"]["flow"] for one in watched.query("modiste_requests_total")}
    assert flows == {"anonymize", "sketch_search", "virtual_faces", "unknown"}


def test_a_gauge_is_there_long_after_it_was_set(watched: Any, names: set[str]) -> None:
    """Ray forgets one after 20 seconds that is not told again."""
    time.sleep(30)
    assert {one["metric"]["flow"] for one in watched.query("modiste_in_flight")} >= {"anonymize", "sketch_search"}
    assert all(one["value"][1] == "0" for one in watched.query("modiste_in_flight"))


def test_every_panel_can_be_drawn(watched: Any, names: set[str]) -> None:
    empty = []
    for board in BOARDS:
        for chart in board.charts():
            for line in chart.lines:
                expr = _chosen(line.expr)
                # A rate needs two scrapes of a series that has just begun.
                if not _until(lambda expr=expr: watched.query(expr), bool, 0 if board.uid == "modiste-gpus" else 15):
                    empty.append(f"{board.title}: {chart.title}")
    assert {title for title in empty if "GPU" not in title} <= set(), empty


def _chosen(expr: str) -> str:
    """As Grafana sends it, with everything chosen."""
    for variable in ("$flow", "$model", "$tenant"):
        expr = expr.replace(variable, ".+")
    return expr.replace("$__rate_interval", "1m")


def test_every_alert_can_be_evaluated_and_those_of_the_run_are_the_only_ones(watched: Any, names: set[str]) -> None:
    for rule in (*ALERTS, *RECORDINGS):
        watched.query(rule.expr)
    groups = watched.asked.get("/api/v1/rules").json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    wrong = [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]
    assert wrong == []


def test_the_dead_replica_was_noticed(watched: Any, names: set[str], asked: Asked) -> None:
    assert [line["called"] for line in watched.lines() if line["event"] == "replica_died"][:1] == [asked.killed]
    assert sum(float(one["value"][1]) for one in watched.query("modiste_retries_total")) >= 1
    with suppress(psutil.NoSuchProcess):
        assert watched.replica(asked.killed).is_running()
