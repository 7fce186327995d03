"""`python -m loadtests.echo.users ADDRESS USERS SECONDS`: that many users, each of whom asks again once answered.

As in the published measurements, and unlike the load tests: how fast it goes when nobody waits for a timetable.
"""

import json
import sys

import gevent
from locust import FastHttpUser, task
from locust.env import Environment

from loadtests.echo import TEXT

WARM_UP_S = 2.0


class Caller(FastHttpUser):
    connection_timeout = network_timeout = 60.0

    @task
    def ask(self) -> None:
        self.client.post("/v1/flows/echo", files={"options": (None, json.dumps({"text": TEXT}))}, name="echo")


def main(address: str, users: int, seconds: float) -> None:
    Caller.host = address
    environment = Environment(user_classes=[Caller])
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    gevent.sleep(WARM_UP_S)
    environment.stats.reset_all()
    gevent.sleep(seconds)
    stats = environment.stats.total
    found = {
        "users": users,
        "per_s": round(stats.num_requests / seconds, 1),
        "mean_ms": round(stats.avg_response_time, 2),
        "p50_ms": stats.get_response_time_percentile(0.5),
        "p99_ms": stats.get_response_time_percentile(0.99),
        "failed": stats.num_failures,
    }
    print(json.dumps(found))
    runner.quit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
