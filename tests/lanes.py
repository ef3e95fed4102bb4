"""How two processes share the tests: one of them has the Ray of the session, and every file stays whole."""

from functools import cache

from xdist.scheduler import LoadFileScheduling

from tests.paths import REPOSITORY


class OneRayScheduling(LoadFileScheduling):
    """Files go to whichever process is free, but those that use the session's Ray are one piece."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "the session's Ray" if _uses_ray(file) else file


@cache
def _uses_ray(file: str) -> bool:
    text = (REPOSITORY / file).read_text()
    return any(fixture in text for fixture in ("ray_here", "finished_run"))
