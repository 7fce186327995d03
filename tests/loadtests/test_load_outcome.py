import pytest

from loadtests.load.outcome import judged, over_time, summary
from loadtests.load.plan import Row
from loadtests.load.plots import knee_plot, run_plots
from loadtests.load.profile import Gates, Limits

GATES = Gates(failed=0.0, shed=0.2, flows={"anonymize": Limits(p95_s=1.0)})


def rows(count: int = 20, **changes: object) -> list[Row]:
    """Good ones, one a second, each answered after half a second; the last is changed."""
    good = [
        Row(flow="anonymize", tenant="platform", at=float(i), sent=i + 0.001, done=i + 0.5, status=200)
        for i in range(count)
    ]
    return [*good[:-1], good[-1].model_copy(update=changes)]


def broken(found: list[Row]) -> list[str]:
    return [gate["gate"] for gate in judged(summary(found), GATES) if not gate["held"]]


def test_good_rows_keep_to_all_gates():
    assert broken(rows()) == []


@pytest.mark.parametrize(
    ("changes", "gates"),
    [
        ({"status": 500, "code": "internal"}, ["failed"]),
        ({"status": 0, "code": "ConnectionRefusedError"}, ["failed"]),
        ({"status": 202, "code": "job_failed"}, ["failed"]),
        ({"status": 503, "code": "overloaded", "retry_after": None, "done": 19.01}, ["shed_without_retry_after"]),
        ({"status": 503, "code": "overloaded", "retry_after": 1.0, "done": 19.5}, ["shed_p95_s"]),
        ({"status": 429, "code": "too_many_requests", "retry_after": 1.0, "done": 19.02}, []),
        ({"sent": 19.4}, ["late_p99_s"]),
        ({"done": 21.5}, ["anonymize p95_s"]),
    ],
)
def test_what_goes_wrong_breaks_its_gate(changes, gates):
    assert broken(rows(**changes)) == gates


def test_too_many_shed():
    shed = [row.model_copy(update={"status": 503, "retry_after": 1.0, "done": row.sent + 0.01}) for row in rows()[:5]]
    assert broken([*shed, *rows()[5:]]) == ["shed"]


def test_time_counts_from_when_a_request_was_due():
    late = Row(flow="anonymize", tenant="platform", at=1.0, sent=3.0, done=3.5, status=200)
    assert late.seconds == 2.5
    assert late.late == 2.0


def test_over_time():
    series = over_time(rows(10, done=30.0, status=500, code="internal"), 10.0)
    assert series["arrivals"] == [1] * 10
    assert series["in_flight"][-1] == 1
    assert series["codes"] == {"200": [1] * 9 + [0], "internal": [0] * 9 + [1]}
    assert series["flows"]["anonymize"]["p95_s"] == [0.5] * 9 + [None]


def test_jobs_have_a_limit_of_their_own():
    gates = Gates(failed=0, shed=0, flows={"anonymize_video": Limits(job_p95_s=10.0)})
    of = [Row(flow="anonymize_video", tenant="batch", at=0, sent=0, done=0.1, status=202, job_s=s) for s in (3.0, 12.0)]
    (gate,) = [gate for gate in judged(summary(of), gates) if not gate["held"]]
    assert gate == {"gate": "anonymize_video job_p95_s", "limit": 10.0, "got": 12.0, "held": False}


def test_plots_stand_alone_and_come_out_the_same():
    series = over_time(rows(), 20.0)
    plots = run_plots(series, {"anonymize": 1.0})
    assert plots.keys() > {"Arrivals per second", "Requests in flight"}
    for plot in plots.values():
        assert plot.startswith("<svg")
        assert 'href="http' not in plot
    assert plots == run_plots(series, {"anonymize": 1.0})
    steps = [{"rate": rate, "flows": {"anonymize": {"p95_s": rate}}} for rate in (1.0, 2.0)]
    assert knee_plot(steps).startswith("<svg")
