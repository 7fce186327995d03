"""The dashboards."""

from collections.abc import Sequence

from k8s.monitoring.boards import flows, gpus, models, overview, tenants
from k8s.monitoring.charts import Board

BOARDS: Sequence[Board] = (overview.BOARD, flows.BOARD, models.BOARD, tenants.BOARD, gpus.BOARD)
