"""Measures: each row is a module with `run(stage) -> Row`; every figure is a ratio to R of the same run."""
