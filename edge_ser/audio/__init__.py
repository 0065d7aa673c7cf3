"""Where sound comes from: one module a kind of source, behind one protocol.

Importing this package loads nothing; see `edge_ser.audio.source` for the protocol.
"""
