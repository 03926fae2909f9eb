"""From a graph to a plan, for any backend that compiles: where values lie, and which launches compute them in order."""
