"""The command line: one command, `masqclip`, with a verb per file. Parsing only; the work is done in other packages.

May import everything.
"""
