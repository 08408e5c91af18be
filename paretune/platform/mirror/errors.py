"""What can go wrong with MLflow, as the mirror tells it apart."""


class Unavailable(Exception):
    """MLflow cannot be reached or fails; trying again later may work. The message is for people and holds no secret."""


class Refused(Exception):
    """MLflow will not take this request, however often it is tried."""


class Gone(Exception):
    """MLflow does not know a run that it once made."""
