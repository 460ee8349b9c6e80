"""Numbers in, numbers out: pure functions, each with its source.

What a session needs is written in Python and numpy and tested against scipy: loading `scipy.stats`
takes longer than all the figures of a session, and would do so in every command that shows one.
"""
