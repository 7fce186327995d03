"""The vocabulary of Modiste: images, geometry, labels, specs, errors, settings, telemetry
(context, logs, metrics, spans).

Imports nothing of ours; no torch, no ray, no fastapi.
"""
