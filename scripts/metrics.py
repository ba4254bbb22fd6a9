"""Tell Prometheus what monitoring found: writes metrics.prom, and pushes it where a Pushgateway is named.

Reads build/settings.yaml, build/monitoring/, build/retraining/ if there, and what history.folder remembers. The file is
written to history.folder in Prometheus' text format. Where monitoring.pushgateway names one, the metrics replace those
that it has of this model.
"""

import sys

from ci.command import command


def metrics() -> None:
    """Write the metrics, and push them if told to."""
    from datetime import UTC, datetime
    from pathlib import Path

    from ci import configuration
    from ci.monitoring import exposed, memory
    from ci.results.monitoring import MONITORING, RETRAINING

    settings = configuration.effective()
    history, looks = settings.history, memory.looks(settings.history)
    found = exposed.Found(
        settings.model.name,
        datetime.now(UTC),
        MONITORING.read(),
        RETRAINING.read_if_there(),
        memory.labels(history).read_if_there(),
        looks[-1] if looks else None,
        len(memory.attempts(history)),
    )
    path = Path(history.folder) / "metrics.prom"
    exposed.write(found, path)
    print(f"metrics: -> {path}", flush=True)
    if settings.monitoring.pushgateway:
        exposed.push(found, settings.monitoring.pushgateway)
        print(f"metrics: pushed to {settings.monitoring.pushgateway}")


main = command(__doc__, metrics)

if __name__ == "__main__":
    sys.exit(main())
