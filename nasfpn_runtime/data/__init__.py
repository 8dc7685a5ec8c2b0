"""Datasets of several forms, read into one kind of split. Knows no recipe."""
