"""The GPU benchmark in its CPU form, and the tables made of its rows."""

import json
from pathlib import Path

import pytest

from loadtests.page import _of_gpu


@pytest.mark.torch
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)  # by torch.compile itself
def test_it_measures_says_why_not_and_goes_on(tmp_path: Path) -> None:
    from loadtests.gpu import main
    from loadtests.gpu_ways import WAYS

    out = tmp_path / "rows.jsonl"

    def run(seconds: float) -> list[dict[str, object]]:
        main(
            device="cpu", model=["teed"], precision="bfloat16", batch=[1], runs=1, seconds=seconds, flows=False, out=out
        )
        return [json.loads(line) for line in out.read_text().splitlines()]

    assert [row["row"] for row in run(0)] == ["machine"]  # time was up, but what it had is written
    rows = {row["name"]: row for row in run(600)[1:]}
    assert set(rows) == {f"teed 1 {way}" for way in WAYS}
    assert rows["teed 1 cost"]["gflop"] == pytest.approx(3.78, rel=0.01)
    for way in ("float32", "low", "compiled"):
        assert rows[f"teed 1 {way}"]["ms"] > 0
    assert rows["teed 1 float32"]["error"] == 0 < rows["teed 1 low"]["error"] < 0.1
    for way in ("graphs", "cuda", "tensorrt"):
        assert "Error" in rows[f"teed 1 {way}"]["missed"]
    assert len(run(600)) == 1 + len(rows)


def test_rows_become_tables(tmp_path: Path) -> None:
    rows = [
        {"row": "machine", "name": "machine", "tflops": 100.0, "gb_s": 1000.0},
        {"row": "gpu", "name": "a 1 cost", "engine": "a", "batch": 1, "way": "cost", "gflop": 50.0, "mb": 2000.0},
        {"row": "gpu", "name": "a 1 float32", "engine": "a", "batch": 1, "way": "float32", "ms": 12.0, "error": 0.0},
        {"row": "gpu", "name": "a 1 tensorrt", "engine": "a", "batch": 1, "way": "tensorrt", "ms": 3.0, "error": 0.01},
        {"row": "gpu", "name": "a 1 graphs", "engine": "a", "batch": 1, "way": "graphs", "missed": "because"},
    ]
    out = tmp_path / "rows.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = _of_gpu(out)
    (row,) = found["gpu_engines"]
    assert (row["floor"], row["gap"], row["graphs"]) == (2.0, 1.5, "")  # the traffic of 2 GB at 1000 GB/s
    assert found["gpu_means"] == {"tensorrt over float32": 4.0}
