"""Materialize as a database under study."""
