"""What users are promised; alerts follow from it."""

from collections.abc import Mapping

AVAILABILITY = 0.995
"""Of the requests to a flow over 30 days, those that are not answered with a 5xx, overload included."""

P95_SECONDS: Mapping[str, float] = {
    "virtual_faces": 2.5,
    "virtual_model": 2.5,
    "try_on": 10.0,
    "anonymize": 2.5,
    "id_photo": 5.0,
    "sketch_search": 1.5,
}
"""By flow, the time that 95 of 100 runs stay below: about twice what one takes on two CPU cores without other load.
Bounds of the histogram's buckets, so that quantiles near them are no guesses. Videos take what they take."""

JOB_WAITS_SECONDS = 1800.0
"""How long a job may wait for its turn."""
