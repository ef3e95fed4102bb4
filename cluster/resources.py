"""What a cluster must have before a job starts on it: Ray would wait for it in silence."""

import ray

from dakpn.errors import UsageError


def require_node(**needs: float) -> None:
    """Make sure that some node has all of this at once, as one actor needs it: `CPU`, `GPU`, `memory` in bytes.

    Raises:
        UsageError: None has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= need for name, need in needs.items()) for node in nodes):
        return
    for name, need in needs.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most < need:
            unit, scale = (" GB", 1e9) if name == "memory" else ("", 1)
            raise UsageError(
                f"a worker needs {need / scale:.3g}{unit} of {name}, and the largest node of the Ray cluster has "
                f"{most / scale:.3g}{unit}; use larger nodes, or let the job need less: smaller shards do"
            )
    raise UsageError(f"no node of the Ray cluster has all that a worker needs ({needs}); use larger nodes")
