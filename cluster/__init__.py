"""Where work runs: Ray sessions and resources. Knows the configs of dakpn, nothing of its networks."""

import os

# Ray reads these as it is imported, so they stand before any import of it. Without the first, `ray.init` would turn
# token authentication on and write a token into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
