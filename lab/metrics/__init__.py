"""Readings of a server's counters, their differences, and the tree that costs are put into."""
