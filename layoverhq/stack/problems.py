"""What the embedded servers raise."""


class StackProblem(Exception):
    """The embedded servers cannot do what was asked; the message is one line for a person."""
