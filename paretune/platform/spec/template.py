"""The commented spec that `paretune init` writes: complete, and a search that finishes in minutes."""

TEMPLATE = """\
# A study: what to learn, what may be built, for which hardware, and what counts as good.
# Check it:  paretune validate study.yaml        Run it:  paretune run study.yaml
version: 1
name: digits                  # folder of the study and experiment in MLflow: letters, digits, . _ -
seed: 1                       # decides every random draw; without it one is drawn and recorded

# What the networks must do, and what they are built from. See: paretune list tasks, paretune list spaces.
# Options of a plugin stand beside its name.
task: {name: digits}
space: {name: digits_conv}

# Targets by names of your choice; each gives metrics called TARGET.METRIC. {kind: ...}: paretune list hardware;
# {target: ...}: paretune list targets, or a file of your own.
hardware:
  host: {kind: host, runtime: onnxruntime}

# What to trade off. `reference` is the worst value that still counts; all of them together are the reference point of the
# hypervolume. Units follow the end of the metric's name (_ms, _mj, _kb, ...) or stand beside the number: 1.0, 500us.
objectives:
  - {metric: accuracy, goal: max, reference: 0.9}
  - {metric: host.latency_ms, goal: min, reference: 0.2}

# What every network on the front must meet: max, min or both. Limits on parameters, MACs and memory are checked before training.
constraints:
  - {metric: parameters, max: 60000}

# What decides which candidate is tried next. See: paretune list searchers.
# start: [{stem.width: 8, ...}, mine.yaml, runs/other-study] beside the name: candidates of your own that are tried first.
searcher: {name: nsga2, population: 16}

# When the search ends, whichever comes first; at least one of the two.
budget:
  trials: 64                  # candidates really evaluated
  time: 15m                   # such as 90s, 15m, 1h30m

training: {epochs: 5}         # how a candidate is trained during the search
final: {epochs: 10, seeds: 3} # how the front is trained afterwards, with fresh seeds; leave it out to skip that

# How the search is executed. All of this may be left out.
run:
  mode: sync                  # sync: the same result for any number of workers; async: no worker ever waits
  workers: auto               # trials at the same time
  trial_timeout: 2m           # a trial that runs longer is ended
  retries: 2                  # times that a crashed trial is started again
  memory: auto                # limit of a trial, such as 2GiB

tracking: {uri: "sqlite:///mlflow.db"} # MLflow; a password is written ${env:NAME}; {uri: none} switches it off
storage: runs                 # folder that holds one folder for each study
"""


def template(name: str = "digits") -> str:
    """A commented spec of a name to start from."""
    return TEMPLATE.replace("name: digits".ljust(30), f"name: {name}".ljust(29) + " ", 1)
