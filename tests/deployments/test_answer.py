"""How the answer of a deployment is awaited, told by awaitables that end as Ray's do."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from modiste.errors import NoFace

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, as it is imported

LOSSES = ("died", "out of reach", "answer lost with its node", "its owner lost")


def lost(how: str) -> Exception:
    from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, OwnerDiedError

    one = "0" * 56
    losses: dict[str, Exception] = {
        "died": ActorDiedError(),
        "out of reach": ActorUnavailableError("out of reach", None),
        "answer lost with its node": ObjectLostError(one, None, ""),
        "its owner lost": OwnerDiedError(one, None, ""),
    }
    return losses[how]


def calls(*outcomes: object) -> tuple[Callable[[], Any], list[object]]:
    """What to call, each time with the next outcome; and what is left of them."""
    left = list(outcomes)

    async def once() -> object:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def call() -> Awaitable[object]:
        return once()

    return call, left


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_was_lost_is_asked_for_once_more(loss: str) -> None:
    from deployments.app import answer

    call, left = calls(lost(loss), "answer", "never asked for")
    assert await answer(call, "flow") == "answer"
    assert left == ["never asked for"]


async def test_what_is_lost_twice_is_given_up() -> None:
    from ray.exceptions import ActorDiedError

    from deployments.app import answer

    call, left = calls(lost("died"), lost("died"), "never asked for")
    with pytest.raises(ActorDiedError):
        await answer(call, "flow")
    assert left == ["never asked for"]


async def test_a_failure_and_a_refusal_are_not_repeated() -> None:
    from ray.exceptions import RayTaskError

    from deployments.app import answer

    failure = RayTaskError("call", "Traceback", ValueError("wrong")).as_instanceof_cause()
    for outcome, kind in ((failure, ValueError), (NoFace("expected a face, got none"), NoFace)):
        call, left = calls(outcome, "never asked for")
        with pytest.raises(kind):
            await answer(call, "flow")
        assert left == ["never asked for"]
