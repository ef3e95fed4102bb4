"""Errors a user can act on. Each message says what was got, what was expected and what to do."""


class DakpnError(Exception):
    """Base of all errors that end a command with one sentence instead of a traceback."""

    exit_code = 1
    lasting = True
    """Whether the same work, tried again, fails in the same way."""


class UsageError(DakpnError):
    """Wrong arguments or configuration, found before any work starts."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file or override that does not fit the schema."""


class DataError(DakpnError):
    """An image, label or shard whose content is not what it should be."""


class FormatError(DataError):
    """An image or label of a kind that is not taken: another file format, too many bits, transparent pixels."""


class EmptyFileError(FormatError):
    """A file of no bytes where an image or label was expected."""


class OversizedError(DataError):
    """An image or label of more pixels than are ever decoded."""


class StorageError(DakpnError):
    """A URI that cannot be read, written or listed."""

    lasting = False


class ClusterError(DakpnError):
    """A Ray cluster that cannot be reached or started, or does not do what it is asked."""

    lasting = False


class WeightsError(DakpnError):
    """Weights that are missing, damaged or do not fit the code."""


class TrainingError(DakpnError):
    """A training run that cannot go on."""


class TerminatedError(DakpnError):
    """Work that was asked to end by SIGTERM, and did; not a failure of its own."""

    exit_code = 143


class VerificationError(DakpnError):
    """An output dataset that is incomplete or whose labels differ from the input's."""
