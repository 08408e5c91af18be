"""The MLflow mirror: a process of its own that copies the ledger into MLflow, never in the search's way.

The ledger is its queue, `mirror.db` in the study's folder its memory. It may be killed, and the server may go away, at any moment;
afterwards MLflow has one run for each candidate. Nothing is ever read back from MLflow into a study.
"""

from paretune.platform.mirror.process import MirrorProcess, start_mirror, sync
from paretune.platform.mirror.state import MirrorState, mirror_state

__all__ = ["MirrorProcess", "MirrorState", "mirror_state", "start_mirror", "sync"]
