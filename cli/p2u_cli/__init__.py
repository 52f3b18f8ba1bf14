"""The command line of p2uformat: parse, call the public library, render."""
