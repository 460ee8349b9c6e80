"""Servers that the lab starts on this machine."""
