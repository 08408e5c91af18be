"""How the weights of one layer lie on tiles, as its arithmetic sees it: splits of rows, blocks of columns.

The weights of a convolution are a matrix of (input channels * kernel positions) rows by output channels columns. Rows beyond a tile are
split evenly, in the middle of a channel where that is even; the outputs of splits are converted one by one and added digitally.
"""

from dataclasses import dataclass

from paretune.core.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSplit:
    """Rows of one tile."""

    start: int
    """First row."""
    stop: int
    """Row after the last."""
    first_channel: int
    """Input channel of the first row."""
    stop_channel: int
    """Input channel after that of the last row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """Tiles of a layer: all splits of rows times all blocks of columns."""

    splits: tuple[RowSplit, ...]
    """In ascending order, without gaps."""
    blocks: tuple[tuple[int, int], ...]
    """First column and column after the last of each block, ascending, without gaps."""

    @property
    def tiles(self) -> int:
        """How many."""
        return len(self.splits) * len(self.blocks)


def even_parts(size: int, limit: int) -> list[tuple[int, int]]:
    """The fewest parts of at most `limit`, sizes differing by one at most, larger ones first."""
    count = -(-size // limit)
    short, larger = divmod(size, count)
    stops = [short * (part + 1) + min(part + 1, larger) for part in range(count)]
    return list(zip([0, *stops[:-1]], stops, strict=True))


def tile_layer(
    *, channels: int, kernel: tuple[int, int], columns: int, groups: int, tile_rows: int, tile_columns: int, layer: str
) -> Tiling:
    """Lay one layer on tiles of its own.

    Groups lie along the diagonal of a tile; the cells beside them are not selected.

    Args:
        channels: input channels of one group.
        kernel: height and width; 1, 1 for a linear layer.
        columns: outputs of all groups.
        groups: 1 unless the convolution is grouped or depthwise.
        tile_rows: inputs of a tile.
        tile_columns: outputs of a tile.
        layer: name, for messages.

    Raises:
        BadInput: a tile is smaller than a row of the kernel, or than a group where there are several.
    """
    positions = kernel[0] * kernel[1]
    rows = channels * positions
    if tile_rows < kernel[1]:
        raise BadInput(f"rows: a tile must hold at least a row of the kernel ({kernel[1]} in layer '{layer}'); got {tile_rows}")
    if groups > 1:
        width = columns // groups
        if rows > tile_rows or width > tile_columns:
            raise BadInput(
                f"rows, columns: a tile must hold a group of layer '{layer}' ({rows} x {width}), groups are not split; "
                f"got {tile_rows} x {tile_columns}"
            )
        block = min(tile_rows // rows, tile_columns // width) * width
        split = RowSplit(start=0, stop=rows, first_channel=0, stop_channel=channels)
        starts = range(0, columns, block)
        return Tiling(splits=(split,), blocks=tuple((start, min(start + block, columns)) for start in starts))
    splits = tuple(
        RowSplit(start=start, stop=stop, first_channel=start // positions, stop_channel=-(-stop // positions))
        for start, stop in even_parts(rows, tile_rows)
    )
    return Tiling(splits=splits, blocks=tuple(even_parts(columns, tile_columns)))
