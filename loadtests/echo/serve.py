"""`python -m loadtests.echo.serve`: our ingress, the echo flow and the echo model on a Ray of their own.

Ray is set up by the environment alone, which the caller has made; port and state are those of the settings.
"""

import signal
import sys
import threading

from loadtests.echo.flow import register


def main() -> None:
    register()
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from api.app import INLINE_BYTES, deploy
    from modiste.settings import settings

    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False) if "--quiet" in sys.argv else None
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, configure_logging=False,
        object_store_memory=200_000_000, _node_ip_address="127.0.0.1", num_cpus=4,
        _system_config={"max_direct_call_object_size": INLINE_BYTES, "task_rpc_inlined_bytes_limit": 4 * INLINE_BYTES},
        runtime_env={"worker_process_setup_hook": f"{register.__module__}.{register.__name__}"},
    )  # fmt: skip
    try:
        listening = HTTPOptions(host=settings().host, port=settings().port)
        serve.start(proxy_location="HeadOnly", http_options=listening, logging_config=quiet)
        deploy(quiet)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
