"""Where on a cluster the trials of a study may run: what they take of a node, and which nodes they must avoid."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

NODE_ID_LABEL = "ray.io/node-id"
"""Every node has it."""
AVOID = "avoid"
"""Key of a trial's config: ids of nodes, with commas between them."""


def avoiding(nodes: Sequence[str]) -> dict[str, str]:
    """A label selector that no node of these ids meets."""
    return {NODE_ID_LABEL: f"!in({','.join(nodes)})"} if nodes else {}


class TrialPlacement(PlacementGroupFactory):
    """What a worker takes of a node, and where it must not be.

    Equal to every other that takes the same: Tune gives a worker that is up to a trial whose placement equals the one that it was
    started with, and those that are kept are on good nodes, since workers of refused nodes end. Were they told apart, each refused node
    would cost all other nodes their workers.

    Args:
        resources: Ray's names and amounts.
        avoid: ids of nodes.
    """

    def __init__(self, resources: Mapping[str, float], avoid: Sequence[str] = ()) -> None:
        selectors: dict[str, Any] = {"bundle_label_selector": [avoiding(avoid)]} if avoid else {}
        super().__init__([dict(resources)], **selectors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrialPlacement) and self.bundles == other.bundles

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.bundles[0].items())))


def trial_placement(config: Mapping[str, Any], *, resources: Mapping[str, float]) -> TrialPlacement:
    """The placement of a trial by its config, as `tune.with_resources` asks for it."""
    return TrialPlacement(resources, [node for node in str(config.get(AVOID, "")).split(",") if node])
