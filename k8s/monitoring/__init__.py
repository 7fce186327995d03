"""How the platform is watched: what Prometheus scrapes, dashboards, alerts. Written as code, generated into files."""
