"""Run, record, resume, show: the only package that knows Ray and MLflow."""

if __name__ == "platform":
    raise ImportError(
        "paretune/platform was imported as the standard module 'platform': run from the repository root, not from inside paretune/"
    )
