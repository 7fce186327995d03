"""What Ray and the numeric libraries read from the environment when they are loaded, here and in every replica."""

import os


def prepare() -> None:
    """Set it. To be called before Ray is imported; processes that Ray starts inherit it."""
    os.environ.update(
        RAY_SERVE_ROUTER_RETRY_INITIAL_BACKOFF_S="0.005",  # with the defaults, full queues take seconds to drain
        RAY_SERVE_ROUTER_RETRY_MAX_BACKOFF_S="0.02",
        RAY_SERVE_CONTROL_LOOP_INTERVAL_S="0.25",  # at its 0.1 the controller alone keeps a sixth of a core busy
        RAY_SERVE_METRICS_EXPORT_INTERVAL_MS="2000",  # from every replica, ten times a second by default
        RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=str(2**31 - 1),  # an answer may be larger than what was asked
        RAY_USAGE_STATS_ENABLED="0",
        RAY_DISABLE_WORKER_LOG_PREFIX="1",  # the lines that processes log are JSON
        RAY_DEDUP_LOGS="0",  # each is an event of its own, however alike
        RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH="api.door.of_proxy",
        RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH="modiste.logs.of_controller",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",  # what a replica without a GPU sees is not Ray's to change
        CUDA_DEVICE_ORDER="PCI_BUS_ID",  # the index that Ray gives a replica means the same GPU to CUDA and the driver
        OMP_WAIT_POLICY="PASSIVE",  # spinning threads take the cores that other replicas need
        GRPC_ENABLE_FORK_SUPPORT="0",  # or each replica logs that it forks
    )
