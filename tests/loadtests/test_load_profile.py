import tomllib

import pytest
from pydantic import ValidationError

from graphs import GRAPHS
from graphs.signature import signature
from loadtests.cases import SAMPLES
from loadtests.load.__main__ import streams
from loadtests.load.profile import PROFILES, Profile, load_profile, names
from loadtests.load.scenarios import SCENARIOS, message, requests, shares


def test_the_profiles_of_the_issue_are_there():
    assert set(names()) >= {"smoke", "steady", "spike", "soak", "breakpoint"}


@pytest.mark.parametrize("name", names())
def test_profile_is_as_it_should_be(name):
    profile = load_profile(name)
    found = streams(profile, scale=1.0)
    assert sum(len(stream.times) for stream in found) >= 10
    assert {stream.tenant for stream in found} == set(profile.tenants)


def _smoke() -> dict:
    return tomllib.loads((PROFILES / "smoke.toml").read_text())


@pytest.mark.parametrize("place", [(), ("gates",), ("gates", "flows", "anonymize"), ("traffic", 0)])
def test_unknown_keys_are_refused(place):
    content = _smoke()
    table = content
    for key in place:
        table = table[key]
    table["surprise"] = 1
    with pytest.raises(ValidationError, match="surprise"):
        Profile.model_validate(content)


def test_a_flow_without_limits_is_refused():
    content = _smoke()
    del content["gates"]["flows"]["sketch_search"]
    with pytest.raises(ValidationError, match="sketch_search"):
        Profile.model_validate(content)


def test_an_unknown_scenario_is_refused():
    content = _smoke()
    content["traffic"][0]["scenario"] = "nobody"
    with pytest.raises(ValidationError, match="nobody"):
        Profile.model_validate(content)


def test_an_unknown_profile_is_named_beside_those_there_are():
    with pytest.raises(FileNotFoundError, match="smoke"):
        load_profile("nothing")


def test_every_flow_can_be_asked_for_and_platform_uses_all_that_answer_at_once():
    assert set(requests()) == set(GRAPHS)
    assert set(shares("platform")) == {flow for flow in GRAPHS if not signature(flow).takes_video}
    assert all(sum(parts.values()) == pytest.approx(1) for parts in SCENARIOS.values())


@pytest.mark.parametrize("flow", list(requests()))
def test_requests_are_valid_and_varied(flow):
    of = signature(flow)
    cases = requests()[flow]
    assert len({str(case) for case in cases}) == len(cases) >= 2
    for case in cases:
        of.options.model_validate(dict(case.options))
        assert set(case.files) <= {slot.name for slot in of.uploads}
        assert {slot.name for slot in of.uploads if slot.required} <= set(case.files)
        assert all((SAMPLES / path).is_file() for path in case.files.values())


def test_a_message_is_a_form():
    sent = message("sketch_search", requests()["sketch_search"][0])
    assert sent.path == "/v1/flows/sketch_search"
    assert sent.content_type.startswith("multipart/form-data; boundary=")
    assert b'name="sketch"; filename="dress_plain.png"' in sent.body
    assert b'"category": "auto"' in sent.body
