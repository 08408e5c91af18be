"""What can go wrong with MLflow, as the mirror tells it apart."""


class Unavailable(Exception):  # noqa: N818
    """MLflow cannot be reached or fails; trying again later may work. The message is for people and holds no secret."""


class Refused(Exception):  # noqa: N818
    """MLflow will not take this request, however often it is tried."""


class Gone(Exception):  # noqa: N818
    """MLflow does not know a run that it once made."""
