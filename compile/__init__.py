"""Network + weights -> engine. Import submodules only: a bare `import compile` would shadow the builtin."""

import sys

# OpenVINO reports each import to a web service, from a forked process; without this module it does not.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
