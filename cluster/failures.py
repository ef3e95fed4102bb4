"""Find the error that a user can act on inside what Ray wraps around it."""

from dakpn.errors import DakpnError


def actionable_error(error: BaseException) -> DakpnError | None:
    """The `DakpnError` that a Ray error carries at any depth, with its own message; None if there is none."""
    seen: set[int] = set()
    pending: list[BaseException] = [error]
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        cause = getattr(current, "cause", None)
        # Ray's own wrapper is also an instance of the wrapped type, with a traceback for a message.
        if isinstance(current, DakpnError) and cause is None:
            return current
        failures = getattr(current, "worker_failures", None)
        nested = [cause, current.__cause__, current.__context__, *(failures.values() if failures else ())]
        pending += [item for item in nested if isinstance(item, BaseException)]
    return None
