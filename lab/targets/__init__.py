"""The databases under study. Only this package knows their names."""
