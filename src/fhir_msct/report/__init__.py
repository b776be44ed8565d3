"""Outcomes to people: tables, figures, one self-contained HTML file, and the terminal's first screen.

Everything shown comes from the study folder's own files. Numbers are rounded in `rounding.py` and
nowhere else; the files keep every digit.
"""
