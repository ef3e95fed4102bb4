"""The workflows: one short module each, all behind the `dakpn` command.

Importing `cluster` first settles Ray's environment.
"""

import cluster  # noqa: F401
