"""Where events go: one module a kind of sink, behind one protocol.

Importing this package loads nothing; see `edge_ser.sinks.sink` for the protocol.
"""
