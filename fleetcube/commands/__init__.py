"""The verbs of the command line, grouped by what they touch; each parses, calls one function, and prints."""
