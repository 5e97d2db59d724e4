"""Sinks: where else the numbers of a run go. Each passes on to one tool, which is imported when a run begins."""
