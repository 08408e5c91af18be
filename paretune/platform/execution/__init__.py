"""Running jobs: what is next, the workers, and Ray. Only `adapter`, `actors`, `runner` and `cluster` import Ray."""
