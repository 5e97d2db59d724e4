"""Runs the steps of compat experiments on a Ray cluster."""
