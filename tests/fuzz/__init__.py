"""Odd and broken inputs of readers and public functions: each has a result, or one error with a short message.

`make test` tries the same few hundred inputs every time. `make fuzz MINUTES=10` tries others until the time is over.
"""
