"""Near names: spelling distance and the words other tools use for the same thing."""

from collections.abc import Iterable, Mapping

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "objectives": ("objective", "metrics", "goals", "targets"),
    "constraints": ("limits", "constraint"),
    "searcher": ("algorithm", "search_alg", "search_algorithm", "sampler", "optimizer", "optimiser", "strategy", "search"),
    "space": ("search_space", "model", "architecture"),
    "hardware": ("device", "devices", "target", "platform"),
    "storage": ("storage_path", "output", "output_dir", "results", "local_dir"),
    "trials": ("max_trials", "num_samples", "n_trials", "num_trials", "samples", "evaluations", "max_evaluations"),
    "time": ("max_time", "time_budget", "time_budget_s", "duration", "wall_time", "timeout", "seconds", "time_s"),
    "goal": ("direction", "optimize", "optimise", "aim"),
    "metric": ("name", "objective", "quantity"),
    "reference": ("ref", "reference_point", "worst", "nadir"),
    "max": ("upper", "limit", "at_most", "maximum", "le"),
    "min": ("lower", "at_least", "minimum", "ge"),
    "workers": ("max_concurrent", "max_concurrent_trials", "num_workers", "jobs", "n_jobs", "concurrency", "parallel"),
    "trial_timeout": ("timeout", "time_limit", "deadline", "trial_timeout_s", "max_trial_time"),
    "retries": ("max_failures", "max_retries", "retry"),
    "memory": ("memory_limit", "mem", "memory_bytes", "ram"),
    "uri": ("url", "tracking_uri", "server"),
    "tracking": ("mlflow", "logging", "logger"),
    "kind": ("type", "name", "device"),
    "name": ("title", "study", "study_name", "id", "kind"),
    "epochs": ("num_epochs", "n_epochs", "max_epochs"),
    "seeds": ("num_seeds", "repeats", "n_seeds"),
    "seed": ("random_seed", "random_state"),
    "population": ("population_size", "pop_size", "pop"),
    "nsga2": ("nsga", "nsga-ii", "nsga_ii", "genetic"),
    "random": ("random_search", "randomsearch"),
    "auto": ("default", "best"),
    "predictor_guided": ("bayesian", "bayesian_optimization", "bo", "gp", "bananas", "brp_nas", "surrogate", "predictor"),
    "rl_controller": ("rl", "reinforce", "ppo", "reinforcement_learning", "controller"),
    "lemonade": ("lamarckian",),
    "regularized_evolution": ("evolution", "aging_evolution", "regevo", "rea", "regularised_evolution"),
}
"""Our word -> the words people bring from elsewhere."""

GOALS: Mapping[str, tuple[str, ...]] = {
    "max": ("maximize", "maximise", "maximum", "up", "higher", "larger", "more"),
    "min": ("minimize", "minimise", "minimum", "down", "lower", "smaller", "less"),
}


def distance(first: str, second: str, limit: int = 2) -> int:
    """Letters to insert, delete, change or swap with a neighbour to turn one word into the other; `limit + 1` where more.

    Source: Damerau, CACM 7(3), 1964, in the optimal string alignment form.
    """
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        following = [i]
        for j, other in enumerate(second, start=1):
            cost = min(row[j] + 1, following[j - 1] + 1, row[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            following.append(cost)
        before, row = row, following
    return min(row[-1], limit + 1)


def nearest(word: str, known: Iterable[str], *, synonyms: Mapping[str, tuple[str, ...]] = SYNONYMS) -> str | None:
    """The known name that `word` most likely means: the same but for case, a synonym, or at most two letters away.

    Words of up to four letters may differ by one letter only; ties go to the first known name.
    """
    lowered = word.lower().replace("-", "_").strip(" :")
    names = list(known)
    for name in names:
        if name.lower().replace("-", "_") == lowered:
            return name
    for name in names:
        if lowered in (synonym.replace("-", "_") for synonym in synonyms.get(name, ())):
            return name
    ranked = sorted((distance(lowered, name.lower()), index) for index, name in enumerate(names))
    allowed = 1 if len(lowered) <= 4 else 2
    return names[ranked[0][1]] if ranked and ranked[0][0] <= allowed else None


def did_you_mean(word: str, known: Iterable[str], *, synonyms: Mapping[str, tuple[str, ...]] = SYNONYMS) -> str:
    """` Did you mean 'x'?`, or nothing where no name is near."""
    name = nearest(word, known, synonyms=synonyms)
    return f" Did you mean '{name}'?" if name else ""
