"""Running jobs: what is next, the workers, and Ray. Only `adapter`, `actors`, `runner`, `scheduler` and `cluster` import Ray."""
