"""Where work runs: Ray sessions and resources. Knows the configs of dakpn, nothing of its networks."""

import os

# Ray reads these as it is imported, so they stand before any import of it. Without the first, `ray.init` would turn
# token authentication on and write a token into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# Ray Train looks for drained nodes every 5 s by itself, and a pod that goes has 60 s for everything.
os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "1")
