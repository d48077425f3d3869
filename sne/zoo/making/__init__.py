"""Making zoos: the recipe, one network, many of them in processes, on a cluster or in stacks on a GPU."""
