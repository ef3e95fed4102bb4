"""Find the error that a user can act on inside what Ray wraps around it."""

from typing import Any

from ray.train import UserCallback

from dakpn.errors import DakpnError

_RAY_DATA_ADVICE = "\nFailed to "
"""Begins what Ray Data appends to an error of a task: its own settings for retries, of no use to our users."""


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
            message, appended, _ = str(current).partition(_RAY_DATA_ADVICE)
            return type(current)(message) if appended else current
        failures = getattr(current, "worker_failures", None)
        nested = [cause, getattr(current, "controller_failure", None), current.__cause__, current.__context__]
        nested += failures.values() if failures else ()
        pending += [item for item in nested if isinstance(item, BaseException)]
    return None


class StopAtLastingError(UserCallback):
    """Ends a run of Ray Train at once at an error that would come again: Ray itself would restart the workers."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raise the first error of a worker that a user must act on, which Ray does not retry."""
        for error in worker_exceptions.values():
            known = actionable_error(error)
            if known is not None and known.lasting:
                raise known
