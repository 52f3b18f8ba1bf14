"""Where the format and the store meet: artifacts in stores, read as the files that they are.

Its modules are imported where they are used: an event loop and clients of object stores are not
for files of this machine.
"""
