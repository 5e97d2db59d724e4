"""A merge and a metric for compat: an example of a package of plugins that is complete."""
