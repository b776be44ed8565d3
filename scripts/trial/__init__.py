"""The synthetic trial: planned number by number, written as literal JSON, and known beforehand.

Nothing here imports the package that reads it, so that what the pipeline computes can be compared with
what was planned.
"""
