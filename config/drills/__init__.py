"""Drills: what must survive, each with a negative control that must make it fail.

A drill is a module with `run(seed, dose, sabotage) -> dict`: it works on an empty database of its own and
returns what it saw; `broken` in it lists what did not hold.
"""
