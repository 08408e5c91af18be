"""One of each: a device, a search space, a task and a searcher for paretune."""
