"""What Prometheus scrapes: the agent of every Ray node, which has the metrics of all processes on it."""

from collections.abc import Mapping
from typing import Any

JOB = "modiste"
EVERY = "15s"
PORT = "metrics"
"""Name of the container port, which KubeRay gives to Ray's metrics unless the pod names its own."""
RULES = "rules.yaml"
TARGETS = "targets.json"
"""Beside the scrape configuration: `[{"targets": ["host:port"]}]`; Prometheus reads it again when it changes."""

DROPPED = "otel_scope_.*|SessionName|Version"
"""Labels of Ray's that are the same on every series, or new at each start. WorkerId stays: it tells replicas apart."""
UNREAD = (
    "ray_(grpc_server|operation|gcs_storage_operation|io_context|pull_manager|push_manager|tasks|owned_objects).*"
    "|ray_serve_(event_loop|long_poll|controller|router_args|request_router_fulfillment|user_autoscaling).*"
    "|ray_serve_autoscaling_(replica|handle)_metrics.*"
)
"""Ray's inside, most of all series; nothing of ours reads it."""

_RENAMED: Mapping[str, Any] = {
    "source": ["__name__"], "regex": "ray_(modiste_.+)", "target": "__name__", "replacement": "$1",
}  # fmt: skip


def prometheus() -> dict[str, Any]:
    """For a Prometheus outside of Kubernetes."""
    renamed = {
        "source_labels": _RENAMED["source"],
        "regex": _RENAMED["regex"],
        "target_label": _RENAMED["target"],
        "replacement": _RENAMED["replacement"],
    }
    return {
        "global": {"scrape_interval": EVERY, "evaluation_interval": "30s"},
        "rule_files": [RULES],
        "scrape_configs": [
            {
                "job_name": JOB,
                "file_sd_configs": [{"files": [TARGETS], "refresh_interval": "30s"}],
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": UNREAD, "action": "drop"},
                    renamed,
                    {"regex": DROPPED, "action": "labeldrop"},
                ],
            }
        ],
    }


def pod_monitor() -> dict[str, Any]:
    """For the Prometheus Operator: every pod of the Ray cluster, head and workers."""
    renamed = {
        "sourceLabels": _RENAMED["source"],
        "regex": _RENAMED["regex"],
        "targetLabel": _RENAMED["target"],
        "replacement": _RENAMED["replacement"],
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": JOB, "labels": {"app.kubernetes.io/part-of": JOB}},
        "spec": {
            "selector": {
                "matchExpressions": [{"key": "ray.io/node-type", "operator": "In", "values": ["head", "worker"]}]
            },
            "podMetricsEndpoints": [
                {
                    "port": PORT,
                    "interval": EVERY,
                    "relabelings": [
                        {"targetLabel": "job", "replacement": JOB},
                        {
                            "sourceLabels": ["__meta_kubernetes_pod_label_ray_io_cluster"],
                            "targetLabel": "ray_io_cluster",
                        },
                    ],
                    "metricRelabelings": [
                        {"sourceLabels": ["__name__"], "regex": UNREAD, "action": "drop"},
                        renamed,
                        {"regex": DROPPED, "action": "labeldrop"},
                    ],
                }
            ],
        },
    }
